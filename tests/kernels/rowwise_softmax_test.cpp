#include "tessera/kernels/rowwise.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::expect_close;
using test::from_doubles;
using test::infinity;
using test::nan;
using test::numeric_gradient;
using test::to_doubles;
using test::tolerance;
using test::Values;

Tensor scaled(const Tensor& t, double factor, double offset = 0) {
  Values v = to_doubles(t);
  for (double& x : v) x = x * factor + offset;
  return from_doubles(v, t.shape(), t.dtype());
}

Values softmax_reference(const Values& x, int64_t n, bool logarithm) {
  Values y(x.size());
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(n)) {
    double top = -infinity, sum = 0;
    for (size_t i = row; i < row + static_cast<size_t>(n); ++i) top = std::max(top, x[i]);
    for (size_t i = row; i < row + static_cast<size_t>(n); ++i) sum += std::exp(x[i] - top);
    for (size_t i = row; i < row + static_cast<size_t>(n); ++i)
      y[i] = logarithm ? x[i] - top - std::log(sum) : std::exp(x[i] - top) / sum;
  }
  return y;
}

class Softmax : public test::TargetTest {
 protected:
  static Tensor run(bool logarithm, const Tensor& x) {
    const Tensor in = on_device(x), y = empty(x.shape(), x.dtype());
    (logarithm ? log_softmax : softmax)(stream(), in.view(), y.view());
    return y;
  }
  static Tensor gradient(bool logarithm, const Tensor& y, const Tensor& gy) {
    const Tensor a = on_device(y), b = on_device(gy), gx = empty(y.shape(), y.dtype());
    (logarithm ? log_softmax_gradient : softmax_gradient)(stream(), a.view(), b.view(), gx.view());
    return gx;
  }
};

// Rows below, at and above every boundary: a vector, four vectors, the long-row path, its blocks.
const Shape softmax_shapes[] = {{5, 7},    {3, 1},    {2, 3, 33}, {1, 64},   {7, 100},  {4, 2048},
                                {3, 2049}, {2, 4096}, {2, 4099},  {1, 9001}, {200, 333}};

TEST_P(Softmax, MatchesTheDefinition) {
  uint64_t seed = 0;
  for (const Shape& shape : softmax_shapes)
    for (const bool logarithm : {false, true}) {
      const Tensor x = scaled(test::uniform(shape, dtype(), ++seed), 6);
      const Values wanted = softmax_reference(to_doubles(x), shape.back(), logarithm);
      expect_close(run(logarithm, x), wanted, tolerance(dtype()).times(2),
                   concat("softmax of ", shape));
    }
}

TEST_P(Softmax, GradientMatchesDifferences) {
  for (const Shape shape : {Shape{3, 7}, Shape{2, 37}, Shape{1, 1}})
    for (const bool logarithm : {false, true}) {
      const Tensor x = scaled(test::uniform(shape, DType::f64, 3), 2);
      const Tensor gy = test::uniform(shape, dtype(), 4);
      const auto f = [&](const Values& v) { return softmax_reference(v, shape.back(), logarithm); };
      const Tensor y = from_doubles(f(to_doubles(x)), shape, dtype());
      // from the rounded y, which is all the kernel sees
      expect_close(gradient(logarithm, y, gy), numeric_gradient(f, to_doubles(x), to_doubles(gy)),
                   tolerance(dtype()).times(dtype() == DType::f64 ? 1e5 : 8));
    }
}

TEST_P(Softmax, ExtremesStayFinite) {
  const Tensor x =
      from_doubles({1e4, -1e4, 0, 1e4, -infinity, -infinity, 3, -infinity}, {2, 4}, dtype());
  expect_close(run(false, x), {0.5, 0, 0, 0.5, 0, 0, 1, 0}, test::Tolerance{});
  const Values y = to_doubles(run(true, x));
  EXPECT_NEAR(y[0], -std::log(2.0), 4e-3);
  EXPECT_EQ(y[5], -infinity);
  EXPECT_EQ(y[6], 0);
}

// A masked stretch longer than any block must not poison the row.
TEST_P(Softmax, LongMaskedBeginning) {
  Values v(9000, -infinity);
  v[8998] = 1, v[8999] = 1;
  const Tensor x = from_doubles(v, {1, 9000}, dtype());
  const Values p = to_doubles(run(false, x)), log_p = to_doubles(run(true, x));
  EXPECT_EQ(p[0], 0);
  EXPECT_NEAR(p[8998], 0.5, 1e-6);
  EXPECT_NEAR(log_p[8999], -std::log(2.0), 4e-3);
}

TEST_P(Softmax, UndefinedRowsAreNaNAndStayAlone) {
  for (const int64_t n : {5, 70, 5000}) {
    Values v(static_cast<size_t>(4 * n), 1);
    for (int64_t i = 0; i < n; ++i) v[static_cast<size_t>(i)] = -infinity;  // row 0
    v[static_cast<size_t>(n + n / 2)] = nan;                                // row 1
    v[static_cast<size_t>(3 * n - 1)] = infinity;                           // row 2
    const Tensor x = from_doubles(v, {4, n}, dtype());
    const Values y = to_doubles(run(false, x)), z = to_doubles(run(true, x));
    for (int64_t i = 0; i < 3 * n; ++i) {
      ASSERT_TRUE(std::isnan(y[static_cast<size_t>(i)])) << i << " of rows of " << n;
      // log softmax keeps what is certain: -inf where the probability is 0 beside +inf
      if (i < 2 * n) {
        ASSERT_TRUE(std::isnan(z[static_cast<size_t>(i)])) << i << " of rows of " << n;
      }
    }
    for (int64_t i = 3 * n; i < 4 * n; ++i)
      ASSERT_NEAR(y[static_cast<size_t>(i)] * static_cast<double>(n), 1, 4e-3);
  }
}

TEST_P(Softmax, InPlace) {
  const Tensor x = scaled(test::uniform({6, 50}, dtype(), 8), 3);
  const Tensor y = on_device(x).clone();
  softmax(stream(), y.view(), y.view());
  EXPECT_EQ(to_doubles(y), to_doubles(run(false, x)));
  const Tensor gy = test::uniform({6, 50}, dtype(), 9), g = on_device(gy).clone();
  softmax_gradient(stream(), y.view(), g.view(), g.view());
  EXPECT_EQ(to_doubles(g), to_doubles(gradient(false, y, gy)));
}

TEST_P(Softmax, EmptyAndBadInput) {
  EXPECT_EQ(run(false, Tensor::empty({0, 7}, dtype(), Device::cpu())).numel(), 0);
  EXPECT_EQ(run(true, Tensor::empty({4, 0}, dtype(), Device::cpu())).numel(), 0);
  const Tensor x = empty({4, 6});
  EXPECT_THROW(softmax(stream(), x.view(), empty({4, 5}).view()), Error);
  EXPECT_THROW(softmax(stream(), x.view(), empty({4, 6}, DType::i32).view()), Error);
  EXPECT_THROW(softmax(stream(), x.transpose(0, 1).view(), empty({6, 4}).view()), Error);
  EXPECT_THROW(softmax(stream(), empty({}).view(), empty({}).view()), Error);
  EXPECT_THROW(log_softmax_gradient(stream(), x.view(), View{}, x.view()), Error);
  const Tensor integer = empty({4, 6}, DType::i64);
  EXPECT_THROW(softmax(stream(), integer.view(), integer.view()), Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, Softmax, test::targets(test::float_dtypes, &Backend::rowwise),
                         test::target_name);

}  // namespace
}  // namespace tessera::kernels
