// GPUs as devices: memory from the stream-ordered pools of the CUDA runtime, streams, events,
// copies.
#include "tessera/runtime/driver.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

#include "tessera/runtime/cuda/check.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::cuda {
namespace {

constexpr int oldest_capability = 80;  // 10 * major + minor; what kernels/cuda is written for

class CudaDriver final : public Driver {
 public:
  CudaDriver() {
    try {
      find_devices();
    } catch (const Error& error) {
      reason_ = error.what();
    }
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
    const cudaError_t status =
        cudaHostAlloc(&data, bytes, cudaHostAllocMapped | cudaHostAllocPortable);
    if (status != cudaSuccess) fail(status, concat("cannot pin ", bytes, " bytes of the host"), "");
    return data;
  }
  void deallocate_pinned(void* data, int) noexcept override { (void)cudaFreeHost(data); }

  void* create_queue(int index) override {
    const DeviceScope scope(index);
    keep_pool(index);
    cudaStream_t stream = nullptr;
    TS_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    note_queue(stream, index);
    return stream;
  }
  void destroy_queue(void* queue) noexcept override {
    (void)cudaStreamDestroy(native(queue));
    note_queue(queue, -1);
  }
  void synchronize(void* queue) override {
    const DeviceScope scope(device_of(queue));
    check(cudaStreamSynchronize(native(queue)), "waiting for the stream");
  }

  void* record(void* queue) override {
    const DeviceScope scope(device_of(queue));
    cudaEvent_t event = nullptr;
    TS_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    TS_CUDA(cudaEventRecord(event, native(queue)));
    return event;
  }
  void wait(void* queue, void* event) override {
    TS_CUDA(cudaStreamWaitEvent(native(queue), static_cast<cudaEvent_t>(event), 0));
  }
  void synchronize_event(void* event) override {
    check(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "waiting for an event");
  }
  void destroy_event(void* event) noexcept override {
    (void)cudaEventDestroy(static_cast<cudaEvent_t>(event));
  }

  void copy_to_host(void* dst, const void* src, size_t bytes, void* queue) override {
    copy(dst, src, bytes, cudaMemcpyDeviceToHost, queue, " bytes to the host");
  }
  void copy_from_host(void* dst, const void* src, size_t bytes, void* queue) override {
    copy(dst, src, bytes, cudaMemcpyHostToDevice, queue, " bytes from the host");
  }
  void copy_on_device(void* dst, const void* src, size_t bytes, void* queue) override {
    copy(dst, src, bytes, cudaMemcpyDeviceToDevice, queue, " bytes on the device");
  }
  void clear(void* data, size_t bytes, void* queue) override {
    TS_CUDA(cudaMemsetAsync(data, 0, bytes, native(queue)));
  }

  bool records() const override { return true; }
  void begin_recording(void* queue) override {
    const DeviceScope scope(device_of(queue));
    // Relaxed: memory for the recording is asked for on another stream meanwhile.
    TS_CUDA(cudaStreamBeginCapture(native(queue), cudaStreamCaptureModeRelaxed));
  }
  void* end_recording(void* queue) override {
    const DeviceScope scope(device_of(queue));
    cudaGraph_t graph = nullptr;
    TS_CUDA(cudaStreamEndCapture(native(queue), &graph));
    cudaGraphExec_t recorded = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&recorded, graph, 0);
    (void)cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
    return recorded;
  }
  void replay(void* recorded, void* queue) override {
    const DeviceScope scope(device_of(queue));
    TS_CUDA(cudaGraphLaunch(static_cast<cudaGraphExec_t>(recorded), native(queue)));
  }
  void destroy_recorded(void* recorded) noexcept override {
    (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recorded));
  }

 private:
  /// Counts devices up to the first that is too old.
  void find_devices() {
    int count = 0;
    switch (const cudaError_t status = cudaGetDeviceCount(&count)) {
      case cudaSuccess:
        break;
      case cudaErrorInsufficientDriver: {
        int of_driver = 0, of_runtime = 0;
        (void)cudaDriverGetVersion(&of_driver);
        (void)cudaRuntimeGetVersion(&of_runtime);
        reason_ = concat("the NVIDIA driver is for CUDA ", version(of_driver),
                         ", older than this build's ", version(of_runtime));
        break;
      }
      case cudaErrorNoDevice:
        count = 0;
        break;
      default:
        reason_ = concat(cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
    }
    (void)cudaGetLastError();
    if (!reason_.empty()) return;
    if (count == 0) {
      const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
      reason_ = visible ? concat("the driver shows no GPU; CUDA_VISIBLE_DEVICES is '", visible, "'")
                        : std::string("the driver finds no GPU");
    }
    for (; count_ < count; ++count_) {
      const int capability = compute_capability(count_);
      if (capability >= oldest_capability) continue;
      reason_ =
          concat("cuda:", count_, " (", describe(count_).name, ") has compute capability ",
                 capability / 10, ".", capability % 10, "; the kernels are for 8.0 and newer");
      return;
    }
  }
  static std::string version(int number) { return concat(number / 1000, ".", number % 1000 / 10); }

  static void copy(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind, void* queue,
                   const char* where) {
    const cudaError_t status = cudaMemcpyAsync(dst, src, bytes, kind, native(queue));
    if (status != cudaSuccess) fail(status, concat("copying ", bytes, where), "");
  }

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
