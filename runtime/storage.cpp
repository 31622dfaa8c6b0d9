#include "tessera/runtime/storage.hpp"

#include <atomic>
#include <map>
#include <mutex>

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/log.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera {
namespace {

#if defined(NDEBUG)
std::atomic<bool> checks_streams = false;
#else
std::atomic<bool> checks_streams = true;
#endif

}  // namespace

void check_streams(bool on) { checks_streams = on; }

struct Storage::Uses {
  std::mutex mutex;
  std::shared_ptr<StreamClock> filler;  // the stream whose work fills the block,
  uint64_t filled = 0;                  // the last of it
  bool others = false;                  // whether a stream but the filler has used it since
  StreamTimes last;                     // use of each stream
};

Storage::Storage() = default;
Storage::~Storage() = default;

Storage::Ref Storage::allocate(size_t bytes, Device device) {
  Stream& stream = current_stream(device);
  const std::shared_ptr<Allocator>& allocator = current_allocator(device.type);
  Ref ref(new Storage);
  ref->data_ = allocator->allocate(bytes, stream);
  ref->bytes_ = bytes;
  ref->device_ = device;
  ref->stream_ = device.type == Device::Type::cpu ? nullptr : &stream;
  ref->allocator_ = allocator;
  if (ref->stream_ && checks_streams.load(std::memory_order_relaxed)) {
    ref->uses_ = std::make_unique<Uses>();
    ref->filled_by(stream);
  }
  return ref;
}

void Storage::filled_by(Stream& stream) {
  if (!uses_) return;
  const std::lock_guard lock(uses_->mutex);
  uses_->filler = stream.clock();
  uses_->filled = uses_->last[stream.clock()] = stream.clock()->now;
  uses_->others = false;
}

void Storage::check_use(Stream& stream) {
  const std::lock_guard lock(uses_->mutex);
  const bool own = stream.clock() == uses_->filler;
  TS_CHECK(stream.after(uses_->filler, uses_->filled), "memory of ", bytes_, " bytes on ", device_,
           ", filled by stream ", uses_->filler->stream, ", is used on stream ",
           stream.clock()->stream,
           " before that has waited for it: `record` an event there and `wait` for it here");
  if (!own) uses_->others = true;
  const uint64_t now = uses_->last[stream.clock()] = stream.clock()->now;
  if (own && !uses_->others) uses_->filled = now;
}

void Storage::check_free() const noexcept {
  for (const auto& [clock, time] : uses_->last) {
    if (stream_->after(clock, time)) continue;
    log(LogLevel::error,
        concat("memory of ", bytes_, " bytes on ", device_, ", allocated on stream ",
               stream_->clock()->stream, ", is freed while stream ", clock->stream,
               " may still use it: `record` an event there and `wait` for it on stream ",
               stream_->clock()->stream, " first"));
  }
}

Storage::Ref Storage::adopt(void* data, size_t bytes, Device device,
                            std::function<void()> release) {
  Ref ref(new Storage);
  ref->data_ = data;
  ref->bytes_ = bytes;
  ref->device_ = device;
  ref->release_ = std::move(release);
  return ref;
}

void Storage::destroy(Storage* storage) noexcept {
  if (storage->uses_) storage->check_free();
  if (storage->allocator_)
    storage->allocator_->deallocate(
        storage->data_, storage->bytes_,
        storage->stream_ ? *storage->stream_ : current_stream(storage->device_));
  else if (storage->release_)
    storage->release_();
  delete storage;
}

}  // namespace tessera
