#include "tessera/runtime/stream.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <vector>

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera {

struct Event::Handle {
  Driver* driver;
  void* event;
  StreamTimes before;  // what the event comes after
  Handle(Driver* d, void* e, StreamTimes times) : driver(d), event(e), before(std::move(times)) {}
  ~Handle() { driver->destroy_event(event); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
};

namespace {

// Guards `seen_` of all streams: threads share default streams, and touch it seldom and shortly.
constinit std::mutex seen_mutex;

void raise(std::atomic<uint64_t>& value, uint64_t to) {
  uint64_t now = value;
  while (now < to && !value.compare_exchange_weak(now, to)) {
  }
}

void finish(const StreamTimes& times) {
  for (const auto& [clock, time] : times) raise(clock->finished, time);
}

std::shared_ptr<StreamClock> new_clock() {
  static std::atomic<uint64_t> streams = 0;
  auto clock = std::make_shared<StreamClock>();
  clock->stream = streams++;
  return clock;
}

}  // namespace

void Event::synchronize() const {
  if (!handle_) return;
  handle_->driver->synchronize_event(handle_->event);
  finish(handle_->before);
}

Stream::Stream(Device device)
    : device_(device),
      driver_(&tessera::driver(device.type)),
      queue_(nullptr),
      clock_(new_clock()) {
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
  check_not_recording("synchronize");
  driver_->synchronize(queue_);
  {
    const std::lock_guard lock(seen_mutex);
    finish(seen_);
  }
  raise(clock_->finished, ++clock_->now);
  for (const auto& check : checks_) check();
}

Event Stream::record() {
  Event e;
  StreamTimes before = [&] {
    const std::lock_guard lock(seen_mutex);
    return seen_;
  }();
  before[clock_] = ++clock_->now;
  e.handle_ = std::make_shared<Event::Handle>(driver_, driver_->record(queue_), std::move(before));
  return e;
}

void Stream::wait(const Event& event) {
  if (!event.handle_) return;
  driver_->wait(queue_, event.handle_->event);
  const std::lock_guard lock(seen_mutex);
  for (const auto& [clock, time] : event.handle_->before) {
    if (clock == clock_) continue;
    uint64_t& seen = seen_[clock];
    seen = std::max(seen, time);
  }
}

bool Stream::after(const std::shared_ptr<StreamClock>& other, uint64_t time) const {
  if (other == clock_ || other->finished > time) return true;
  const std::lock_guard lock(seen_mutex);
  const auto seen = seen_.find(other);
  return seen != seen_.end() && seen->second > time;
}

void Stream::check_not_recording(const char* operation) const {
  TS_CHECK(!recording_, operation, ": the work of a stream on ", device_,
           " is being recorded and will be done at each replay; bring values there before a replay "
           "and read them after it");
}

void Stream::copy_from_host(void* dst, const void* src, size_t bytes) {
  check_not_recording("copy from the host");
  driver_->copy_from_host(dst, src, bytes, queue_);
}
void Stream::copy_to_host(void* dst, const void* src, size_t bytes) {
  check_not_recording("copy to the host");
  driver_->copy_to_host(dst, src, bytes, queue_);
}
void Stream::copy_on_device(void* dst, const void* src, size_t bytes) {
  driver_->copy_on_device(dst, src, bytes, queue_);
}
void Stream::clear(void* data, size_t bytes) { driver_->clear(data, bytes, queue_); }

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
