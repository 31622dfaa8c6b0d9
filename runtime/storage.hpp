#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "tessera/runtime/device.hpp"

namespace tessera {

class Allocator;
class Stream;

/// One block of memory shared by the tensors that view it. Made by Storage::allocate or, for memory
/// that somebody else owns (a mapped file, another library's tensor), by Storage::adopt.
class Storage {
 public:
  class Ref {
   public:
    Ref() = default;
    Ref(const Ref& other) noexcept : storage_(other.storage_) {
      if (storage_) storage_->references_.fetch_add(1, std::memory_order_relaxed);
    }
    Ref(Ref&& other) noexcept : storage_(std::exchange(other.storage_, nullptr)) {}
    Ref& operator=(Ref other) noexcept {
      std::swap(storage_, other.storage_);
      return *this;
    }
    ~Ref() {
      if (storage_ && storage_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
        destroy(storage_);
    }
    Storage* operator->() const { return storage_; }
    explicit operator bool() const { return storage_ != nullptr; }
    friend bool operator==(const Ref&, const Ref&) = default;

   private:
    friend class Storage;
    explicit Ref(Storage* storage) noexcept : storage_(storage) {}
    Storage* storage_ = nullptr;
  };

  /// A block of `bytes` on `device` from the calling thread's current allocator and stream. A
  /// stream of a device other than the cpu must outlive the memory allocated on it.
  static Ref allocate(size_t bytes, Device device);
  /// Foreign memory; `release` runs when the last reference goes.
  static Ref adopt(void* data, size_t bytes, Device device, std::function<void()> release);

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool unique() const { return references_.load(std::memory_order_acquire) == 1; }

  /// Where `check_streams` is on: work queued on `stream` from here on reads or writes the block.
  /// Throws unless the stream comes after the work that filled it: that of the stream the block was
  /// allocated on, up to the first use by another, or what `filled_by` named.
  void use(Stream& stream) {
    if (uses_) check_use(stream);
  }
  /// Work queued on `stream` before this call fills the block; others must wait for it.
  void filled_by(Stream& stream);

 private:
  struct Uses;

  Storage();
  ~Storage();
  void check_use(Stream& stream);
  void check_free() const noexcept;
  static void destroy(Storage* storage) noexcept;

  std::atomic<int64_t> references_{1};
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_;
  Stream* stream_ = nullptr;  // null on the cpu, whose memory belongs to no stream
  std::shared_ptr<Allocator> allocator_;
  std::function<void()> release_;
  std::unique_ptr<Uses> uses_;  // on devices, where uses are checked
};

/// Whether memory allocated from now on is watched for uses by streams that do not wait for each
/// other, in all threads; debug builds start with true. A use that may come before the block is
/// filled throws; a block freed while another stream may still use it is logged as an error.
void check_streams(bool on);

}  // namespace tessera
