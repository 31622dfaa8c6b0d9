#include <cstdlib>
#include <mutex>
#include <string>
#include <unordered_map>

#include "tessera/runtime/cuda/check.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::cuda {
namespace {

constexpr size_t default_shared_bytes = 48 * 1024;

std::string device_name() {
  int index = 0;
  cudaDeviceProp properties;
  if (cudaGetDevice(&index) != cudaSuccess) return "cuda";
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) return concat("cuda:", index);
  return concat("cuda:", index, " (", properties.name, ")");
}

/// Raises the kernel's limit of dynamic shared memory once per device where the default is too low.
cudaError_t allow_shared_bytes(const void* kernel, size_t bytes) {
  if (bytes <= default_shared_bytes) return cudaSuccess;
  struct Key {
    const void* kernel;
    int device;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& k) const {
      return std::hash<const void*>()(k.kernel) * 31 + static_cast<size_t>(k.device);
    }
  };
  static std::mutex mutex;
  static auto& allowed = *new std::unordered_map<Key, size_t, Hash>;
  int device = 0;
  if (const cudaError_t status = cudaGetDevice(&device); status != cudaSuccess) return status;
  std::lock_guard lock(mutex);
  size_t& limit = allowed[{kernel, device}];
  if (bytes <= limit) return cudaSuccess;
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status == cudaSuccess) limit = bytes;
  return status;
}

}  // namespace

void check(cudaError_t status, const char* call, std::source_location where) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  const ErrorKind kind =
      status == cudaErrorMemoryAllocation ? ErrorKind::out_of_memory : ErrorKind::device;
  throw Error(kind,
              concat(call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status),
                     ") on ", device_name()),
              where);
}

int compute_capability(int index) {
  int major = 0, minor = 0;
  TS_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index));
  TS_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index));
  return 10 * major + minor;
}

void launch_kernel(const void* kernel, const KernelLaunch& launch, void** parameters, void* queue) {
  cudaLaunchConfig_t config{};
  config.gridDim = {launch.grid.x, launch.grid.y, launch.grid.z};
  config.blockDim = {launch.block.x, launch.block.y, launch.block.z};
  config.dynamicSmemBytes = launch.shared_bytes;
  config.stream = static_cast<cudaStream_t>(queue);
  cudaLaunchAttribute attributes[2];
  config.attrs = attributes;
  const Extent c = launch.cluster;
  if (c.x * c.y * c.z > 1) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = c.x;
    attribute.val.clusterDim.y = c.y;
    attribute.val.clusterDim.z = c.z;
  }
  if (launch.cooperative) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
  }
  cudaError_t status = allow_shared_bytes(kernel, launch.shared_bytes);
  if (status == cudaSuccess) status = cudaLaunchKernelExC(&config, kernel, parameters);
  static const bool synchronous = [] {
    const char* text = std::getenv("TESSERA_CUDA_SYNC");
    return text && *text == '1';
  }();
  if (status == cudaSuccess && synchronous) status = cudaStreamSynchronize(config.stream);
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  std::string hint;
  if (status == cudaErrorNoKernelImageForDevice)
    hint = "; this build has no code for this GPU's architecture";
  if (status == cudaErrorInvalidValue && launch.shared_bytes > default_shared_bytes)
    hint = "; the GPU may have less shared memory per block";
  throw Error(ErrorKind::device,
              concat(device_name(), ": cannot launch ", launch.name, " with grid (", launch.grid.x,
                     ", ", launch.grid.y, ", ", launch.grid.z, "), block (", launch.block.x, ", ",
                     launch.block.y, ", ", launch.block.z, "), ", launch.shared_bytes,
                     " bytes of shared memory: ", cudaGetErrorString(status), " (",
                     cudaGetErrorName(status), ")", hint));
}

}  // namespace tessera::cuda
