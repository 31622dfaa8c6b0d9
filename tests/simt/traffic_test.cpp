// How the copies of kernels/cuda fall on memory: whole sectors, and all banks at once.
#include <gtest/gtest.h>

#include <memory>

#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::kernels::cuda {
namespace {

/// Device memory that begins where sectors do.
struct Memory {
  explicit Memory(size_t bytes) : data(std::aligned_alloc(256, (bytes + 255) / 256 * 256)) {
    std::fill_n(static_cast<char*>(data), bytes, 0);
    simt::add_device_memory(data, bytes);
  }
  ~Memory() {
    simt::remove_device_memory(data);
    std::free(data);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data;
};

View matrix(const Memory& memory, DType dtype, int64_t rows, int64_t columns, int64_t row_stride,
            int64_t column_stride) {
  View v{.data = memory.data, .dtype = dtype, .rank = 2};
  v.shape[0] = rows, v.shape[1] = columns;
  v.stride[0] = row_stride, v.stride[1] = column_stride;
  return v;
}

simt::KernelCounters traffic(const char* kernel, const View& x, const View& y) {
  simt::take_counters();
  copy_kernels.copy(current_stream(Device::cpu()), x, y);
  for (const simt::KernelCounters& c : simt::take_counters())
    if (c.kernel == kernel) return c;
  ADD_FAILURE() << "no launch of " << kernel;
  return {};
}

constexpr DType of_each_size[] = {DType::u8, DType::f16, DType::f32, DType::f64};
constexpr int64_t n = 128;

TEST(Traffic, DenseCopiesTouchWholeSectorsInWideAccesses) {
  const Memory from(n * n * 8), to(n * n * 8);
  for (DType dtype : of_each_size) {
    const simt::KernelCounters c =
        traffic("copy", matrix(from, dtype, n, n, n, 1), matrix(to, dtype, n, n, n, 1));
    EXPECT_EQ(c.global_sectors, c.ideal_sectors) << to_string(dtype);
    const int64_t bytes = 2 * n * n * static_cast<int64_t>(size_of(dtype)),
                  per_thread = dtype == DType::u8 ? 8 : 16;
    EXPECT_EQ(static_cast<int64_t>(c.global_requests), bytes / (32 * per_thread))
        << to_string(dtype);
  }
}

TEST(Traffic, ConversionsTouchWholeSectors) {
  const Memory from(n * n * 8), to(n * n * 8);
  for (DType x : of_each_size)
    for (DType y : of_each_size) {
      if (x == y) continue;
      const simt::KernelCounters c =
          traffic("convert", matrix(from, x, n, n, n, 1), matrix(to, y, n, n, n, 1));
      EXPECT_EQ(c.global_sectors, c.ideal_sectors) << to_string(x) << " to " << to_string(y);
    }
}

TEST(Traffic, TransposesTouchWholeSectorsAndAllBanks) {
  const Memory from(n * n * 8), to(n * n * 8);
  for (DType dtype : of_each_size) {
    const simt::KernelCounters c =
        traffic("transpose", matrix(from, dtype, n, n, 1, n), matrix(to, dtype, n, n, n, 1));
    EXPECT_EQ(c.global_sectors, c.ideal_sectors) << to_string(dtype);
    EXPECT_EQ(c.shared_wavefronts, c.ideal_wavefronts) << to_string(dtype);
    EXPECT_GT(c.shared_requests, 0u);
  }
}

}  // namespace
}  // namespace tessera::kernels::cuda
