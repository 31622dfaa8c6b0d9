#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/runtime/io/atomic_file.hpp"
#include "tessera/runtime/io/byte_source.hpp"

namespace tessera {

/// The members of a ZIP archive, stored or deflated, ZIP64 included; no encryption, no parts. The
/// whole directory is checked at once: every member lies inside the archive, none overlaps another,
/// no name is there twice.
class ZipReader {
 public:
  struct Member {
    std::string name;
    uint16_t method;
    uint32_t crc;
    uint64_t compressed, size;
    uint64_t begin, data;  // positions of the local header and of the content
  };

  /// `archive` must outlive the reader and the sources it opens.
  ZipReader(std::span<const std::byte> archive, std::string name);

  const std::vector<Member>& members() const { return members_; }
  /// The expanded content of a member. Reading its last byte checks the length and the CRC.
  std::unique_ptr<ByteSource> open(const Member& member) const;

 private:
  void read_directory();
  void locate_data(Member& member, uint64_t directory) const;
  void check_overlaps() const;

  std::span<const std::byte> archive_;
  std::string name_;
  std::vector<Member> members_;
};

/// Writes an archive to a file that its owner commits. Every member has the same timestamp, so
/// equal content gives equal bytes.
class ZipWriter {
 public:
  enum class Method : uint16_t { stored = 0, deflated = 8 };

  /// Sizes and positions from `zip64_from` on are written in ZIP64 records; only tests need another
  /// value.
  ZipWriter(AtomicFile& file, Method method, uint64_t zip64_from = 0xFFFFFFFF)
      : file_(file), method_(method), zip64_from_(zip64_from) {}

  /// One member whose content is `head` followed by `body`.
  void add(std::string_view name, std::span<const std::byte> head, std::span<const std::byte> body);
  /// The directory; nothing can be added after it.
  void finish();

 private:
  void write(std::span<const std::byte> bytes);

  AtomicFile& file_;
  Method method_;
  uint64_t zip64_from_;
  uint64_t position_ = 0, count_ = 0;
  std::string directory_;
};

}  // namespace tessera
