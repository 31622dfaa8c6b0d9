#include "tessera/kernels/elementwise.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numbers>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/layouts.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::expect_close;
using test::from_doubles;
using test::to_doubles;
using Limits = std::numeric_limits<double>;
constexpr double infinity = Limits::infinity();

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }
// gelu_tanh(x) = x logistic(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
double twice_u(double x) {
  return 2 * std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
}
double twice_u_slope(double x) {
  return 2 * std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
}
double gelu_tanh_slope(double x) {
  const double s = logistic(twice_u(x));
  return s + x * s * (1 - s) * twice_u_slope(x);
}
double silu_slope(double x) { return logistic(x) + x * logistic(x) * (1 - logistic(x)); }

struct UnaryCase {
  UnaryOp op;
  const char* name;
  double low, high;  // the operand's range
  std::function<double(double)> f;
  UnaryParams params = {};
};

std::vector<UnaryCase> floating_unary_cases() {
  const auto at = [](double (*f)(double)) { return f; };
  return {
      {UnaryOp::reciprocal, "reciprocal", 0.1, 9, [](double x) { return 1 / x; }},
      {UnaryOp::sqrt, "sqrt", 0, 9, at(std::sqrt)},
      {UnaryOp::rsqrt, "rsqrt", 0.01, 9, [](double x) { return 1 / std::sqrt(x); }},
      {UnaryOp::exp, "exp", -9, 9, at(std::exp)},
      {UnaryOp::expm1, "expm1", -3, 3, at(std::expm1)},
      {UnaryOp::log, "log", 0.01, 9, at(std::log)},
      {UnaryOp::log1p, "log1p", -0.9, 9, at(std::log1p)},
      {UnaryOp::sin, "sin", -9, 9, at(std::sin)},
      {UnaryOp::cos, "cos", -9, 9, at(std::cos)},
      {UnaryOp::tanh, "tanh", -4, 4, at(std::tanh)},
      {UnaryOp::sigmoid, "sigmoid", -9, 9, logistic},
      {UnaryOp::erf, "erf", -4, 4, at(std::erf)},
      {UnaryOp::softplus, "softplus", -9, 9, [](double x) { return std::log1p(std::exp(x)); }},
      {UnaryOp::power, "power", 0.1, 4, [](double x) { return std::pow(x, 1.7); }, {1.7}},
      {UnaryOp::floor, "floor", -9, 9, at(std::floor)},
      {UnaryOp::ceil, "ceil", -9, 9, at(std::ceil)},
      {UnaryOp::round, "round", -9, 9, at(std::nearbyint)},
      {UnaryOp::relu, "relu", -2, 2, [](double x) { return std::max(x, 0.0); }},
      {UnaryOp::leaky_relu,
       "leaky_relu",
       -2,
       2,
       [](double x) { return x > 0 ? x : 0.25 * x; },
       {0.25}},
      {UnaryOp::elu,
       "elu",
       -4,
       2,
       [](double x) { return x > 0 ? x : 0.5 * (std::exp(x) - 1); },
       {0.5}},
      {UnaryOp::gelu, "gelu", -4, 4, [](double x) { return x * normal_cdf(x); }},
      {UnaryOp::gelu_tanh, "gelu_tanh", -4, 4, [](double x) { return x * logistic(twice_u(x)); }},
      {UnaryOp::silu, "silu", -4, 4, [](double x) { return x * logistic(x); }},
      {UnaryOp::gelu_derivative, "gelu_derivative", -4, 4,
       [](double x) { return normal_cdf(x) + x * density(x); }},
      {UnaryOp::gelu_second_derivative, "gelu_second_derivative", -4, 4,
       [](double x) { return density(x) * (2 - x * x); }},
      {UnaryOp::gelu_tanh_derivative, "gelu_tanh_derivative", -4, 4, gelu_tanh_slope},
      {UnaryOp::silu_derivative, "silu_derivative", -4, 4, silu_slope},
      {UnaryOp::step, "step", -2, 2, [](double x) { return x > 0; }},
      {UnaryOp::leaky_step, "leaky_step", -2, 2, [](double x) { return x > 0 ? 1 : 0.25; }, {0.25}},
      {UnaryOp::elu_derivative,
       "elu_derivative",
       -4,
       2,
       [](double x) { return x > 0 ? 1 : 0.5 * std::exp(x); },
       {0.5}},
      {UnaryOp::clamp_mask,
       "clamp_mask",
       -2,
       2,
       [](double x) { return x >= -0.5 && x <= 1; },
       {-0.5, 1}},
      {UnaryOp::clamp,
       "clamp",
       -2,
       2,
       [](double x) { return std::clamp(x, -0.5, 1.0); },
       {-0.5, 1}},
      {UnaryOp::affine, "affine", -2, 2, [](double x) { return 1.5 * x - 0.25; }, {1.5, -0.25}},
  };
}

std::vector<UnaryCase> real_unary_cases() {
  return {
      {UnaryOp::negative, "negative", -9, 9, [](double x) { return -x; }},
      {UnaryOp::absolute, "absolute", -9, 9, [](double x) { return std::abs(x); }},
      {UnaryOp::sign, "sign", -9, 9, [](double x) { return (x > 0) - (x < 0); }},
      {UnaryOp::square, "square", -9, 9, [](double x) { return x * x; }},
      {UnaryOp::affine, "affine", -9, 9, [](double x) { return 2 * x - 3; }, {2, -3}},
      {UnaryOp::clamp, "clamp", -9, 9, [](double x) { return std::clamp(x, -2.0, 5.0); }, {-2, 5}},
  };
}

struct BinaryCase {
  BinaryOp op;
  const char* name;
  std::function<double(double, double)> f;
};

std::vector<BinaryCase> floating_binary_cases() {
  return {
      {BinaryOp::divide, "divide", [](double a, double b) { return a / b; }},
      {BinaryOp::power, "power", [](double a, double b) { return std::pow(a, b); }},
      {BinaryOp::atan2, "atan2", [](double a, double b) { return std::atan2(a, b); }},
      {BinaryOp::relu_gradient, "relu_gradient", [](double g, double x) { return x > 0 ? g : 0; }},
      {BinaryOp::tanh_gradient, "tanh_gradient",
       [](double g, double y) { return g * (1 - y * y); }},
      {BinaryOp::sigmoid_gradient, "sigmoid_gradient",
       [](double g, double y) { return g * y * (1 - y); }},
      {BinaryOp::gelu_gradient, "gelu_gradient",
       [](double g, double x) { return g * (normal_cdf(x) + x * density(x)); }},
      {BinaryOp::gelu_tanh_gradient, "gelu_tanh_gradient",
       [](double g, double x) { return g * gelu_tanh_slope(x); }},
      {BinaryOp::silu_gradient, "silu_gradient",
       [](double g, double x) { return g * silu_slope(x); }},
  };
}

std::vector<BinaryCase> real_binary_cases() {
  return {
      {BinaryOp::add, "add", [](double a, double b) { return a + b; }},
      {BinaryOp::subtract, "subtract", [](double a, double b) { return a - b; }},
      {BinaryOp::multiply, "multiply", [](double a, double b) { return a * b; }},
      {BinaryOp::maximum, "maximum", [](double a, double b) { return std::max(a, b); }},
      {BinaryOp::minimum, "minimum", [](double a, double b) { return std::min(a, b); }},
  };
}

std::vector<BinaryCase> comparison_cases() {
  return {
      {BinaryOp::equal, "equal", [](double a, double b) { return a == b; }},
      {BinaryOp::not_equal, "not_equal", [](double a, double b) { return a != b; }},
      {BinaryOp::less, "less", [](double a, double b) { return a < b; }},
      {BinaryOp::less_equal, "less_equal", [](double a, double b) { return a <= b; }},
      {BinaryOp::greater, "greater", [](double a, double b) { return a > b; }},
      {BinaryOp::greater_equal, "greater_equal", [](double a, double b) { return a >= b; }},
  };
}

Tensor uniform(const Shape& shape, DType dtype, double low, double high, uint64_t seed) {
  std::vector<double> values = to_doubles(test::uniform(shape, DType::f64, seed));
  for (double& v : values) v = low + (high - low) * (v + 1) / 2;
  return from_doubles(values, shape, dtype);
}

template <class F>
std::vector<double> mapped(const Tensor& x, F&& f) {
  std::vector<double> y = to_doubles(x);
  for (double& v : y) v = f(v);
  return y;
}
template <class F>
std::vector<double> mapped(const Tensor& a, const Tensor& b, F&& f) {
  std::vector<double> x = to_doubles(a), y = to_doubles(b);
  for (size_t i = 0; i < x.size(); ++i) y[i] = f(x[i], y[i]);
  return y;
}

std::vector<uint64_t> bits(const Tensor& t) {
  std::vector<uint64_t> out;
  for_any(t.dtype(), [&]<class T>() {
    for (const T v : t.values<T>()) {
      uint64_t b = 0;
      std::memcpy(&b, &v, sizeof v);
      out.push_back(b);
    }
  });
  return out;
}

class FloatElementwise : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, FloatElementwise,
                         test::targets(test::float_dtypes, &Backend::elementwise),
                         test::target_name);

TEST_P(FloatElementwise, UnaryOpsFollowTheirFormula) {
  uint64_t seed = 0;
  for (int64_t n : {0, 1, 7, 16, 100, 1000}) {
    for (const UnaryCase& c : floating_unary_cases()) {
      const Tensor x = uniform({n}, dtype(), c.low, c.high, ++seed);
      const Tensor y = empty({n});
      unary(stream(), c.op, on_device(x).view(), y.view(), c.params);
      expect_close(y, mapped(x, c.f), concat(c.name, " n ", n, " seed ", seed));
    }
  }
}

TEST_P(FloatElementwise, BinaryOpsFollowTheirFormula) {
  uint64_t seed = 100;
  for (int64_t n : {0, 1, 9, 33, 1000}) {
    for (const BinaryCase& c : floating_binary_cases()) {
      const Tensor a = uniform({n}, dtype(), 0.1, 2, ++seed),
                   b = uniform({n}, dtype(), -2, 2, seed + 1000);
      const Tensor y = empty({n});
      binary(stream(), c.op, on_device(a).view(), on_device(b).view(), y.view());
      expect_close(y, mapped(a, b, c.f), concat(c.name, " n ", n, " seed ", seed));
    }
  }
}

TEST_P(FloatElementwise, SpecialValues) {
  const Tensor x = from_doubles({0.0, -0.0, infinity, -infinity, NAN, 1.0}, {6}, dtype());
  const auto run = [&](UnaryOp op, UnaryParams p = {}) {
    const Tensor y = empty({6});
    unary(stream(), op, on_device(x).view(), y.view(), p);
    return to_doubles(y);
  };
  const double e = std::exp(1.0);
  const auto expect = [&](UnaryOp op, const std::vector<double>& wanted, const char* name,
                          UnaryParams p = {}) {
    expect_close(run(op, p), wanted, test::tolerance(dtype()), name);
  };
  expect(UnaryOp::exp, {1, 1, infinity, 0, NAN, e}, "exp");
  expect(UnaryOp::expm1, {0, 0, infinity, -1, NAN, e - 1}, "expm1");
  expect(UnaryOp::log, {-infinity, -infinity, infinity, NAN, NAN, 0}, "log");
  expect(UnaryOp::log1p, {0, 0, infinity, NAN, NAN, std::log(2.0)}, "log1p");
  expect(UnaryOp::sqrt, {0, 0, infinity, NAN, NAN, 1}, "sqrt");
  expect(UnaryOp::tanh, {0, 0, 1, -1, NAN, std::tanh(1.0)}, "tanh");
  expect(UnaryOp::sigmoid, {0.5, 0.5, 1, 0, NAN, logistic(1)}, "sigmoid");
  expect(UnaryOp::erf, {0, 0, 1, -1, NAN, std::erf(1.0)}, "erf");
  expect(UnaryOp::softplus, {std::log(2.0), std::log(2.0), infinity, 0, NAN, std::log1p(e)},
         "softplus");
  expect(UnaryOp::relu, {0, 0, infinity, 0, NAN, 1}, "relu");
  expect(UnaryOp::sign, {0, 0, 1, -1, NAN, 1}, "sign");
  expect(UnaryOp::clamp, {0, 0, 0.5, -0.5, NAN, 0.5}, "clamp", {-0.5, 0.5});
  expect(UnaryOp::negative, {-0.0, 0.0, -infinity, infinity, NAN, -1}, "negative");
  EXPECT_TRUE(std::signbit(run(UnaryOp::negative)[0]));
  EXPECT_FALSE(std::signbit(run(UnaryOp::absolute)[1]));
  EXPECT_TRUE(std::signbit(run(UnaryOp::tanh)[1]));

  const auto flags = [&](UnaryOp op) {
    const Tensor y = empty({6}, DType::bool_);
    unary(stream(), op, on_device(x).view(), y.view());
    return to_doubles(y);
  };
  EXPECT_EQ(flags(UnaryOp::is_finite), (std::vector<double>{1, 1, 0, 0, 0, 1}));
  EXPECT_EQ(flags(UnaryOp::is_nan), (std::vector<double>{0, 0, 0, 0, 1, 0}));

  const Tensor other = from_doubles({NAN, 1, NAN, NAN, 2, 3}, {6}, dtype());
  for (BinaryOp op : {BinaryOp::maximum, BinaryOp::minimum}) {
    const Tensor y = empty({6});
    binary(stream(), op, on_device(x).view(), on_device(other).view(), y.view());
    const std::vector<double> got = to_doubles(y);
    EXPECT_EQ(got[1], op == BinaryOp::maximum ? 1 : 0);
    for (size_t i : {0, 2, 3, 4}) EXPECT_TRUE(std::isnan(got[i])) << i;
  }
}

TEST_P(FloatElementwise, AxpbyAccumulatesInPlaceAndIgnoresAnOutputOfWeightZero) {
  test::Numbers next(7);
  for (int round = 0; round < 20; ++round) {
    const Shape shape = test::random_shape(next);
    const test::Layout x = test::random_layout(shape, dtype(), device(), next, true),
                       y = test::random_layout(shape, dtype(), device(), next, false);
    const std::vector<double> wanted = mapped(x.view, y.view,
                                              [](double a, double b) { return 2 * a - 0.5 * b; }),
                              around = test::outside(y);
    axpby(stream(), 2, x.view.view(), -0.5, y.view.view());
    expect_close(y.view, wanted, {}, concat("round ", round));
    EXPECT_EQ(test::outside(y), around);
  }
  const Tensor x = on_device(from_doubles({1, 2}, {2}, dtype())),
               y = on_device(from_doubles({NAN, 1}, {2}, dtype()));
  axpby(stream(), 3, x.view(), 0, y.view());
  EXPECT_EQ(to_doubles(y), (std::vector<double>{3, 6}));
}

constexpr DType number_dtypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16,
                                   DType::i64, DType::i32, DType::i8,  DType::u8};

class Elementwise : public test::TargetTest {
 protected:
  static test::Layout operand(const Shape& shape, test::Numbers& next, bool broadcast) {
    return test::random_layout(shape, dtype(), device(), next, broadcast);
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, Elementwise, test::targets(number_dtypes, &Backend::elementwise),
                         test::target_name);

TEST_P(Elementwise, AnyStridesGiveTheSameAsContiguous) {
  test::Numbers next(11);
  const std::vector<UnaryCase> unaries = real_unary_cases();
  std::vector<BinaryCase> binaries = real_binary_cases();
  for (const BinaryCase& c : comparison_cases()) binaries.push_back(c);
  for (int round = 0; round < 150; ++round) {
    const Shape shape = test::random_shape(next);
    const std::string what = concat("round ", round, " shape ", shape);
    const test::Layout a = operand(shape, next, true), b = operand(shape, next, true);

    const UnaryCase& u = unaries[next() % unaries.size()];
    const test::Layout y = test::random_layout(shape, dtype(), device(), next, false);
    const std::vector<double> around = test::outside(y);
    unary(stream(), u.op, a.view.view(), y.view.view(), u.params);
    std::vector<double> wanted = mapped(a.view, u.f);
    if (dtype() == DType::u8)  // wraps around
      for (double& v : wanted) v = v < 0 && u.op != UnaryOp::clamp ? v + 256 : v;
    expect_close(y.view, wanted, {}, what + " " + u.name);
    EXPECT_EQ(test::outside(y), around) << what << " " << u.name;

    const BinaryCase& c = binaries[next() % binaries.size()];
    const bool compares = c.op >= BinaryOp::equal;
    const test::Layout z =
        test::random_layout(shape, compares ? DType::bool_ : dtype(), device(), next, false, 1);
    binary(stream(), c.op, a.view.view(), b.view.view(), z.view.view());
    wanted = mapped(a.view, b.view, c.f);
    if (dtype() == DType::u8)
      for (double& v : wanted) v = v < 0 ? v + 256 : v;
    expect_close(z.view, wanted, {}, what + " " + c.name);
  }
}

TEST_P(Elementwise, SelectTakesByCondition) {
  test::Numbers next(12);
  for (int round = 0; round < 60; ++round) {
    const Shape shape = test::random_shape(next);
    const test::Layout a = operand(shape, next, true), b = operand(shape, next, true),
                       condition =
                           test::random_layout(shape, DType::bool_, device(), next, true, 1),
                       y = test::random_layout(shape, dtype(), device(), next, false);
    select(stream(), condition.view.view(), a.view.view(), b.view.view(), y.view.view());
    const std::vector<double> x0 = to_doubles(a.view), x1 = to_doubles(b.view),
                              c = to_doubles(condition.view);
    std::vector<double> wanted(c.size());
    for (size_t i = 0; i < c.size(); ++i) wanted[i] = c[i] ? x0[i] : x1[i];
    expect_close(y.view, wanted, {}, concat("round ", round));
  }
}

TEST_P(Elementwise, OutputMayBeAnInput) {
  for (int64_t n : {5, 1000, 100000}) {
    const Tensor a = on_device(test::integers({n}, dtype(), 3)),
                 b = on_device(test::integers({n}, dtype(), 4));
    const std::vector<double> sum = mapped(a, b, [](double p, double q) { return p + q; });
    const Tensor x = a.clone(), y = b.clone();
    binary(stream(), BinaryOp::add, x.view(), b.view(), x.view());
    binary(stream(), BinaryOp::add, a.view(), y.view(), y.view());
    EXPECT_EQ(bits(x), bits(y));
    if (dtype() != DType::u8) expect_close(x, sum, test::Tolerance{});
  }
}

TEST_P(Elementwise, LargeOutputsStartAnywhere) {
  const int64_t size = static_cast<int64_t>(size_of(dtype())), n = large(int64_t{17} << 20) / size;
  const Tensor x = Tensor::zeros({n}, dtype(), device());
  Tensor(x.narrow(0, 0, 99)).copy_from(on_device(test::integers({99}, dtype(), 5)));
  Tensor(x.narrow(0, n - 99, 99)).copy_from(on_device(test::integers({99}, dtype(), 6)));
  const Tensor wanted = x.clone();
  binary(stream(), BinaryOp::add, wanted.view(), wanted.view(), wanted.view());  // in place
  for (int64_t start : {0, 1, 3}) {
    const Tensor y = Tensor::zeros({n + 5}, dtype(), device());
    binary(stream(), BinaryOp::add, x.view(), x.view(), y.narrow(0, start, n).view());
    const Tensor got = y.to(Device::cpu()), expected = wanted.to(Device::cpu());
    const char* bytes = static_cast<const char*>(got.data());
    EXPECT_EQ(std::memcmp(bytes + start * size, expected.data(), static_cast<size_t>(n * size)), 0)
        << start;
    for (int64_t i = 0; i < start * size; ++i) EXPECT_EQ(bytes[i], 0);
    for (int64_t i = (start + n) * size; i < (n + 5) * size; ++i) EXPECT_EQ(bytes[i], 0);
  }
}

// --- what is special about the CPU's vectors ---

class ElementwiseLevels : public testing::TestWithParam<const Backend*> {};
INSTANTIATE_TEST_SUITE_P(Levels, ElementwiseLevels, test::cpu_levels(), test::level_name);

TEST_P(ElementwiseLevels, EveryOpAgreesWithItsFormula) {
  Stream& s = current_stream(Device::cpu());
  uint64_t seed = 0;
  for (DType dtype : test::float_dtypes)
    for (const UnaryCase& c : floating_unary_cases()) {
      const Tensor x = uniform({1003}, dtype, c.low, c.high, ++seed),
                   y = Tensor::empty({1003}, dtype, Device::cpu());
      GetParam()->elementwise->unary(s, c.op, x.view(), y.view(), c.params);
      expect_close(y, mapped(x, c.f), concat(c.name, " seed ", seed));
    }
}

TEST_P(ElementwiseLevels, AValueDoesNotDependOnItsPositionOrOnThreads) {
  Stream& s = current_stream(Device::cpu());
  for (DType dtype : test::float_dtypes)
    for (const UnaryCase& c : floating_unary_cases()) {
      const int64_t n = 40;
      const Tensor x = uniform({n}, dtype, c.low, c.high, 8);
      const Tensor whole = Tensor::empty({n}, dtype, Device::cpu()),
                   single = Tensor::empty({n}, dtype, Device::cpu());
      GetParam()->elementwise->unary(s, c.op, x.view(), whole.view(), c.params);
      for (int64_t i = 0; i < n; ++i)
        GetParam()->elementwise->unary(s, c.op, x.narrow(0, i, 1).view(),
                                       single.narrow(0, i, 1).view(), c.params);
      EXPECT_EQ(bits(whole), bits(single)) << c.name << " " << to_string(dtype);
    }
  const int64_t n = 100003;
  for (DType dtype : test::float_dtypes) {
    const Tensor x = uniform({n}, dtype, -4, 4, 9);
    const Tensor one = Tensor::empty({n}, dtype, Device::cpu()),
                 two = Tensor::empty({n}, dtype, Device::cpu());
    {
      const test::Threads threads(1);
      GetParam()->elementwise->unary(s, UnaryOp::gelu_derivative, x.view(), one.view(), {});
    }
    {
      const test::Threads threads(2);
      GetParam()->elementwise->unary(s, UnaryOp::gelu_derivative, x.view(), two.view(), {});
    }
    EXPECT_EQ(bits(one), bits(two));
  }
}

}  // namespace
}  // namespace tessera::kernels
