#include "tessera/kernels/gemm.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tessera/kernels/copy.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::expect_close;
using test::from_doubles;
using test::integers;
using test::to_doubles;

double activated(Activation f, double x) {
  switch (f) {
    case Activation::none:
      return x;
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::silu:
      return x / (1 + std::exp(-x));
  }
  return x;
}

// The definition, in double, by strides of plain tensors.
std::vector<double> reference(const Tensor& a, const Tensor& b, const Tensor& c,
                              const GemmParams& p, const std::vector<double>& bias = {}) {
  const std::vector<double> x = to_doubles(a), y = to_doubles(b);
  std::vector<double> z = to_doubles(c);
  const int64_t m = c.size(-2), n = c.size(-1), k = a.size(-1),
                batches = c.numel() > 0 ? c.numel() / (m * n) : 0;
  for (int64_t q = 0; q < batches; ++q)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l)
          sum += x[static_cast<size_t>((q * m + i) * k + l)] *
                 y[static_cast<size_t>((q * k + l) * n + j)];
        double& out = z[static_cast<size_t>((q * m + i) * n + j)];
        out = p.alpha * sum + (p.beta != 0 ? p.beta * out : 0);
        if (!bias.empty()) out += bias[static_cast<size_t>(p.bias_axis == BiasAxis::row ? i : j)];
        out = activated(p.activation, out);
      }
  return z;
}

// On the device, row-contiguous with gap extra columns, or column-contiguous with gap extra rows.
Tensor laid_out(const Tensor& x, bool transposed, int64_t gap, Device device = Device::cpu()) {
  Shape wide = x.shape();
  const int r = x.rank();
  if (transposed) std::swap(wide[r - 2], wide[r - 1]);
  const int64_t inner = wide[r - 1];
  wide[r - 1] += gap;
  Tensor t = Tensor::empty(wide, x.dtype(), device).narrow(-1, 0, inner);
  if (transposed) t = t.transpose(-2, -1);
  copy(current_stream(device), x.to(device).view(), t.view());
  return t;
}

struct Extents {
  int64_t m, n, k;
};

std::string to_string(const Extents& e) { return concat(e.m, "x", e.n, "x", e.k); }

constexpr Extents extents[] = {
    {1, 1, 1},      {2, 3, 4},      {7, 5, 3},    {14, 32, 10},  {15, 33, 17}, {16, 16, 16},
    {1, 70, 40},    {70, 1, 40},    {61, 16, 90}, {29, 130, 31}, {3, 200, 9},  {197, 65, 48},
    {43, 150, 401}, {130, 257, 33}, {1, 1, 300},  {2, 37, 70},   {4, 9, 130},  {37, 3, 90}};

class GemmTest : public test::TargetTest {
 protected:
  static Tensor laid_out(const Tensor& x, bool transposed, int64_t gap) {
    return kernels::laid_out(x, transposed, gap, device());
  }
  static Tensor integers(const Shape& shape, DType dtype, uint64_t seed, int limit) {
    return on_device(test::integers(shape, dtype, seed, limit));
  }
  static Tensor uniform(const Shape& shape, uint64_t seed) {
    return on_device(test::uniform(shape, dtype(), seed));
  }
  static Tensor zeros(const Shape& shape) { return Tensor::zeros(shape, dtype(), device()); }
};

// Integers in [-1, 1]: the sums here stay exact even in bf16 as long as they are below 256.
TEST_P(GemmTest, ExactOnIntegersInEveryLayout) {
  uint64_t seed = 0;
  for (const Extents e : extents)
    for (int layout = 0; layout < 8; ++layout)
      for (const int64_t gap : {0, 3}) {
        const Tensor a = laid_out(integers({e.m, e.k}, dtype(), ++seed, 1), layout & 1, gap);
        const Tensor b = laid_out(integers({e.k, e.n}, dtype(), ++seed, 1), layout & 2, gap);
        const Tensor c = laid_out(integers({e.m, e.n}, dtype(), ++seed, 3), layout & 4, gap);
        GemmParams p{.alpha = 2, .beta = seed % 2 ? 0.0 : -1.0};
        const std::vector<double> wanted = reference(a, b, c, p);
        gemm(stream(), a.view(), b.view(), c.view(), p);
        expect_close(to_doubles(c), wanted, 0, concat("layout ", layout, " of ", e));
      }
}

TEST_P(GemmTest, BiasAndActivation) {
  const DType accumulated[] = {dtype(), DType::f32};
  for (const DType out : accumulated) {
    if (out != dtype() && !is_half(dtype())) continue;
    for (const Extents e : {Extents{19, 37, 450}, Extents{5, 40, 0}, Extents{40, 3, 6}})
      for (const Activation f : {Activation::none, Activation::relu, Activation::gelu,
                                 Activation::gelu_tanh, Activation::silu})
        for (const BiasAxis axis : {BiasAxis::row, BiasAxis::column})
          for (const bool transposed : {false, true}) {
            const Tensor a = integers({e.m, e.k}, dtype(), 1, 1),
                         b = integers({e.k, e.n}, dtype(), 2, 1);
            const Tensor c = laid_out(integers({e.m, e.n}, out, 3, 2), transposed, 1);
            const Tensor bias = integers({axis == BiasAxis::row ? e.m : e.n}, out, 4, 4);
            const GemmParams p{.alpha = 0.125,
                               .beta = 0.5,
                               .bias = bias.view(),
                               .bias_axis = axis,
                               .activation = f};
            const std::vector<double> wanted = reference(a, b, c, p, to_doubles(bias));
            gemm(stream(), a.view(), b.view(), c.view(), p);
            expect_close(to_doubles(c), wanted, std::max(4 * test::roundoff(out), 1e-15),
                         concat("activation ", static_cast<int>(f)));
          }
  }
}

// Sizes that devices cut into large tiles, more of them than they compute at a time; the last tiles
// are partial.
TEST_P(GemmTest, LargeProducts) {
  if (!is_half(dtype())) GTEST_SKIP() << "halves alone have kernels of their own for these";
  for (const Extents e : {Extents{1100, 1032, 72}, Extents{2056, 2056, 72}}) {
    const Tensor a = integers({e.m, e.k}, dtype(), 1, 1), b = integers({e.k, e.n}, dtype(), 2, 1);
    const Tensor c = Tensor::empty({e.m, e.n}, DType::f32, device()),
                 bias = integers({e.n}, DType::f32, 3, 3);
    const GemmParams p{.alpha = 2, .bias = bias.view(), .activation = Activation::relu};
    const std::vector<double> wanted = reference(a, b, c, p, to_doubles(bias));
    for (int layout = 0; layout < 4; ++layout) {
      gemm(stream(), laid_out(a, layout & 1, 0).view(), laid_out(b, layout & 2, 8).view(), c.view(),
           p);
      expect_close(to_doubles(c), wanted, 0, concat("layout ", layout, " of ", e));
    }
  }
}

TEST_P(GemmTest, LargeBatches) {
  if (!is_half(dtype())) GTEST_SKIP() << "halves alone have kernels of their own for these";
  constexpr int64_t batches = 17;
  const Extents e{200, 264, 400};
  for (const bool repeated : {false, true}) {
    const Tensor a = integers({batches, e.m, e.k}, dtype(), 5, 1);
    const Tensor b = integers({repeated ? 1 : batches, e.k, e.n}, dtype(), 6, 1)
                         .broadcast_to({batches, e.k, e.n});
    const Tensor c = integers({batches, e.m, e.n}, DType::f32, 7, 1);
    const GemmParams p{.beta = 1};
    const std::vector<double> wanted = reference(a, b, c, p);
    gemm(stream(), a.view(), b.view(), c.view(), p);
    expect_close(to_doubles(c), wanted, 0, concat("repeated ", repeated));
  }
}

TEST_P(GemmTest, Batches) {
  for (const Extents e : {Extents{5, 7, 6}, Extents{33, 40, 20}, Extents{1, 9, 300}})
    for (int repeated = 0; repeated < 4; ++repeated) {
      // [2, 3] batches; an operand that is repeated along one or both has stride 0 there.
      const Tensor a = integers({2, repeated & 1 ? 1 : 3, e.m, e.k}, dtype(), 5, 1)
                           .broadcast_to({2, 3, e.m, e.k});
      const Tensor b = (repeated & 2 ? integers({1, 1, e.k, e.n}, dtype(), 6, 1)
                                     : integers({2, 3, e.k, e.n}, dtype(), 6, 1))
                           .broadcast_to({2, 3, e.k, e.n});
      const Tensor c = integers({2, 3, e.m, e.n}, dtype(), 7, 1);
      const GemmParams p{.beta = 1};
      const std::vector<double> wanted = reference(a, b, c, p);
      gemm(stream(), a.view(), b.view(), c.view(), p);
      expect_close(to_doubles(c), wanted, 0, concat("repeated ", repeated));
    }
}

TEST_P(GemmTest, CloseToDoubleOnRealNumbers) {
  for (const Extents e : {Extents{90, 100, 800}, Extents{300, 16, 1433}}) {
    const Tensor a = uniform({e.m, e.k}, 8), b = uniform({e.k, e.n}, 9);
    const Tensor c = zeros({e.m, e.n});
    gemm(stream(), a.view(), b.view(), c.view());
    const double sums =
        test::roundoff(is_half(dtype()) ? DType::f32 : dtype()) * std::sqrt(double(e.k)) * 8;
    expect_close(to_doubles(c), reference(a, b, c, {}), sums + test::roundoff(dtype()));
  }
}

TEST_P(GemmTest, BetaZeroDoesNotRead) {
  const Tensor a = integers({3, 4}, dtype(), 1, 3), b = integers({4, 40}, dtype(), 2, 3);
  const Tensor c = on_device(from_doubles(std::vector<double>(120, NAN), {3, 40}, dtype()));
  gemm(stream(), a.view(), b.view(), c.view());
  expect_close(to_doubles(c), reference(a, b, c, {}), 0);
}

TEST_P(GemmTest, EmptyExtents) {
  const auto product = [&](int64_t m, int64_t n, int64_t k, double beta) {
    const Tensor c = on_device(
        from_doubles(std::vector<double>(static_cast<size_t>(m * n), 5), {m, n}, dtype()));
    gemm(stream(), empty({m, k}).view(), empty({k, n}).view(), c.view(), {.beta = beta});
    return to_doubles(c);
  };
  EXPECT_TRUE(product(0, 4, 3, 1).empty());
  EXPECT_TRUE(product(4, 0, 3, 1).empty());
  EXPECT_EQ(product(2, 2, 0, 0), std::vector<double>(4, 0));
  EXPECT_EQ(product(2, 2, 0, 2), std::vector<double>(4, 10));
}

// What is cut otherwise: many tiles of C, and few with a long k.
TEST_P(GemmTest, ExactOnIntegersInEveryCut) {
  for (const Extents e : {Extents{1450, 1300, 5}, Extents{70, 90, 1200}, Extents{9, 5, 3000}})
    for (const int layout : {0, 1, 2, 3}) {
      const Tensor a = laid_out(integers({e.m, e.k}, dtype(), 12, 1), layout & 1, 0);
      const Tensor b = laid_out(integers({e.k, e.n}, dtype(), 13, 1), layout & 2, 0);
      const Tensor bias = integers({e.n}, dtype(), 14, 3), c = zeros({e.m, e.n});
      const GemmParams p{.bias = bias.view()};
      const std::vector<double> wanted = reference(a, b, c, p, to_doubles(bias));
      gemm(stream(), a.view(), b.view(), c.view(), p);
      expect_close(to_doubles(c), wanted, 0, concat("layout ", layout, " of ", e));
    }
}

// Float products by parts of a float must not make a NaN of an infinity, or lose what is small.
TEST_P(GemmTest, ExtremeNumbers) {
  const double large = is_half(dtype()) ? 30000.0 : 3e38;
  const Tensor a = on_device(from_doubles({INFINITY, 1, -INFINITY, large}, {4, 1}, dtype())),
               b = on_device(from_doubles({1, 2, NAN}, {1, 3}, dtype())), c = zeros({4, 3});
  gemm(stream(), a.view(), b.view(), c.view());
  const std::vector<double> got = to_doubles(c);
  EXPECT_EQ(std::vector(got.begin(), got.begin() + 2), std::vector<double>(2, INFINITY));
  EXPECT_EQ(std::vector(got.begin() + 6, got.begin() + 8), std::vector<double>(2, -INFINITY));
  EXPECT_NEAR(got[9] / to_doubles(a)[3], 1, 4 * test::roundoff(test::compute_dtype(dtype())));
  for (const int64_t nan_at : {2, 5, 8, 11}) EXPECT_TRUE(std::isnan(got[test::at(nan_at)]));
}

// The bits that tell this NaN from an infinity are none that a tf32 has.
TEST_P(GemmTest, NanOfAnyPayload) {
  if (dtype() != DType::f32) GTEST_SKIP() << "f32 alone is multiplied by parts";
  Tensor a = test::from_doubles({0}, {1, 1}, DType::f32);
  a.host_mutable<float>()[0] = std::bit_cast<float>(0x7f800001u);
  const Tensor b = on_device(test::from_doubles({2}, {1, 1}, DType::f32)), c = zeros({1, 1});
  gemm(stream(), on_device(a).view(), b.view(), c.view());
  EXPECT_TRUE(std::isnan(to_doubles(c)[0])) << to_doubles(c)[0];
}

INSTANTIATE_TEST_SUITE_P(Targets, GemmTest, test::targets(test::float_dtypes, &Backend::gemm),
                         test::target_name);

// ---------------------------------------------------------------- the host's alone

Stream& stream() { return current_stream(Device::cpu()); }

class GemmOnTheHost : public testing::TestWithParam<DType> {
 protected:
  static DType dtype() { return GetParam(); }
};

TEST_P(GemmOnTheHost, SameBitsForAnyThreadCount) {
  for (const Extents e :
       {Extents{300, 200, 500}, Extents{2000, 16, 700}, Extents{30, 3000, 64},
        Extents{40, 700, 390}, Extents{1, 900, 300}, Extents{900, 1, 300}, Extents{3, 900, 400}})
    for (const bool transposed : {false, true})
      for (const int64_t batch : {1, 5}) {
        const Tensor a = laid_out(test::uniform({batch, e.m, e.k}, dtype(), 10), transposed, 0);
        const Tensor b = laid_out(test::uniform({batch, e.k, e.n}, dtype(), 11), transposed, 0);
        std::vector<double> results[3];
        for (const int threads : {1, 2, 3}) {
          test::Threads scope(threads);
          const Tensor c = Tensor::zeros({batch, e.m, e.n}, dtype(), Device::cpu());
          gemm(stream(), a.view(), b.view(), c.view());
          results[threads - 1] = to_doubles(c);
        }
        EXPECT_EQ(results[0], results[1]) << to_string(e);
        EXPECT_EQ(results[0], results[2]) << to_string(e);
      }
}

INSTANTIATE_TEST_SUITE_P(, GemmOnTheHost, testing::ValuesIn(test::float_dtypes),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

TEST(Gemm, VendorAgreesWithOwn) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Extents e : extents)
      for (int layout = 0; layout < 8; ++layout) {
        const Tensor a = laid_out(integers({2, e.m, e.k}, dtype, 1), layout & 1, 2);
        const Tensor b = laid_out(integers({2, e.k, e.n}, dtype, 2), layout & 2, 0);
        const Tensor bias = integers({e.n}, dtype, 4);
        const Tensor own = laid_out(integers({2, e.m, e.n}, dtype, 3), layout & 4, 1);
        const Tensor vendor = laid_out(integers({2, e.m, e.n}, dtype, 3), layout & 4, 0);
        GemmParams p{.alpha = 3, .beta = -1, .bias = bias.view(), .activation = Activation::relu};
        p.variant = GemmVariant::vendor;
        try {
          gemm(stream(), a.view(), b.view(), vendor.view(), p);
        } catch (const Error& error) {
          GTEST_SKIP() << error.what();
        }
        p.variant = GemmVariant::own;
        gemm(stream(), a.view(), b.view(), own.view(), p);
        expect_close(to_doubles(own), to_doubles(vendor), 0, concat("layout ", layout));
      }
}

TEST(Gemm, VendorRefusesHalves) {
  const Tensor x = integers({2, 2}, DType::f16, 1);
  EXPECT_THROW(
      gemm(stream(), x.view(), x.view(), Tensor::zeros({2, 2}, DType::f16, Device::cpu()).view(),
           {.variant = GemmVariant::vendor}),
      Error);
}

TEST(Gemm, Choice) {
  EXPECT_EQ(choose_gemm(512, 512, 512, DType::f32, true, true), GemmVariant::own);
  EXPECT_EQ(choose_gemm(512, 512, 512, DType::f32, false, true), GemmVariant::vendor);
  EXPECT_EQ(choose_gemm(512, 512, 512, DType::f32, false, false), GemmVariant::own);
  EXPECT_EQ(choose_gemm(512, 512, 512, DType::bf16, false, true), GemmVariant::own);
  EXPECT_EQ(choose_gemm(16, 16, 16, DType::f32, false, true), GemmVariant::own);
  EXPECT_EQ(choose_gemm(100'000, 7, 1433, DType::f64, false, true), GemmVariant::own);
}

TEST(Gemm, RefusesWhatDoesNotFit) {
  const auto tensor = [](const Shape& shape, DType dtype = DType::f32) {
    return Tensor::zeros(shape, dtype, Device::cpu());
  };
  const auto refuses = [](const Tensor& a, const Tensor& b, const Tensor& c,
                          const GemmParams& p = {}) {
    EXPECT_THROW(gemm(stream(), a.view(), b.view(), c.view(), p), Error);
  };
  refuses(tensor({2, 3}), tensor({4, 5}), tensor({2, 5}));
  refuses(tensor({2, 3}), tensor({3, 5}), tensor({2, 4}));
  refuses(tensor({2, 3}), tensor({3, 5}), tensor({3, 5}));
  refuses(tensor({3}), tensor({3, 5}), tensor({3, 5}));
  refuses(tensor({1, 2, 3}), tensor({3, 5}), tensor({1, 2, 5}));
  refuses(tensor({4, 2, 3}), tensor({3, 3, 5}), tensor({4, 2, 5}));
  refuses(tensor({2, 3}, DType::f64), tensor({3, 5}), tensor({2, 5}));
  refuses(tensor({2, 3}), tensor({3, 5}), tensor({2, 5}, DType::f16));
  refuses(tensor({2, 3}, DType::i32), tensor({3, 5}, DType::i32), tensor({2, 5}, DType::i32));
  refuses(tensor({2, 6, 2}).select(2, 0), tensor({6, 5}), tensor({2, 5}));  // no contiguous axis
  refuses(tensor({1, 3}).broadcast_to({2, 3}), tensor({3, 5}),
          tensor({2, 5}));  // rows on top of each other
  const Tensor bias = tensor({4});
  refuses(tensor({2, 3}), tensor({3, 5}), tensor({2, 5}), {.bias = bias.view()});
  try {
    gemm(stream(), tensor({2, 3}).view(), tensor({4, 5}).view(), tensor({2, 5}).view());
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("[2, 3] x [4, 5] -> [2, 5]"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace tessera::kernels
