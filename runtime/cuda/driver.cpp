// GPUs as devices: memory from the stream-ordered pools of the CUDA runtime, streams, events,
// copies.
#include "tessera/runtime/driver.hpp"

#include <cstdint>
#include <string>

#include "tessera/runtime/cuda/check.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::cuda {
namespace {

constexpr int oldest_capability = 80;  // 10 * major + minor; what kernels/cuda is written for

/// Makes a device the calling thread's current one until the end of the scope.
class DeviceScope {
 public:
  explicit DeviceScope(int index) {
    TS_CUDA(cudaGetDevice(&previous_));
    if (index != previous_) TS_CUDA(cudaSetDevice(index));
  }
  ~DeviceScope() { (void)cudaSetDevice(previous_); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int previous_ = 0;
};

class CudaDriver final : public Driver {
 public:
  CudaDriver() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) {
      (void)cudaGetLastError();
      reason_ = status == cudaErrorInsufficientDriver
                    ? "the NVIDIA driver is older than this build's CUDA runtime wants"
                    : std::string(cudaGetErrorString(status));
      return;
    }
    for (int i = 0; i < count; ++i) {
      const int capability = compute_capability(i);
      if (capability < oldest_capability) {
        reason_ = concat("cuda:", i, " has compute capability ", capability / 10, ".",
                         capability % 10, "; the kernels are for 8.0 and newer");
        break;
      }
      ++count_;
    }
    if (count == 0) reason_ = "the driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)";
  }

  int device_count() const override { return count_; }
  std::string why_fewer() const override { return reason_; }

  DeviceInfo describe(int index) const override {
    cudaDeviceProp properties;
    TS_CUDA(cudaGetDeviceProperties(&properties, index));
    return {Device::cuda(index), properties.name,
            concat("compute capability ", properties.major, ".", properties.minor),
            static_cast<int64_t>(properties.totalGlobalMem)};
  }

  void* allocate(size_t bytes, int index, void* queue) override {
    void* data = nullptr;
    const DeviceScope scope(index);
    if (const cudaError_t status = cudaMallocAsync(&data, bytes, native(queue));
        status == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      size_t free = 0, total = 0;
      (void)cudaMemGetInfo(&free, &total);
      throw Error(ErrorKind::out_of_memory, concat("cuda:", index, ": cannot allocate ", bytes,
                                                   " bytes; ", free, " of ", total, " are free"));
    } else {
      check(status, "cudaMallocAsync");
    }
    return data;
  }
  void deallocate(void* data, size_t, int, void* queue) noexcept override {
    (void)cudaFreeAsync(data, native(queue));
  }

  void* allocate_pinned(size_t bytes, int index) override {
    const DeviceScope scope(index);
    void* data = nullptr;
    TS_CUDA(cudaHostAlloc(&data, bytes, cudaHostAllocMapped | cudaHostAllocPortable));
    return data;
  }
  void deallocate_pinned(void* data, int) noexcept override { (void)cudaFreeHost(data); }

  void* create_queue(int index) override {
    const DeviceScope scope(index);
    keep_pool(index);
    cudaStream_t stream = nullptr;
    TS_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
  }
  void destroy_queue(void* queue) noexcept override { (void)cudaStreamDestroy(native(queue)); }
  void synchronize(void* queue) override { TS_CUDA(cudaStreamSynchronize(native(queue))); }

  void* record(void* queue) override {
    cudaEvent_t event = nullptr;
    TS_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    TS_CUDA(cudaEventRecord(event, native(queue)));
    return event;
  }
  void wait(void* queue, void* event) override {
    TS_CUDA(cudaStreamWaitEvent(native(queue), static_cast<cudaEvent_t>(event), 0));
  }
  void synchronize_event(void* event) override {
    TS_CUDA(cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
  }
  void destroy_event(void* event) noexcept override {
    (void)cudaEventDestroy(static_cast<cudaEvent_t>(event));
  }

  void copy_to_host(void* dst, const void* src, size_t bytes, void* queue) override {
    TS_CUDA(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, native(queue)));
  }
  void copy_from_host(void* dst, const void* src, size_t bytes, void* queue) override {
    TS_CUDA(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, native(queue)));
  }
  void copy_on_device(void* dst, const void* src, size_t bytes, void* queue) override {
    TS_CUDA(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, native(queue)));
  }
  void clear(void* data, size_t bytes, void* queue) override {
    TS_CUDA(cudaMemsetAsync(data, 0, bytes, native(queue)));
  }

  bool records() const override { return true; }
  void begin_recording(void* queue) override {
    // Relaxed: memory for the recording is asked for on another stream meanwhile.
    TS_CUDA(cudaStreamBeginCapture(native(queue), cudaStreamCaptureModeRelaxed));
  }
  void* end_recording(void* queue) override {
    cudaGraph_t graph = nullptr;
    TS_CUDA(cudaStreamEndCapture(native(queue), &graph));
    cudaGraphExec_t recorded = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&recorded, graph, 0);
    (void)cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
    return recorded;
  }
  void replay(void* recorded, void* queue) override {
    TS_CUDA(cudaGraphLaunch(static_cast<cudaGraphExec_t>(recorded), native(queue)));
  }
  void destroy_recorded(void* recorded) noexcept override {
    (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recorded));
  }

 private:
  static cudaStream_t native(void* queue) { return static_cast<cudaStream_t>(queue); }

  /// Without this a pool gives its memory back to the system at every synchronisation.
  static void keep_pool(int index) {
    cudaMemPool_t pool = nullptr;
    TS_CUDA(cudaDeviceGetDefaultMemPool(&pool, index));
    uint64_t everything = UINT64_MAX;
    TS_CUDA(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &everything));
  }

  int count_ = 0;
  std::string reason_;
};

}  // namespace
}  // namespace tessera::cuda

namespace tessera {

Driver& module_driver() {
  static auto& driver = *new cuda::CudaDriver;  // as the CPU's, never destroyed
  return driver;
}

}  // namespace tessera
