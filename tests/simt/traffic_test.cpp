// How copies and products of kernels/cuda fall on memory: whole sectors, and all banks at once.
#include <gtest/gtest.h>

#include <memory>

#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/gemm.hpp"
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

template <class Run>
KernelCounters traffic(const char* kernel, Run&& run) {
  simt::take_counters();
  run(current_stream(Device::cpu()));
  for (const KernelCounters& c : simt::take_counters())
    if (c.kernel == kernel) return c;
  ADD_FAILURE() << "no launch of " << kernel;
  return {};
}
KernelCounters traffic(const char* kernel, const View& x, const View& y) {
  return traffic(kernel, [&](Stream& s) { copy_kernels.copy(s, x, y); });
}

constexpr DType of_each_size[] = {DType::u8, DType::f16, DType::f32, DType::f64};
constexpr int64_t n = 128;

TEST(Traffic, DenseCopiesTouchWholeSectorsInWideAccesses) {
  const Memory from(n * n * 8), to(n * n * 8);
  for (DType dtype : of_each_size) {
    const KernelCounters c =
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
      const KernelCounters c =
          traffic("convert", matrix(from, x, n, n, n, 1), matrix(to, y, n, n, n, 1));
      EXPECT_EQ(c.global_sectors, c.ideal_sectors) << to_string(x) << " to " << to_string(y);
    }
}

TEST(Traffic, TransposesTouchWholeSectorsAndAllBanks) {
  const Memory from(n * n * 8), to(n * n * 8);
  for (DType dtype : of_each_size) {
    const KernelCounters c =
        traffic("transpose", matrix(from, dtype, n, n, 1, n), matrix(to, dtype, n, n, n, 1));
    EXPECT_EQ(c.global_sectors, c.ideal_sectors) << to_string(dtype);
    EXPECT_EQ(c.shared_wavefronts, c.ideal_wavefronts) << to_string(dtype);
    EXPECT_GT(c.shared_requests, 0u);
  }
}

// One operand of a product, in rows or transposed.
View operand(const Memory& memory, DType dtype, int64_t rows, int64_t columns, bool transposed) {
  return matrix(memory, dtype, rows, columns, transposed ? 1 : columns, transposed ? rows : 1);
}

// A product of m x m x k reads and writes so many elements, in whole sectors, and no warp waits for
// a bank, whatever way its operands run in memory.
void expect_ideal_product(DType dtype, int64_t m, int64_t k, int64_t elements) {
  const Memory a(m * k * 8), b(k * m * 8), c(m * m * 8);
  for (int layout = 0; layout < 4; ++layout) {
    const View x = operand(a, dtype, m, k, layout & 1), y = operand(b, dtype, k, m, layout & 2),
               z = operand(c, dtype, m, m, false);
    const KernelCounters counted =
        traffic("gemm", [&](Stream& s) { gemm_kernels.gemm(s, x, y, z, {}); });
    const std::string what = concat(dtype, ", layout ", layout);
    EXPECT_EQ(counted.global_sectors, counted.ideal_sectors) << what;
    EXPECT_EQ(static_cast<int64_t>(counted.global_sectors) * 32,
              elements * static_cast<int64_t>(size_of(dtype)))
        << what;
    EXPECT_EQ(counted.shared_wavefronts, counted.ideal_wavefronts) << what;
    EXPECT_GT(counted.shared_requests, 0u) << what;
    EXPECT_GE(counted.busiest_warp * counted.warps,
              counted.global_requests + counted.shared_requests)
        << what;
  }
}

// Tiles of 64 x 64 read each operand n / 64 times.
TEST(Traffic, ProductsTouchWholeSectorsAndAllBanks) {
  constexpr int64_t k = 64;  // not long enough to be cut into parts
  for (DType dtype : {DType::f16, DType::bf16, DType::f32, DType::f64})
    expect_ideal_product(dtype, n, k, 2 * n / 64 * n * k + n * n);
}

// A pair of tiles, 256 x 128, reads its columns of B once.
TEST(Traffic, PairsOfTilesShareTheirColumns) {
  constexpr int64_t m = 1280, k = 64;
  expect_ideal_product(DType::f16, m, k, m / 256 * (m / 128) * (256 + 128) * k + m * m);
}

}  // namespace
}  // namespace tessera::kernels::cuda
