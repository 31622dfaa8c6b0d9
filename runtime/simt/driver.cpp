// The interpreter as a device: its memory is the host's, kept apart by the allocator so that tests
// see when a kernel or the host touches the other's. Everything happens before a call returns,
// unless it is being recorded.
#include "tessera/runtime/driver.hpp"

#include <cstdlib>
#include <cstring>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/queue.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::simt {
namespace {

class SimtDriver final : public Driver {
 public:
  int device_count() const override { return 1; }
  DeviceInfo describe(int) const override {
    return {Device::simt(), "interpreter", "compute capability 9.0", int64_t{8} << 30};
  }

  void* allocate(size_t bytes, int, void*) override {
    const size_t rounded = (bytes + 255) / 256 * 256;
    void* data = rounded < bytes ? nullptr : std::aligned_alloc(256, rounded);
    if (!data)
      throw Error(ErrorKind::out_of_memory, concat("simt: cannot allocate ", bytes, " bytes"));
    std::memset(data, 0xff, rounded);  // NaN: what nobody writes is seen
    add_device_memory(data, bytes);
    return data;
  }
  void deallocate(void* data, size_t, int, void*) noexcept override { deallocate_pinned(data, 0); }
  void* allocate_pinned(size_t bytes, int) override { return allocate(bytes, 0, nullptr); }
  void deallocate_pinned(void* data, int) noexcept override {
    remove_device_memory(data);
    std::free(data);
  }

  void* create_queue(int) override { return new Queue; }
  void destroy_queue(void* queue) noexcept override { delete static_cast<Queue*>(queue); }
  void synchronize(void*) override {}
  void* record(void*) override { return nullptr; }
  void wait(void*, void*) override {}
  void synchronize_event(void*) override {}
  void destroy_event(void*) noexcept override {}

  void copy_to_host(void* dst, const void* src, size_t bytes, void* queue) override {
    copy(dst, src, bytes, queue);
  }
  void copy_from_host(void* dst, const void* src, size_t bytes, void* queue) override {
    copy(dst, src, bytes, queue);
  }
  void copy_on_device(void* dst, const void* src, size_t bytes, void* queue) override {
    copy(dst, src, bytes, queue);
  }
  void clear(void* data, size_t bytes, void* queue) override {
    if (bytes > 0) enqueue(queue, [=] { std::memset(data, 0, bytes); });
  }

  bool records() const override { return true; }
  void begin_recording(void* queue) override {
    static_cast<Queue*>(queue)->recording = new Queue::Recorded;
  }
  void* end_recording(void* queue) override {
    return std::exchange(static_cast<Queue*>(queue)->recording, nullptr);
  }
  void replay(void* recorded, void* queue) override {
    for (const auto& work : *static_cast<Queue::Recorded*>(recorded)) enqueue(queue, work);
  }
  void destroy_recorded(void* recorded) noexcept override {
    delete static_cast<Queue::Recorded*>(recorded);
  }

  std::vector<KernelCounters> take_counters() override {
    return tracing().take_counters ? tracing().take_counters() : std::vector<KernelCounters>();
  }

 private:
  static void copy(void* dst, const void* src, size_t bytes, void* queue) {
    if (bytes > 0)  // nothing may be at no address
      enqueue(queue, [=] { std::memcpy(dst, src, bytes); });
  }
};

}  // namespace
}  // namespace tessera::simt

namespace tessera {

Driver& module_driver() {
  static auto& driver = *new simt::SimtDriver;  // as the CPU's, never destroyed
  return driver;
}

}  // namespace tessera
