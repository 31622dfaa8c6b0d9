#include "tessera/runtime/recording.hpp"

#include <map>
#include <mutex>

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera {
namespace {

/// A stream of the device that nothing is recorded on; lives as long as the process.
Stream& side_stream(Device device) {
  static std::mutex mutex;
  static auto& streams = *new std::map<std::pair<Device::Type, int>, std::unique_ptr<Stream>>;
  const std::lock_guard lock(mutex);
  std::unique_ptr<Stream>& slot = streams[{device.type, device.index}];
  if (!slot) slot = std::make_unique<Stream>(device);
  return *slot;
}

/// Blocks that any work may use at any time: an allocation that were itself recorded would be made
/// anew at each replay.
class LastingMemory final : public Allocator {
 public:
  explicit LastingMemory(Device device)
      : side_(side_stream(device)), upstream_(current_allocator(device.type)) {}
  void* allocate(size_t bytes, Stream&) override {
    void* const data = upstream_->allocate(bytes, side_);
    side_.synchronize();
    return data;
  }
  void deallocate(void* data, size_t bytes, Stream&) noexcept override {
    upstream_->deallocate(data, bytes, side_);
  }

 private:
  Stream& side_;
  std::shared_ptr<Allocator> upstream_;
};

}  // namespace

Recording::Recording(Stream& stream, const std::function<void()>& body) : stream_(stream) {
  const Device device = stream.device();
  Driver& driver = stream.driver();
  if (!driver.records())
    throw Error(ErrorKind::unsupported, concat("recording: ", device, " does work at once"));
  TS_CHECK(&stream == &current_stream(device), "recording: the stream is not the current one of ",
           device);
  TS_CHECK(!stream.recording_, "recording: the stream is being recorded already");
  lasting_ = std::make_shared<LastingMemory>(device);
  memory_ = std::make_shared<CachingAllocator>(lasting_);
  const AllocatorScope scope(device.type, memory_);
  driver.begin_recording(stream.native());
  stream.recording_ = this;
  try {
    body();
  } catch (...) {
    stream.recording_ = nullptr;
    try {
      driver.destroy_recorded(driver.end_recording(stream.native()));
    } catch (const Error&) {  // a consequence of the first
    }
    throw;
  }
  stream.recording_ = nullptr;
  recorded_ = driver.end_recording(stream.native());
}

Recording::~Recording() {
  try {
    stream_.synchronize();
  } catch (const Error&) {  // work failed: whoever waits for it next hears of it
  }
  stream_.driver().destroy_recorded(recorded_);
}

Tensor Recording::lasting(const Shape& shape, DType dtype) const {
  const AllocatorScope scope(stream_.device().type, lasting_);
  return Tensor::empty(shape, dtype, stream_.device());
}

void Recording::replay() {
  TS_CHECK(!stream_.recording_, "replay: its stream is being recorded");
  for (const auto& refresh : refreshes_) refresh();
  stream_.driver().replay(recorded_, stream_.native());
}

}  // namespace tessera
