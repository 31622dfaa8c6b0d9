#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "tessera/runtime/device.hpp"
#include "tessera/runtime/driver.hpp"

namespace tessera {

class Allocator;
class Recording;

/// How far a stream has come, counted in events: what its uses of memory are dated by.
struct StreamClock {
  uint64_t stream = 0;                 // a number for messages
  std::atomic<uint64_t> now = 0;       // events recorded so far
  std::atomic<uint64_t> finished = 0;  // work dated before this is done
};
/// Work of each stream dated before the number is done or ordered before what comes next.
using StreamTimes = std::map<std::shared_ptr<StreamClock>, uint64_t>;

/// A point in a stream's order.
class Event {
 public:
  Event() = default;
  void synchronize() const;

 private:
  friend class Stream;
  struct Handle;
  std::shared_ptr<Handle> handle_;
};

/// Stream-ordered temporary memory, given back when it goes out of scope.
class Scratch {
 public:
  Scratch(size_t bytes, class Stream& stream);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_;
  size_t bytes_;
  class Stream& stream_;
  std::shared_ptr<Allocator> allocator_;
};

/// An ordered queue of work on one device. CPU streams run each call to its end before returning. A
/// stream is used by one thread at a time.
class Stream {
 public:
  explicit Stream(Device device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device device() const { return device_; }
  Driver& driver() const { return *driver_; }
  /// Waits for all work queued so far; throws what went wrong in it.
  void synchronize();
  /// Calls `check` at the end of every synchronize from now on: it throws what a kernel left word
  /// of.
  void at_synchronize(std::function<void()> check) { checks_.push_back(std::move(check)); }
  Event record();
  void wait(const Event& event);

  /// Queued; the host's memory may change once the call returned, unless it is pinned.
  void copy_from_host(void* dst, const void* src, size_t bytes);
  void copy_to_host(void* dst, const void* src, size_t bytes);  // there after `synchronize`
  void copy_on_device(void* dst, const void* src, size_t bytes);
  void clear(void* data, size_t bytes);  // every byte becomes 0

  /// What is being recorded, or null.
  Recording* recording() const { return recording_; }

  const std::shared_ptr<StreamClock>& clock() const { return clock_; }
  /// Whether work that another stream dated `time` is done or ordered before this stream's next.
  bool after(const std::shared_ptr<StreamClock>& other, uint64_t time) const;

  Scratch scratch(size_t bytes) { return Scratch(bytes, *this); }
  void* native() const { return queue_; }  // cudaStream_t; null on the CPU

  /// The stream's own R, made by R(Stream&) on first use and destroyed with the stream; a library
  /// handle, for instance.
  template <class R>
  R& resource() {
    std::shared_ptr<void>& slot = resources_[std::type_index(typeid(R))];
    if (!slot) slot = std::make_shared<R>(*this);
    return *static_cast<R*>(slot.get());
  }

 private:
  friend class Recording;
  void check_not_recording(const char* operation) const;

  Device device_;
  Driver* driver_;
  void* queue_;
  Recording* recording_ = nullptr;
  std::shared_ptr<StreamClock> clock_;
  StreamTimes seen_;  // of other streams
  std::vector<std::function<void()>> checks_;
  std::unordered_map<std::type_index, std::shared_ptr<void>> resources_;
};

/// The calling thread's stream on `device`: the device's default stream unless a StreamScope is
/// alive.
Stream& current_stream(Device device);

/// Makes `stream` the calling thread's current stream on its device until the end of the scope.
class StreamScope {
 public:
  explicit StreamScope(Stream& stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Device device_;
  Stream* previous_;
};

}  // namespace tessera
