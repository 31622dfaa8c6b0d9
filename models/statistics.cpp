#include "tessera/models/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tessera/models/metrics.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::models {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// The continued fraction of the incomplete beta function by Lentz's method; it converges fast for
// x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  constexpr double tiny = 1e-300;
  const auto guarded = [](double v) { return std::abs(v) < tiny ? tiny : v; };
  double c = 1, d = 1 / guarded(1 - (a + b) * x / (a + 1)), h = d;
  for (int m = 1; m < 10000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / guarded(1 + even * d);
    c = guarded(1 + even / c);
    h *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / guarded(1 + odd * d);
    c = guarded(1 + odd / c);
    h *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return h;
}

bool varies(std::span<const double> values) {
  return std::any_of(values.begin(), values.end(), [&](double v) { return v != values.front(); });
}

/// Exact for values that do not vary, whose sums may round.
MeanStd moments(std::span<const double> values) {
  return varies(values) ? mean_std(values) : MeanStd{values.front(), 0};
}

}  // namespace

double incomplete_beta(double a, double b, double x) {
  TS_CHECK(a > 0 && b > 0 && x >= 0 && x <= 1, "incomplete_beta: a ", a, ", b ", b, ", x ", x);
  if (x == 0 || x == 1) return x;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double student_t_two_sided(double t, double dof) {
  TS_CHECK(dof > 0, "student_t: ", dof, " degrees of freedom");
  if (std::isnan(t)) return nan;
  return std::isinf(t) ? 0 : incomplete_beta(dof / 2, 0.5, dof / (dof + t * t));
}

double student_t_cdf(double t, double dof) {
  const double tail = student_t_two_sided(t, dof) / 2;
  return t > 0 ? 1 - tail : tail;
}

Correlation pearson(std::span<const double> x, std::span<const double> y) {
  TS_CHECK(x.size() == y.size(), "pearson: ", x.size(), " values with ", y.size());
  if (x.size() < 2 || !varies(x) || !varies(y)) return {nan, nan};
  const auto n = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n,
               mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  const double r = std::clamp(xy / (std::sqrt(xx) * std::sqrt(yy)), -1.0, 1.0);
  if (std::isnan(r)) return {nan, nan};
  // t^2 = (n - 2) r^2 / (1 - r^2), so dof / (dof + t^2) is 1 - r^2.
  return {r, x.size() > 2 ? incomplete_beta((n - 2) / 2, 0.5, (1 - r) * (1 + r)) : nan};
}

WelchTest welch_t_test(std::span<const double> x, std::span<const double> y) {
  TS_CHECK(x.size() >= 2 && y.size() >= 2, "welch_t_test: ", x.size(), " and ", y.size(),
           " values; expected at least two of each");
  const MeanStd a = moments(x), b = moments(y);
  const auto n = static_cast<double>(x.size()), m = static_cast<double>(y.size());
  const double va = a.std * a.std / n, vb = b.std * b.std / m, difference = a.mean - b.mean;
  if (va + vb == 0) {
    if (difference == 0) return {0, nan, 1};
    return {std::copysign(std::numeric_limits<double>::infinity(), difference), nan, 0};
  }
  const double t = difference / std::sqrt(va + vb);
  const double dof = (va + vb) * (va + vb) / (va * va / (n - 1) + vb * vb / (m - 1));
  return {t, dof, student_t_two_sided(t, dof)};
}

PairedTest paired_t_test(std::span<const double> x, std::span<const double> y) {
  TS_CHECK(x.size() == y.size() && x.size() >= 2, "paired_t_test: ", x.size(), " values with ",
           y.size(), "; expected at least two pairs");
  std::vector<double> differences;
  differences.reserve(x.size());
  for (size_t i = 0; i < x.size(); ++i) differences.push_back(x[i] - y[i]);
  const MeanStd d = moments(differences);
  if (d.std == 0) {
    if (d.mean == 0) return {0, 1};
    return {std::copysign(std::numeric_limits<double>::infinity(), d.mean), 0};
  }
  const auto n = static_cast<double>(x.size());
  const double t = d.mean / (d.std / std::sqrt(n));
  return {t, student_t_two_sided(t, n - 1)};
}

double sign_test(int64_t wins, int64_t losses) {
  TS_CHECK(wins >= 0 && losses >= 0, "sign_test: ", wins, " wins, ", losses, " losses");
  const auto fewer = static_cast<double>(std::min(wins, losses)),
             more = static_cast<double>(std::max(wins, losses));
  // P(X <= k) of n fair games is I_1/2(n - k, k + 1).
  return wins == losses ? 1 : std::min(1.0, 2 * incomplete_beta(more, fewer + 1, 0.5));
}

std::vector<double> ranks(std::span<const double> values) {
  std::vector<size_t> order;
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isnan(values[i])) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> out(values.size(), nan);
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    while (end < order.size() && values[order[end]] == values[order[i]]) ++end;
    const double middle = 0.5 * static_cast<double>(i + 1 + end);
    for (; i < end; ++i) out[order[i]] = middle;
  }
  return out;
}

}  // namespace tessera::models
