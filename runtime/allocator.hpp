#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tessera/runtime/device.hpp"

namespace tessera {

class Stream;

/// Stream-ordered memory: a block freed on a stream may be handed out again to later work of that
/// stream without synchronisation. Blocks are at least 64-byte aligned on the CPU, 256-byte on
/// devices.
class Allocator {
 public:
  virtual ~Allocator();
  /// Throws an `out_of_memory` Error; `bytes` may be 0, which gives null.
  virtual void* allocate(size_t bytes, Stream& stream) = 0;
  virtual void deallocate(void* data, size_t bytes, Stream& stream) noexcept = 0;
};

/// Goes to the device's driver for each block.
class DriverAllocator final : public Allocator {
 public:
  void* allocate(size_t bytes, Stream& stream) override;
  void deallocate(void* data, size_t bytes, Stream& stream) noexcept override;
};

/// Keeps freed blocks for reuse. Small blocks (up to 64 KiB) come from per-thread lists without a
/// lock; larger ones from one list per device and stream. `trim` gives back to the upstream what is
/// idle in the latter and in the calling thread's lists; running out of memory calls it.
class CachingAllocator final : public Allocator {
 public:
  explicit CachingAllocator(std::shared_ptr<Allocator> upstream);
  ~CachingAllocator() override;
  void* allocate(size_t bytes, Stream& stream) override;
  void deallocate(void* data, size_t bytes, Stream& stream) noexcept override;
  void trim();

 private:
  void* allocate_fresh(size_t bytes, Stream& stream);  // trims when the upstream has no more

  struct State;
  std::unique_ptr<State> state_;
};

/// Counts what passes through: live bytes and blocks, and their peak since the last `reset_peak`.
class TrackingAllocator final : public Allocator {
 public:
  explicit TrackingAllocator(std::shared_ptr<Allocator> upstream)
      : upstream_(std::move(upstream)) {}
  void* allocate(size_t bytes, Stream& stream) override;
  void deallocate(void* data, size_t bytes, Stream& stream) noexcept override;

  int64_t live_bytes() const { return live_bytes_; }
  int64_t peak_bytes() const { return peak_bytes_; }
  int64_t live_blocks() const { return live_blocks_; }
  int64_t allocations() const { return allocations_; }
  void reset_peak() { peak_bytes_ = live_bytes_.load(); }

 private:
  std::shared_ptr<Allocator> upstream_;
  std::atomic<int64_t> live_bytes_{0}, peak_bytes_{0}, live_blocks_{0}, allocations_{0};
};

/// Throws out_of_memory when more than `limit` bytes would be live.
class LimitAllocator final : public Allocator {
 public:
  LimitAllocator(std::shared_ptr<Allocator> upstream, int64_t limit)
      : upstream_(std::move(upstream)), limit_(limit) {}
  void* allocate(size_t bytes, Stream& stream) override;
  void deallocate(void* data, size_t bytes, Stream& stream) noexcept override;

 private:
  std::shared_ptr<Allocator> upstream_;
  int64_t limit_;
  std::atomic<int64_t> live_bytes_{0};
};

/// Host memory only: fills fresh blocks with NaN patterns and puts a red zone on both sides,
/// checked when the block is freed. A damaged zone aborts with the block's size and the offset of
/// the first bad byte.
class GuardAllocator final : public Allocator {
 public:
  explicit GuardAllocator(std::shared_ptr<Allocator> upstream) : upstream_(std::move(upstream)) {}
  void* allocate(size_t bytes, Stream& stream) override;
  void deallocate(void* data, size_t bytes, Stream& stream) noexcept override;
  /// Number of damaged blocks seen instead of aborting, once `report_only` is set.
  void report_only() { report_only_ = true; }
  int64_t damaged_blocks() const { return damaged_blocks_; }

 private:
  std::shared_ptr<Allocator> upstream_;
  bool report_only_ = false;
  std::atomic<int64_t> damaged_blocks_{0};
};

/// The allocator that new tensors of the calling thread use on a device type: a process-wide
/// caching allocator unless an AllocatorScope is alive.
const std::shared_ptr<Allocator>& current_allocator(Device::Type type);

/// Replaces the calling thread's allocator for one device type until the end of the scope. Tensors
/// keep the allocator they were made with alive, so they may outlive the scope.
class AllocatorScope {
 public:
  AllocatorScope(Device::Type type, std::shared_ptr<Allocator> allocator);
  ~AllocatorScope();
  AllocatorScope(const AllocatorScope&) = delete;
  AllocatorScope& operator=(const AllocatorScope&) = delete;

 private:
  Device::Type type_;
  std::shared_ptr<Allocator> previous_;
};

}  // namespace tessera
