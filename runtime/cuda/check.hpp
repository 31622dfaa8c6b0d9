#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <source_location>
#include <string>

/// The CUDA runtime's statuses as Errors, and launches.
namespace tessera::cuda {

/// Throws unless `status` is cudaSuccess: `out_of_memory` for that, `device` for the rest, naming
/// the current device, the call and what the runtime says. Clears the runtime's error slot, so that
/// the next call starts clean. Where a failure loses the device, as a wild access of a kernel does,
/// the runtime refuses all further work on it: later Errors tell the first one.
void check(cudaError_t status, const char* call,
           std::source_location where = std::source_location::current());
/// The same for a status that is not cudaSuccess, with words of the caller's own.
[[noreturn]] void fail(cudaError_t status, const std::string& what, const std::string& hint,
                       std::source_location where = std::source_location::current());

/// 10 * major + minor of GPU `index`.
int compute_capability(int index);

/// Makes a device the calling thread's current one until the end of the scope. What stands in the
/// way is thrown, or where `status` is given left there.
class DeviceScope {
 public:
  explicit DeviceScope(int index, cudaError_t* status = nullptr);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int previous_, index_;
};

/// Remembers which device a queue is of, -1: of none any more. What is launched or recorded in a
/// queue wants its device to be the current one.
void note_queue(const void* queue, int index);
int device_of(const void* queue);

struct Extent {
  unsigned x, y, z;
};

struct KernelLaunch {
  const char* name;
  Extent grid, block, cluster;  // a cluster of (1, 1, 1) is none
  size_t shared_bytes;          // dynamic shared memory
  bool cooperative;
};

/// Queues a kernel with its parameters' addresses. Errors name the device, the kernel and its
/// sizes. With TESSERA_CUDA_SYNC=1 in the environment each launch is waited for, so that a kernel
/// that fails is the one that is named.
void launch_kernel(const void* kernel, const KernelLaunch& launch, void** parameters, void* queue);
/// The kernel that this thread launched last, with its sizes; "" before the first.
std::string last_kernel();

}  // namespace tessera::cuda

#define TS_CUDA(call) ::tessera::cuda::check((call), #call)
