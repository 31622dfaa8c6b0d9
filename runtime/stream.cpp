#include "tessera/runtime/stream.hpp"

#include <array>
#include <mutex>
#include <vector>

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera {

struct Event::Handle {
  Driver* driver;
  void* event;
  ~Handle() { driver->destroy_event(event); }
};

void Event::synchronize() const {
  if (handle_) handle_->driver->synchronize_event(handle_->event);
}

Stream::Stream(Device device)
    : device_(device), driver_(&tessera::driver(device.type)), queue_(nullptr) {
  const std::string why = driver_->why_fewer();
  TS_CHECK(device.index >= 0 && device.index < driver_->device_count(), "no device ", device,
           ": there are ", driver_->device_count(), why.empty() ? "" : "; ", why);
  queue_ = driver_->create_queue(device.index);
}

Stream::~Stream() {
  resources_.clear();
  driver_->destroy_queue(queue_);
}

void Stream::synchronize() {
  driver_->synchronize(queue_);
  for (const auto& check : checks_) check();
}

Event Stream::record() {
  Event e;
  e.handle_ = std::make_shared<Event::Handle>(driver_, driver_->record(queue_));
  return e;
}

void Stream::wait(const Event& event) {
  if (event.handle_) driver_->wait(queue_, event.handle_->event);
}

Scratch::Scratch(size_t bytes, Stream& stream)
    : bytes_(bytes), stream_(stream), allocator_(current_allocator(stream.device().type)) {
  data_ = allocator_->allocate(bytes, stream);
}

Scratch::~Scratch() { allocator_->deallocate(data_, bytes_, stream_); }

namespace {

// Default streams live as long as the process: tensors freed by static destructors still find
// theirs.
Stream& default_stream(Device device) {
  static std::mutex mutex;
  static auto& streams = *new std::array<std::vector<std::unique_ptr<Stream>>, device_type_count>;
  std::lock_guard lock(mutex);
  auto& of_type = streams[static_cast<size_t>(device.type)];
  const auto index = static_cast<size_t>(device.index);
  TS_CHECK(device.index >= 0 && device.index < 1024, "no device ", device);
  if (of_type.size() <= index) of_type.resize(index + 1);
  if (!of_type[index]) of_type[index] = std::make_unique<Stream>(device);
  return *of_type[index];
}

struct Current {
  Device device;
  Stream* stream;
};
thread_local std::vector<Current> current_streams;
thread_local Stream* current_cpu = nullptr;

}  // namespace

Stream& current_stream(Device device) {
  if (device == Device::cpu()) {
    if (!current_cpu) current_cpu = &default_stream(device);
    return *current_cpu;
  }
  for (const Current& c : current_streams)
    if (c.device == device) return *c.stream;
  Stream& stream = default_stream(device);
  current_streams.push_back({device, &stream});
  return stream;
}

static void set_current(Device device, Stream* stream) {
  if (device == Device::cpu()) {
    current_cpu = stream;
    return;
  }
  for (Current& c : current_streams)
    if (c.device == device) c.stream = stream;
}

StreamScope::StreamScope(Stream& stream)
    : device_(stream.device()), previous_(&current_stream(stream.device())) {
  set_current(device_, &stream);
}

StreamScope::~StreamScope() { set_current(device_, previous_); }

}  // namespace tessera
