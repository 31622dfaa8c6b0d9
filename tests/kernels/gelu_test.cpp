#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "tessera/kernels/elementwise.hpp"
#include "tessera/runtime/tensor.hpp"
#include "tessera/tests/support/target.hpp"

// gelu and its derivatives over all numbers of a type, against erfc of long double.

namespace tessera::kernels {
namespace {

// |x| <= 150: nothing lies beyond, and an infinite x needs no case of its own.
long double beyond(long double t) { return std::erfc(t / std::sqrt(2.0L)) / 2; }
long double density(long double t) {
  return std::exp(-t * t / 2) / std::sqrt(2 * std::numbers::pi_v<long double>);
}
template <class T>
long double distance(T x) {
  return std::abs(x) < 150 ? std::abs(static_cast<long double>(x)) : 150;
}
template <class T>
long double gelu(T x) {
  return (x > 0 ? static_cast<long double>(x) : 0) - distance(x) * beyond(distance(x));
}
template <class T>
long double gelu_derivative(T x) {
  const long double t = distance(x), left = beyond(t) - t * density(t);
  return x < 0 ? left : 1 - left;
}
template <class T>
long double gelu_second_derivative(T x) {
  return density(distance(x)) * (2 - distance(x) * distance(x));
}

// Numbers of all sizes, infinities included, and densely those whose tails are not yet 0.
template <class T>
std::vector<T> numbers() {
  using Limits = std::numeric_limits<T>;
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  std::vector<T> all{0, Limits::denorm_min(), Limits::min(), Limits::max(), Limits::infinity()};
  const Bits end = std::bit_cast<Bits>(Limits::infinity());
  for (Bits b = 0; b < end - end / 50021; b += end / 50021) all.push_back(std::bit_cast<T>(b));
  const double last = sizeof(T) == 4 ? 15 : 39;
  for (int i = 0; i < 100000; ++i) all.push_back(static_cast<T>(last * i / 100000));
  for (size_t i = 0, n = all.size(); i < n; ++i) all.push_back(-all[i]);
  return all;
}

class GeluLevels : public testing::TestWithParam<const Backend*> {
 protected:
  template <class T>
  std::vector<T> values(UnaryOp op, const std::vector<T>& x) {
    const Shape shape{static_cast<int64_t>(x.size())};
    const Tensor in = Tensor::from(x, shape, Device::cpu()),
                 out = Tensor::empty(shape, dtype_of<T>, Device::cpu());
    GetParam()->elementwise->unary(current_stream(Device::cpu()), op, in.view(), out.view(), {});
    return out.values<T>();
  }

  // |y(x) - wanted(x)| <= allowed(x) for all numbers; NaN for NaN.
  template <class T>
  void check(const char* name, UnaryOp op, long double (*wanted)(T), double (*allowed)(T)) {
    const std::vector<T> x = numbers<T>(), y = values(op, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const long double w = wanted(x[i]);
      const bool right = std::isinf(w) ? y[i] == w : std::abs(y[i] - w) <= allowed(x[i]);
      ASSERT_TRUE(right) << name << " of " << x[i] << " is " << y[i] << ", expected " << w;
    }
    const T nan = std::numeric_limits<T>::quiet_NaN();
    for (const T v : values(op, std::vector<T>(5, nan))) EXPECT_TRUE(std::isnan(v)) << name;
  }
};
INSTANTIATE_TEST_SUITE_P(Levels, GeluLevels, test::cpu_levels(), test::level_name);

template <class T>
constexpr double unit = std::numeric_limits<T>::epsilon();  // from 1 to the next number
template <class T>
double of_size(T x) {  // from |x| to the next number, roughly
  return std::max<double>(unit<T> * std::abs(x), std::numeric_limits<T>::denorm_min());
}

TEST_P(GeluLevels, IsAccurateToTwoUnitsOfItsOperand) {
  check<float>("gelu", UnaryOp::gelu, gelu<float>, [](float x) { return 2 * of_size(x); });
  check<double>("gelu", UnaryOp::gelu, gelu<double>, [](double x) { return 2 * of_size(x); });
}

TEST_P(GeluLevels, KeepsTheDigitsOfSmallResults) {
  check<float>("gelu", UnaryOp::gelu, gelu<float>, [](float x) {
    const double relative = 4 * unit<float> * (1 + static_cast<double>(distance(x) * distance(x)));
    // the tail is rounded to a multiple of the smallest number before x multiplies it, and y again
    const double smallest = std::numeric_limits<float>::denorm_min();
    return relative * std::abs(static_cast<double>(gelu(x))) +
           smallest * static_cast<double>(1 + distance(x));
  });
}

TEST_P(GeluLevels, DerivativesAreAccurateToTwoUnitsOfOne) {
  check<float>("gelu_derivative", UnaryOp::gelu_derivative, gelu_derivative<float>,
               [](float) { return 2 * unit<float>; });
  check<double>("gelu_derivative", UnaryOp::gelu_derivative, gelu_derivative<double>,
                [](double) { return 2 * unit<double>; });
  check<float>("gelu_second_derivative", UnaryOp::gelu_second_derivative,
               gelu_second_derivative<float>, [](float) { return 2 * unit<float>; });
  check<double>("gelu_second_derivative", UnaryOp::gelu_second_derivative,
                gelu_second_derivative<double>, [](double) { return 2 * unit<double>; });
}

TEST_P(GeluLevels, KeepsTheSignOfZero) {
  const std::vector<float> y = values<float>(UnaryOp::gelu, {0.0f, -0.0f});
  EXPECT_FALSE(std::signbit(y[0]));
  EXPECT_TRUE(std::signbit(y[1]));
}

}  // namespace
}  // namespace tessera::kernels
