#include "tessera/models/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "tessera/runtime/error.hpp"

namespace tessera::models {
namespace {

TEST(Statistics, IncompleteBetaHasItsClosedForms) {
  for (const double x : {0.0, 1e-6, 0.1, 0.5, 0.9, 1 - 1e-9, 1.0}) {
    EXPECT_NEAR(incomplete_beta(1, 3.5, x), 1 - std::pow(1 - x, 3.5), 1e-14) << x;
    EXPECT_NEAR(incomplete_beta(2.5, 1, x), std::pow(x, 2.5), 1e-14) << x;
    for (const double a : {0.5, 2.0, 80.0})
      EXPECT_NEAR(incomplete_beta(a, 1.7, x), 1 - incomplete_beta(1.7, a, 1 - x), 1e-13) << a;
  }
  for (const double a : {0.3, 1.0, 7.0, 400.0})
    EXPECT_NEAR(incomplete_beta(a, a, 0.5), 0.5, 1e-12) << a;
  // For whole a and b the tail of a binomial distribution: P(at least 3 of 7) at 0.3.
  double tail = 0;
  for (int k = 3; k <= 7; ++k)
    tail += std::tgamma(8) / std::tgamma(k + 1) / std::tgamma(8 - k) * std::pow(0.3, k) *
            std::pow(0.7, 7 - k);
  EXPECT_NEAR(incomplete_beta(3, 5, 0.3), tail, 1e-14);
  EXPECT_THROW(incomplete_beta(0, 1, 0.5), Error);
  EXPECT_THROW(incomplete_beta(1, 1, 1.5), Error);
}

TEST(Statistics, StudentsDistribution) {
  for (const double t : {-3.0, -0.2, 0.0, 0.7, 12.0}) {
    EXPECT_NEAR(student_t_cdf(t, 1), 0.5 + std::atan(t) / std::numbers::pi, 1e-13) << t;
    EXPECT_NEAR(student_t_cdf(t, 2), 0.5 + t / (2 * std::sqrt(2 + t * t)), 1e-13) << t;
    EXPECT_NEAR(student_t_cdf(t, 1e7), 0.5 * std::erfc(-t / std::numbers::sqrt2), 1e-7) << t;
  }
  // SciPy 1.x, scipy.stats.t
  EXPECT_NEAR(student_t_cdf(1.5, 3.7), 0.8932009153989933, 1e-13);
  EXPECT_NEAR(student_t_two_sided(-8, 2.5), 0.007656644131043447, 1e-14);
  EXPECT_NEAR(student_t_cdf(0.3, 29.25), 0.6168505532010484, 1e-13);
  EXPECT_EQ(student_t_two_sided(HUGE_VAL, 3), 0);
  EXPECT_THROW(student_t_cdf(1, 0), Error);
}

TEST(Statistics, PearsonsCorrelation) {
  const std::vector<double> x{1.2, 3.4, 2.2, 5.9, 4.1, 0.3}, y{2.0, 2.9, 3.1, 7.7, 3.3, 1.0};
  const Correlation found = pearson(x, y);  // scipy.stats.pearsonr
  EXPECT_NEAR(found.coefficient, 0.9080511253258627, 1e-14);
  EXPECT_NEAR(found.p_value, 0.012293198057260014, 1e-14);
  std::vector<double> line;
  for (const double v : x) line.push_back(3 - 2 * v);
  EXPECT_NEAR(pearson(x, line).coefficient, -1, 1e-15);
  EXPECT_LT(pearson(x, line).p_value, 1e-12);
  EXPECT_TRUE(std::isnan(pearson(x, std::vector<double>(6, 1.0)).coefficient));
  EXPECT_TRUE(std::isnan(pearson({x.data(), 1}, {y.data(), 1}).coefficient));
  EXPECT_TRUE(std::isnan(pearson({x.data(), 2}, {y.data(), 2}).p_value));
  EXPECT_THROW(pearson(x, {y.data(), 5}), Error);
}

TEST(Statistics, WelchsTest) {
  const std::vector<double> a{.61, .64, .58, .7, .66}, b{.55, .6, .52, .57, .59, .5, .63};
  const WelchTest found = welch_t_test(a, b);  // scipy.stats.ttest_ind(equal_var=False)
  EXPECT_NEAR(found.statistic, 2.6877404146613117, 1e-12);
  EXPECT_NEAR(found.dof, 8.737908220025416, 1e-11);
  EXPECT_NEAR(found.p_value, 0.025529712195425734, 1e-13);
  EXPECT_NEAR(welch_t_test(b, a).statistic, -found.statistic, 1e-15);
  const std::vector<double> ones{1, 1, 1}, twos{2, 2};
  EXPECT_EQ(welch_t_test(ones, ones).p_value, 1);
  EXPECT_EQ(welch_t_test(ones, twos).p_value, 0);
  EXPECT_EQ(welch_t_test(ones, twos).statistic, -HUGE_VAL);
  EXPECT_THROW(welch_t_test(ones, {twos.data(), 1}), Error);
}

TEST(Statistics, PairedTest) {
  // Differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt 3 with 2 degrees of freedom, where
  // P(|T| > t) = 1 - t / sqrt(t^2 + 2).
  const PairedTest test = paired_t_test(std::vector<double>{5, 8, 4}, std::vector<double>{4, 6, 1});
  const double t = 2 * std::sqrt(3.0);
  EXPECT_NEAR(test.statistic, t, 1e-12);
  EXPECT_NEAR(test.p_value, 1 - t / std::sqrt(t * t + 2), 1e-12);
  const std::vector<double> one{1, 2}, two{2, 3};
  EXPECT_EQ(paired_t_test(one, one).p_value, 1);
  EXPECT_EQ(paired_t_test(one, two).p_value, 0);
  EXPECT_LT(paired_t_test(one, two).statistic, 0);
  EXPECT_THROW(paired_t_test(one, std::vector<double>{1}), Error);
}

// The mean of ten times 0.1 is not 0.1, nor is that of three the same.
TEST(Statistics, ValuesThatDoNotVaryAreExact) {
  const std::vector<double> tenths(10, 0.1), few(3, 0.1), rising{1, 2, 4};
  EXPECT_TRUE(std::isnan(pearson(few, rising).coefficient));
  EXPECT_TRUE(std::isnan(pearson(rising, few).p_value));
  EXPECT_EQ(welch_t_test(tenths, few).p_value, 1);
  EXPECT_EQ(welch_t_test(tenths, std::vector<double>(3, 0.2)).statistic, -HUGE_VAL);
  const PairedTest test = paired_t_test(tenths, std::vector<double>(10, 0.0));
  EXPECT_EQ(test.p_value, 0);
  EXPECT_EQ(test.statistic, HUGE_VAL);
}

TEST(Statistics, SignTestCountsOutcomes) {
  const auto by_counting = [](int64_t wins, int64_t losses) {
    const int64_t n = wins + losses;
    double choose = 1, sum = 0;
    for (int64_t k = 0; k <= std::min(wins, losses); ++k) {
      sum += choose;
      choose = choose * static_cast<double>(n - k) / static_cast<double>(k + 1);
    }
    return std::min(1.0, 2 * sum / std::exp2(static_cast<double>(n)));
  };
  for (const auto& [wins, losses] : {std::pair{0, 0}, {1, 0}, {0, 5}, {3, 3}, {9, 2}, {40, 24}})
    EXPECT_NEAR(sign_test(wins, losses), by_counting(wins, losses), 1e-12) << wins << losses;
  EXPECT_THROW(sign_test(-1, 2), Error);
}

TEST(Statistics, TiesShareTheMiddleOfTheirRanks) {
  EXPECT_EQ(ranks(std::vector<double>{3, 1, 3, -2, 3}), (std::vector<double>{4, 2, 4, 1, 4}));
  EXPECT_TRUE(ranks({}).empty());
  const std::vector<double> found = ranks(std::vector<double>{3, std::nan(""), 1, std::nan(""), 2});
  EXPECT_EQ((std::vector<double>{found[0], found[2], found[4]}), (std::vector<double>{3, 1, 2}));
  EXPECT_TRUE(std::isnan(found[1]) && std::isnan(found[3]));
}

}  // namespace
}  // namespace tessera::models
