#include "tessera/algorithms/trihom/support_vector.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::trihom {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// Solves the dual by pairs of multipliers.
class PairSolver {
 public:
  PairSolver(std::span<const double> kernel, std::span<const int8_t> y, double cost)
      : kernel_(kernel), y_(y), cost_(cost), alpha_(y.size()), gradient_(y.size(), -1.0) {}

  void run(double tolerance) {
    const size_t most = std::max<size_t>(10000000, 100 * y_.size());
    for (size_t step = 0; step < most; ++step) {
      const auto [i, highest] = most_violating();
      double lowest = infinity, best = 0;
      size_t j = y_.size();
      for (size_t t = 0; t < y_.size(); ++t) {
        if (!may_fall(t)) continue;
        const double value = -y_[t] * gradient_[t];
        lowest = std::min(lowest, value);
        if (i == y_.size() || value >= highest) continue;
        const double gain = (highest - value) * (highest - value) / curvature(i, t);
        if (gain > best) {
          best = gain;
          j = t;
        }
      }
      if (j == y_.size() || highest - lowest < tolerance) return;
      move(i, j);
    }
  }

  SupportVectors result() const {
    double sum = 0, low = -infinity, high = infinity;
    size_t free = 0;
    for (size_t t = 0; t < y_.size(); ++t) {
      const double value = -y_[t] * gradient_[t];
      if (alpha_[t] > 0 && alpha_[t] < cost_) {
        sum += value;
        ++free;
      }
      if (may_rise(t)) low = std::max(low, value);
      if (may_fall(t)) high = std::min(high, value);
    }
    SupportVectors out{alpha_, free > 0 ? sum / static_cast<double>(free) : (low + high) / 2};
    for (size_t t = 0; t < y_.size(); ++t) out.coefficient[t] *= y_[t];
    return out;
  }

 private:
  /// Whether y_t alpha_t may grow, or fall.
  bool may_rise(size_t t) const { return y_[t] > 0 ? alpha_[t] < cost_ : alpha_[t] > 0; }
  bool may_fall(size_t t) const { return y_[t] > 0 ? alpha_[t] > 0 : alpha_[t] < cost_; }
  double k(size_t i, size_t j) const { return kernel_[i * y_.size() + j]; }
  double curvature(size_t i, size_t j) const {
    return std::max(k(i, i) + k(j, j) - 2 * k(i, j), 1e-12);
  }

  std::pair<size_t, double> most_violating() const {
    std::pair<size_t, double> found{y_.size(), -infinity};
    for (size_t t = 0; t < y_.size(); ++t)
      if (const double value = -y_[t] * gradient_[t]; may_rise(t) && value > found.second)
        found = {t, value};
    return found;
  }

  /// y_i alpha_i rises by `step` and y_j alpha_j falls by it, as far as the box allows.
  void move(size_t i, size_t j) {
    double step = (-y_[i] * gradient_[i] + y_[j] * gradient_[j]) / curvature(i, j);
    step = std::min(step, y_[i] > 0 ? cost_ - alpha_[i] : alpha_[i]);
    step = std::min(step, y_[j] > 0 ? alpha_[j] : cost_ - alpha_[j]);
    const auto shift = [&](size_t t, double by) {
      alpha_[t] = std::clamp(alpha_[t] + by, 0.0, cost_);
      if (cost_ - alpha_[t] < 1e-15 * cost_) alpha_[t] = cost_;
    };
    shift(i, y_[i] * step);
    shift(j, -y_[j] * step);
    for (size_t t = 0; t < y_.size(); ++t) gradient_[t] += y_[t] * step * (k(i, t) - k(j, t));
  }

  std::span<const double> kernel_;
  std::span<const int8_t> y_;
  double cost_;
  std::vector<double> alpha_, gradient_;
};

}  // namespace

SupportVectors train_support_vectors(std::span<const double> kernel, std::span<const int8_t> y,
                                     double cost, double tolerance) {
  TS_CHECK(kernel.size() == y.size() * y.size() && cost > 0, "support vectors: ", kernel.size(),
           " kernel values for ", y.size(), " examples, cost ", cost);
  TS_CHECK(std::count(y.begin(), y.end(), 1) > 0 && std::count(y.begin(), y.end(), -1) > 0,
           "support vectors: expected examples of both classes");
  PairSolver solver(kernel, y, cost);
  solver.run(tolerance);
  return solver.result();
}

std::vector<int32_t> predict_support_vectors(std::span<const double> kernel, int64_t n,
                                             std::span<const int32_t> label, int64_t classes,
                                             std::span<const int64_t> train,
                                             std::span<const int64_t> predict, double cost) {
  std::vector<std::vector<int64_t>> members(at(classes));
  for (const int64_t i : train) members[at(label[at(i)])].push_back(i);
  std::vector<int32_t> votes(predict.size() * at(classes), 0);
  for (size_t a = 0; a < members.size(); ++a) {
    // A class alone wins without a machine.
    for (size_t p = 0; p < predict.size(); ++p)
      votes[p * members.size() + a] += members[a].empty() ? -1 : 0;
    for (size_t b = a + 1; b < members.size(); ++b) {
      if (members[a].empty() || members[b].empty()) continue;
      std::vector<int64_t> examples = members[a];
      examples.insert(examples.end(), members[b].begin(), members[b].end());
      std::vector<int8_t> y(examples.size(), -1);
      std::fill_n(y.begin(), members[a].size(), int8_t{1});
      std::vector<double> part;
      part.reserve(examples.size() * examples.size());
      for (const int64_t i : examples)
        for (const int64_t j : examples) part.push_back(kernel[at(i * n + j)]);
      const SupportVectors machine = train_support_vectors(part, y, cost);
      for (size_t p = 0; p < predict.size(); ++p) {
        double value = machine.bias;
        for (size_t e = 0; e < examples.size(); ++e)
          value += machine.coefficient[e] * kernel[at(examples[e] * n + predict[p])];
        ++votes[p * members.size() + (value > 0 ? a : b)];
      }
    }
  }
  std::vector<int32_t> out;
  for (size_t p = 0; p < predict.size(); ++p) {
    const auto row = votes.begin() + static_cast<int64_t>(p) * classes;
    out.push_back(static_cast<int32_t>(std::max_element(row, row + classes) - row));
  }
  return out;
}

}  // namespace tessera::algorithms::trihom
