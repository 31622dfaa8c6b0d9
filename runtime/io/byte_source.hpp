#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tessera/runtime/error.hpp"

namespace tessera {

/// Bytes that a reader takes one after another: a part of memory, or what comes out of a
/// decompressor. It knows the file's name and the position, so that every error can tell them.
class ByteSource {
 public:
  explicit ByteSource(std::string name, uint64_t position = 0)
      : name_(std::move(name)), position_(position) {}
  virtual ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  const std::string& name() const { return name_; }
  uint64_t position() const { return position_; }

  /// Exactly `bytes` bytes; an `io` Error naming `what` when the source ends before.
  void read(void* to, uint64_t bytes, std::string_view what);
  void skip(uint64_t bytes, std::string_view what);
  /// Throws when the source certainly holds fewer than `bytes` more. Readers ask before they
  /// allocate, so that a damaged size cannot make them take more memory than the file can fill.
  void expect(uint64_t bytes, std::string_view what);
  /// Throws unless the source is at its end.
  void expect_end(std::string_view what);

  /// An integer of the file's byte order.
  template <class T>
  T read_integer(std::endian order, std::string_view what) {
    std::byte raw[sizeof(T)];
    read(raw, sizeof raw, what);
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      const size_t at = order == std::endian::little ? sizeof(T) - 1 - i : i;
      value = static_cast<T>((value << 7 << 1) | static_cast<T>(raw[at]));
    }
    return value;
  }

  /// Throws an `io` Error: name, byte position, and the parts.
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw Error(ErrorKind::io, concat(name_, ", byte ", position_, ": ", parts...));
  }

  /// No more than this many bytes follow; exact for memory.
  virtual uint64_t remaining_at_most() const = 0;

 protected:
  virtual size_t read_some(void* to, size_t bytes) = 0;  // 0 only at the end

 private:
  std::string name_;
  uint64_t position_;
};

/// Memory that outlives the source.
class MemorySource final : public ByteSource {
 public:
  MemorySource(std::span<const std::byte> bytes, std::string name, uint64_t position = 0)
      : ByteSource(std::move(name), position), rest_(bytes) {}
  uint64_t remaining_at_most() const override { return rest_.size(); }

 private:
  size_t read_some(void* to, size_t bytes) override;
  std::span<const std::byte> rest_;
};

/// What compressed memory expands to; positions count expanded bytes.
class InflateSource final : public ByteSource {
 public:
  enum class Format { deflate, zlib, gzip };
  InflateSource(std::span<const std::byte> compressed, Format format, std::string name);
  ~InflateSource() override;
  uint64_t remaining_at_most() const override;

 private:
  size_t read_some(void* to, size_t bytes) override;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera
