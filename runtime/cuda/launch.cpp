#include <cstdlib>
#include <mutex>
#include <string>
#include <unordered_map>

#include "tessera/runtime/cuda/check.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::cuda {
namespace {

constexpr size_t default_shared_bytes = 48 * 1024;

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

/// What this thread has launched last.
thread_local KernelLaunch last_launch{};

std::string sizes_of(const KernelLaunch& launch) {
  const auto three = [](Extent e) { return concat("(", e.x, ", ", e.y, ", ", e.z, ")"); };
  std::string sizes = concat("grid ", three(launch.grid), ", block ", three(launch.block), ", ",
                             launch.shared_bytes, " bytes of shared memory");
  if (launch.cluster.x * launch.cluster.y * launch.cluster.z > 1)
    sizes += concat(", cluster ", three(launch.cluster));
  return sizes;
}

/// Why a launch may have failed, as far as attributes of the current device tell.
std::string hint_of(cudaError_t status, const KernelLaunch& launch) {
  if (status == cudaErrorNoKernelImageForDevice)
    return "; this build has no code for this GPU's architecture";
  int device = 0, most = 0;
  if (launch.shared_bytes > default_shared_bytes && cudaGetDevice(&device) == cudaSuccess &&
      cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) ==
          cudaSuccess &&
      launch.shared_bytes > static_cast<size_t>(most))
    return concat("; a block has at most ", most, " bytes of shared memory on this GPU");
  return "";
}

}  // namespace

std::string last_kernel() {
  return last_launch.name ? concat(last_launch.name, " with ", sizes_of(last_launch)) : "";
}

void launch_kernel(const void* kernel, const KernelLaunch& launch, void** parameters, void* queue) {
  cudaError_t status = cudaSuccess;
  const DeviceScope scope(device_of(queue), &status);
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
  if (status == cudaSuccess) status = allow_shared_bytes(kernel, launch.shared_bytes);
  if (status == cudaSuccess) status = cudaLaunchKernelExC(&config, kernel, parameters);
  const bool launched = status == cudaSuccess;
  if (launched) last_launch = launch;
  static const bool synchronous = [] {
    const char* text = std::getenv("TESSERA_CUDA_SYNC");
    return text && *text == '1';
  }();
  if (launched && synchronous) {
    cudaStreamCaptureStatus recording = cudaStreamCaptureStatusNone;
    status = cudaStreamIsCapturing(config.stream, &recording);
    if (status == cudaSuccess && recording == cudaStreamCaptureStatusNone)
      status = cudaStreamSynchronize(config.stream);
  }
  if (status == cudaSuccess) return;
  fail(status,
       concat(launched ? "failed: " : "cannot launch ", launch.name, " with ", sizes_of(launch)),
       hint_of(status, launch));
}

}  // namespace tessera::cuda
