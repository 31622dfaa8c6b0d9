#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tessera/runtime/device.hpp"

namespace tessera {

namespace kernels {
struct Backend;
}

/// What the launches of one kernel did, as the interpreter counts it where it traces.
struct KernelCounters {
  std::string kernel;
  uint64_t launches = 0;
  uint64_t global_requests = 0;  // whole-warp loads and stores
  uint64_t global_sectors = 0;   // of 32 bytes that they touch
  uint64_t ideal_sectors = 0;    // that their bytes would need side by side
  uint64_t unique_sectors = 0;   // that a launch touches at all
  uint64_t global_bytes = 0;     // asked for, counting lanes that share
  uint64_t shared_requests = 0;
  uint64_t shared_wavefronts = 0;  // passes over the 32 banks
  uint64_t ideal_wavefronts = 0;
  uint64_t tensor_operations = 0;  // multiplications and additions of tensor cores
  uint64_t warps = 0;              // that made requests
  uint64_t busiest_warp = 0;       // requests of the warp that made most of them
  uint64_t barriers = 0;           // waits of threads at block barriers
};

/// What the runtime asks of a kind of device: memory, byte moves, ordered queues. One object per
/// device type. Queue and event handles are the device's own (cudaStream_t, cudaEvent_t); the CPU,
/// which works synchronously, uses null for both.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual int device_count() const = 0;
  /// Why there are not more devices; "" where nothing stands in the way.
  virtual std::string why_fewer() const { return ""; }
  virtual DeviceInfo describe(int index) const = 0;

  virtual void* allocate(size_t bytes, int index,
                         void* queue) = 0;  // 256-byte aligned; throws out_of_memory
  virtual void deallocate(void* data, size_t bytes, int index, void* queue) noexcept = 0;

  /// Host memory that the device reads and writes as well, at the same address.
  virtual void* allocate_pinned(size_t bytes, int index) = 0;
  virtual void deallocate_pinned(void* data, int index) noexcept = 0;

  virtual void* create_queue(int index) = 0;
  virtual void destroy_queue(void* queue) noexcept = 0;
  virtual void synchronize(void* queue) = 0;
  virtual void* record(void* queue) = 0;            // an event after all work queued so far
  virtual void wait(void* queue, void* event) = 0;  // later work in `queue` waits for `event`
  virtual void synchronize_event(void* event) = 0;
  virtual void destroy_event(void* event) noexcept = 0;

  virtual void copy_to_host(void* dst, const void* src, size_t bytes, void* queue) = 0;
  virtual void copy_from_host(void* dst, const void* src, size_t bytes, void* queue) = 0;
  virtual void copy_on_device(void* dst, const void* src, size_t bytes, void* queue) = 0;
  virtual void clear(void* data, size_t bytes, void* queue) = 0;  // every byte becomes 0

  /// Whether work can be recorded: see runtime/recording.hpp.
  virtual bool records() const { return false; }
  /// From here to `end_recording` the queue's work is noted down and not done.
  virtual void begin_recording(void* /*queue*/) {}
  /// What was noted down (cudaGraphExec_t on a GPU).
  virtual void* end_recording(void* /*queue*/) { return nullptr; }
  virtual void replay(void* /*recorded*/, void* /*queue*/) {}  // queues all of it
  virtual void destroy_recorded(void* /*recorded*/) noexcept {}

  /// Counts since the last call; empty where nothing is counted.
  virtual std::vector<KernelCounters> take_counters() { return {}; }
};

/// What a device module, a shared library loaded on first use, hands to the core through its only
/// exported symbol `extern "C" const tessera::Module* tessera_module()`.
struct Module {
  int abi;         // must equal module_abi
  Driver* driver;  // null for a module that only brings other CPU kernels
  const kernels::Backend* backend;
};
inline constexpr int module_abi = 4;

/// The driver that a device module brings: runtime/cuda or runtime/simt defines it, in the module.
Driver& module_driver();

/// Loads lib<name>.so from the folder of the core library; returns null and says why in `reason`.
/// A module stays loaded until the process ends.
const Module* load_module(const std::string& name, std::string& reason);

/// The driver of a device type; throws an `unsupported` Error with the reason when there is none.
Driver& driver(Device::Type type);

/// The module behind a device type other than cpu; null with a reason when it cannot be used here.
const Module* device_module(Device::Type type, std::string& reason);

}  // namespace tessera
