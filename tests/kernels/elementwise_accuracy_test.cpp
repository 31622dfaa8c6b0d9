#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tessera/kernels/elementwise.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/layouts.hpp"
#include "tessera/tests/support/target.hpp"

// Functions of the CPU's vectors against those of long double.

namespace tessera::kernels {
namespace {

// Error in units in the last place of the exact result, subnormal results counted in the smallest
// unit.
template <class T>
double ulps(T got, long double wanted) {
  const T rounded = static_cast<T>(wanted);
  if (std::isinf(rounded) || std::isinf(got))
    return rounded == got || got == std::numeric_limits<T>::max()
               ? 0
               : std::numeric_limits<double>::infinity();
  int exponent = 0;
  std::frexp(rounded, &exponent);
  const int lowest =
      std::max(exponent, std::numeric_limits<T>::min_exponent) - std::numeric_limits<T>::digits;
  return static_cast<double>(std::abs(std::ldexp(static_cast<long double>(got) - wanted, -lowest)));
}

template <class T>
void check_accuracy(const Backend& backend) {
  struct Case {
    UnaryOp op;
    const char* name;
    long double (*f)(long double);
    double low, high, allowed;
  };
  const bool single = std::is_same_v<T, float>;
  const Case cases[] = {
      {UnaryOp::exp, "exp", std::exp, single ? -104. : -746., single ? 89. : 710., 1.5},
      {UnaryOp::expm1, "expm1", std::expm1, -50, single ? 89. : 710., 2.1},
      {UnaryOp::log, "log", std::log, 0, 1e30, 1.2},
      {UnaryOp::log1p, "log1p", std::log1p, -0.999, 1e6, 2},
      {UnaryOp::tanh, "tanh", std::tanh, -25, 25, 2.7},
      {UnaryOp::sigmoid, "sigmoid", [](long double x) { return 1 / (1 + std::exp(-x)); }, -80, 80,
       2.5},
      {UnaryOp::erf, "erf", std::erf, -7, 7, 1.6},
  };
  constexpr int64_t n = 60000;
  test::Numbers next(99);
  for (const Case& c : cases) {
    std::vector<T> values;
    while (static_cast<int64_t>(values.size()) < n) {
      const double u = next() * 0x1p-32, wide = c.low + (c.high - c.low) * u;
      const double tiny =
          std::ldexp(1 + next() * 0x1p-32, -static_cast<int>(next() % (single ? 149 : 1070)));
      const double near = std::max(c.low, (next() * 0x1p-31 - 1) * 2);
      values.push_back(static_cast<T>(next() % 4 == 0 ? tiny : next() % 2 ? wide : near));
    }
    const Tensor x = Tensor::from(values, {n}, Device::cpu()),
                 y = Tensor::empty({n}, dtype_of<T>, Device::cpu());
    backend.elementwise->unary(current_stream(Device::cpu()), c.op, x.view(), y.view(), {});
    double worst = 0, at = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double error = ulps(y.host<T>()[i], c.f(static_cast<long double>(values[i])));
      if (!(error <= worst)) worst = error, at = values[i];
    }
    EXPECT_LE(worst, c.allowed) << c.name << " at " << at;
  }
}

class AccuracyLevels : public testing::TestWithParam<const Backend*> {};
INSTANTIATE_TEST_SUITE_P(Levels, AccuracyLevels, test::cpu_levels(), test::level_name);

TEST_P(AccuracyLevels, FunctionsAreAccurateToTwoUnitsInTheLastPlace) {
  check_accuracy<float>(*GetParam());
  check_accuracy<double>(*GetParam());
}

}  // namespace
}  // namespace tessera::kernels
