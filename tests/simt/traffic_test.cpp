// How copies and products fall on memory: whole sectors, and all banks at once.
#include "tessera/tests/simt/traffic.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/qgemm.hpp"

namespace tessera::kernels {
namespace {

using test::Traffic;

constexpr DType of_each_size[] = {DType::u8, DType::f16, DType::f32, DType::f64};
constexpr int64_t n = 128;

TEST_F(Traffic, DenseCopiesTouchWholeSectorsInWideAccesses) {
  for (DType dtype : of_each_size) {
    const Tensor x = numbers({n, n}, dtype), y = empty({n, n}, dtype);
    const KernelCounters c = count([&](Stream& s) { copy(s, x.view(), y.view()); }).at("copy");
    EXPECT_EQ(c.global_sectors, c.ideal_sectors) << to_string(dtype);
    const int64_t bytes = 2 * n * n * static_cast<int64_t>(size_of(dtype)),
                  per_thread = dtype == DType::u8 ? 8 : 16;
    EXPECT_EQ(static_cast<int64_t>(c.global_requests), bytes / (32 * per_thread))
        << to_string(dtype);
  }
}

TEST_F(Traffic, Conversions) {
  for (DType from : of_each_size)
    for (DType to : of_each_size) {
      if (from == to) continue;
      const Tensor x = numbers({n, n}, from), y = empty({n, n}, to);
      expect_ideal(concat(from, " to ", to), [&](Stream& s) { copy(s, x.view(), y.view()); });
    }
}

TEST_F(Traffic, TransposesTouchAllBanks) {
  for (DType dtype : of_each_size) {
    const Tensor x = numbers({n, n}, dtype), y = empty({n, n}, dtype);
    const KernelCounters c = count([&](Stream& s) {
                               copy(s, x.permute({1, 0}).view(), y.view());
                             }).at("transpose");
    EXPECT_EQ(c.global_sectors, c.ideal_sectors) << to_string(dtype);
    EXPECT_EQ(c.shared_wavefronts, c.ideal_wavefronts) << to_string(dtype);
    EXPECT_GT(c.shared_requests, 0u);
  }
}

class ProductTraffic : public Traffic {
 protected:
  static Tensor operand(DType dtype, int64_t rows, int64_t columns, bool transposed) {
    return transposed ? numbers({columns, rows}, dtype).permute({1, 0})
                      : numbers({rows, columns}, dtype);
  }

  // A product of m x m x k reads and writes so many elements, in whole sectors, and no warp waits
  // for a bank, whatever way its operands run in memory.
  static void expect_ideal_product(DType dtype, int64_t m, int64_t k, int64_t elements) {
    for (int layout = 0; layout < 4; ++layout) {
      const Tensor a = operand(dtype, m, k, layout & 1), b = operand(dtype, k, m, layout & 2),
                   c = empty({m, m}, dtype);
      const KernelCounters counted =
          count([&](Stream& s) { gemm(s, a.view(), b.view(), c.view()); }).at("gemm");
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
};

// Tiles of 64 x 64 read each operand n / 64 times.
TEST_F(ProductTraffic, OperandsInWholeSectors) {
  constexpr int64_t k = 64;  // not long enough to be cut into parts
  for (DType dtype : {DType::f16, DType::bf16, DType::f32, DType::f64})
    expect_ideal_product(dtype, n, k, 2 * n / 64 * n * k + n * n);
}

// By warp groups: a pair of tiles, 256 x 128, reads its columns of B once.
TEST_F(ProductTraffic, PairsOfTilesShareTheirColumns) {
  constexpr int64_t m = 1280, k = 64;
  expect_ideal_product(DType::f16, m, k, m / 256 * (m / 128) * (256 + 128) * k + m * m);

  const Tensor a = numbers({m, k}, DType::f16), b = numbers({k, m}, DType::f16),
               c = numbers({m, m}, DType::f32);  // wide results are stored four at a time
  expect_ideal("f32 of f16",
               [&](Stream& s) { gemm(s, a.view(), b.view(), c.view(), {.beta = 1}); });
}

// A long k is cut into parts, whose sums are joined.
TEST_F(ProductTraffic, PartsOfLongSums) {
  for (DType dtype : {DType::f16, DType::f32, DType::f64}) {
    const Tensor a = numbers({64, 2048}, dtype), b = numbers({2048, 64}, dtype),
                 c = empty({64, 64}, dtype);
    expect_ideal(concat(dtype), [&](Stream& s) { gemm(s, a.view(), b.view(), c.view()); });
  }
}

TEST_F(ProductTraffic, Codes) {
  for (int64_t m : {n, int64_t{1280}}) {
    const Tensor a = test::integers({m, 64}, DType::i8, 1).to(Device::simt()),
                 b = test::integers({m, 64}, DType::i8, 2).to(Device::simt()),
                 c = empty({m, m}, DType::i32);
    expect_ideal(concat(m), [&](Stream& s) { qgemm(s, a.view(), b.view(), c.view()); });
  }
}

TEST_F(ProductTraffic, ScaledCodes) {
  const Tensor a = test::integers({n, 64}, DType::u8, 1).to(Device::simt()),
               b = test::integers({n, 64}, DType::i8, 2).to(Device::simt()),
               scale = numbers({n, 1}, DType::f32),
               zero = test::integers({n, 1}, DType::f32, 3).to(Device::simt());
  const QuantizedView left{a.view(), scale.view(), zero.view()},
      right{b.view(), scale.view(), zero.view()};
  for (DType dtype : {DType::f32, DType::f16}) {
    const Tensor y = empty({n, n}, dtype);
    expect_ideal(concat(dtype), [&](Stream& s) { qgemm_scaled(s, left, right, y.view()); });
  }
}

TEST_F(ProductTraffic, WeightsOfCodes) {
  const Tensor codes = test::integers({n, 128}, DType::i8, 1).to(Device::simt()),
               packed = test::integers({n, 64}, DType::u8, 2).to(Device::simt());
  for (DType dtype : {DType::f32, DType::f16})
    for (int64_t groups : {1, 4})
      for (bool pack : {false, true}) {
        const Tensor x = numbers({64, 128}, dtype), scale = numbers({n, groups}, DType::f32),
                     y = empty({64, n}, dtype);
        const QuantizedView w{pack ? packed.view() : codes.view(), scale.view(), {}, pack};
        expect_ideal(concat(dtype, ", groups ", groups, pack ? ", packed" : ""),
                     [&](Stream& s) { weight_only_gemm(s, x.view(), w, y.view()); },
                     {{"f32, groups 1, weight_only_gemm", {1.138}},
                      {"f32, groups 1, packed, weight_only_gemm", {1.222}},
                      {"f32, groups 4, weight_only_gemm", {1.241}},
                      {"f32, groups 4, packed, weight_only_gemm", {1.333}},
                      {"f16, groups 4, weight_only_gemm", {1.231}},
                      {"f16, groups 4, packed, weight_only_gemm", {1.273}}});
      }
}

}  // namespace
}  // namespace tessera::kernels
