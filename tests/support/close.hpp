#pragma once

#include "tessera/tests/support/values.hpp"

/// Comparison by one table of tolerances: |got - wanted| <= atol + rtol |wanted|.
namespace tessera::test {

struct Tolerance {
  double rtol = 0, atol = 0;

  Tolerance times(double factor) const { return {rtol * factor, atol * factor}; }
};

/// What a few roundings in `dtype` may cost results of order 1: results are rounded once to the
/// dtype, and computed in f64, or in f32 for f32 and the halves. Integers and bool must be equal.
/// A sum of n terms: `tolerance(dtype).times(std::sqrt(n))`.
inline Tolerance tolerance(DType dtype) {
  const double rtol = dtype == DType::f64   ? 64 * roundoff(dtype)
                      : dtype == DType::f32 ? 16 * roundoff(dtype)
                                            : 1.01 * roundoff(dtype);
  const double atol = dtype == DType::f64 ? rtol : is_float(dtype) ? 16 * roundoff(DType::f32) : 0;
  return {rtol, atol};
}

/// NaN equals NaN. A failure names the worst element, both values, how many differ, and `what`: say
/// the case and its seed there.
inline void expect_close(const std::vector<double>& got, const std::vector<double>& wanted,
                         Tolerance allowed, const std::string& what = "") {
  ASSERT_EQ(got.size(), wanted.size()) << what;
  double worst = 1;  // in units of what is allowed
  size_t at = 0, failures = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == wanted[i] || (std::isnan(got[i]) && std::isnan(wanted[i]))) continue;
    const double bound = allowed.atol + allowed.rtol * std::abs(wanted[i]);
    const double excess = std::abs(got[i] - wanted[i]) / bound;
    if (excess <= 1) continue;
    ++failures;
    if (!(excess <= worst)) worst = std::isnan(excess) ? INFINITY : excess, at = i;
  }
  if (failures > 0)
    ADD_FAILURE() << what << ": element " << at << " is " << got[at] << ", expected " << wanted[at]
                  << " (" << worst << " times the tolerance; " << failures << " of " << got.size()
                  << " elements differ)";
}

inline void expect_close(const Tensor& got, const std::vector<double>& wanted, Tolerance allowed,
                         const std::string& what = "") {
  expect_close(to_doubles(got), wanted, allowed, what + " " + to_string(got));
}
/// With the table's tolerance for the tensor's dtype.
inline void expect_close(const Tensor& got, const std::vector<double>& wanted,
                         const std::string& what = "") {
  expect_close(got, wanted, tolerance(got.dtype()), what);
}

}  // namespace tessera::test
