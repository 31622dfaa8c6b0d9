#pragma once

#include <cstdint>
#include <span>
#include <vector>

/// Classical statistics on the host, in double. Where a number is not defined the result is NaN.
namespace tessera::models {

/// Regularised incomplete beta function I_x(a, b) for a, b > 0 and x in [0, 1], by its continued
/// fraction.
double incomplete_beta(double a, double b, double x);

/// P(T <= t) for Student's t with `dof` > 0 degrees of freedom, a real number.
double student_t_cdf(double t, double dof);
/// P(|T| >= |t|).
double student_t_two_sided(double t, double dof);

struct Correlation {
  double coefficient = 0;
  double p_value = 0;  // two-sided, of no correlation: Student's t with n - 2 degrees of freedom
};
/// Pearson's correlation. NaN with fewer than two pairs or when one side does not vary; the p-value
/// with fewer than three.
Correlation pearson(std::span<const double> x, std::span<const double> y);

struct WelchTest {
  double statistic = 0;  // positive when the first mean is the larger
  double dof = 0;        // Welch and Satterthwaite's
  double p_value = 0;    // two-sided, of equal means
};
/// Welch's t-test for samples of unequal variance, at least two values each. Two samples that do
/// not vary at all differ with certainty (p 0, an infinite statistic) or not at all (p 1, 0).
WelchTest welch_t_test(std::span<const double> x, std::span<const double> y);

/// Student's test of the differences x[i] - y[i] against 0: `statistic` is positive when x is the
/// larger in the mean; at least two pairs. Differences that do not vary are certain (p 0, an
/// infinite statistic), or 0 (p 1, 0).
struct PairedTest {
  double statistic = 0;
  double p_value = 0;  // two-sided
};
PairedTest paired_t_test(std::span<const double> x, std::span<const double> y);

/// Two-sided p-value of `wins` and `losses` in as many independent games of equal chance; 1 without
/// games.
double sign_test(int64_t wins, int64_t losses);

/// Rank of every value from 1 for the least; equal values share the middle of their ranks. NaN has
/// none: NaN.
std::vector<double> ranks(std::span<const double> values);

}  // namespace tessera::models
