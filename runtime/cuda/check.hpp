#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <source_location>

/// The CUDA runtime's statuses as Errors, and launches.
namespace tessera::cuda {

/// Throws unless `status` is cudaSuccess: `out_of_memory` for that, `device` for the rest, naming
/// the call and what the runtime says. Clears the runtime's error slot, so that the next call
/// starts clean.
void check(cudaError_t status, const char* call,
           std::source_location where = std::source_location::current());

/// 10 * major + minor of GPU `index`.
int compute_capability(int index);

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

}  // namespace tessera::cuda

#define TS_CUDA(call) ::tessera::cuda::check((call), #call)
