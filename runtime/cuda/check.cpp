#include "tessera/runtime/cuda/check.hpp"

#include <map>
#include <mutex>

#include "tessera/runtime/error.hpp"

namespace tessera::cuda {
namespace {

/// Whether the runtime answers all further work on the device with this status.
constexpr bool loses_device(cudaError_t status) {
  switch (status) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

int current_device() {
  int index = 0;
  return cudaGetDevice(&index) == cudaSuccess ? index : 0;
}

std::string device_name(int index) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) return concat("cuda:", index);
  return concat("cuda:", index, " (", properties.name, ")");
}

}  // namespace

void fail(cudaError_t status, const std::string& what, const std::string& hint,
          std::source_location where) {
  static std::mutex mutex;
  static auto& lost = *new std::map<int, std::string>;  // devices, since what
  (void)cudaGetLastError();
  const int index = current_device();
  const std::string device = device_name(index);
  std::string message =
      concat(what, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")", hint);
  if (loses_device(status)) {
    std::lock_guard lock(mutex);
    std::string& since = lost[index];
    if (!since.empty())
      throw Error(ErrorKind::device,
                  concat(device, " is lost, until the process ends, since: ", since), where);
    since = message;
    if (const std::string kernel = last_kernel(); !kernel.empty())
      since += concat("; the last kernel that this thread had launched was ", kernel);
    message = concat(since,
                     "; the device is lost until the process ends (TESSERA_CUDA_SYNC=1 "
                     "names the kernel that fails)");
  }
  throw Error(status == cudaErrorMemoryAllocation ? ErrorKind::out_of_memory : ErrorKind::device,
              concat(device, ": ", message), where);
}

void check(cudaError_t status, const char* call, std::source_location where) {
  if (status != cudaSuccess) fail(status, call, "", where);
}

DeviceScope::DeviceScope(int index, cudaError_t* status) : previous_(index), index_(index) {
  cudaError_t found = cudaGetDevice(&previous_);
  if (found == cudaSuccess && index_ != previous_) found = cudaSetDevice(index_);
  if (status)
    *status = found;
  else
    check(found, "cudaSetDevice");
}
DeviceScope::~DeviceScope() {
  if (index_ != previous_) (void)cudaSetDevice(previous_);
}

namespace {

struct Queues {
  std::mutex mutex;
  std::map<const void*, int> device_of;
};
Queues& queues() {
  static auto& all = *new Queues;
  return all;
}

}  // namespace

void note_queue(const void* queue, int index) {
  std::lock_guard lock(queues().mutex);
  if (index < 0)
    queues().device_of.erase(queue);
  else
    queues().device_of[queue] = index;
}
int device_of(const void* queue) {
  std::lock_guard lock(queues().mutex);
  const auto found = queues().device_of.find(queue);
  return found == queues().device_of.end() ? 0 : found->second;
}

int compute_capability(int index) {
  int major = 0, minor = 0;
  TS_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index));
  TS_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index));
  return 10 * major + minor;
}

}  // namespace tessera::cuda
