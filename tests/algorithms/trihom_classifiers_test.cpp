#include "tessera/algorithms/trihom/classifier_metrics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "tessera/algorithms/trihom/support_vector.hpp"
#include "tessera/models/data/csbm.hpp"
#include "tessera/tests/support/values.hpp"

namespace tessera::algorithms::trihom {
namespace {

using test::at;

/// Solves the square system by elimination with pivots; false when it is singular.
bool solve(std::vector<std::vector<double>> a, std::vector<double>& x) {
  const size_t n = a.size();
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t i = k; i < n; ++i)
      if (std::abs(a[i][k]) > std::abs(a[pivot][k])) pivot = i;
    if (std::abs(a[pivot][k]) < 1e-12) return false;
    std::swap(a[k], a[pivot]);
    for (size_t i = 0; i < n; ++i) {
      if (i == k) continue;
      const double factor = a[i][k] / a[k][k];
      for (size_t j = k; j <= n; ++j) a[i][j] -= factor * a[k][j];
    }
  }
  x.resize(n);
  for (size_t k = 0; k < n; ++k) x[k] = a[k][n] / a[k][k];
  return true;
}

double dual(const std::vector<double>& kernel, const std::vector<int8_t>& y,
            const std::vector<double>& alpha) {
  double value = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    value -= alpha[i];
    for (size_t j = 0; j < y.size(); ++j)
      value += 0.5 * y[i] * y[j] * kernel[i * y.size() + j] * alpha[i] * alpha[j];
  }
  return value;
}

/// The least value of the dual over every choice of multipliers at 0, at the cost, or between.
double best_dual(const std::vector<double>& kernel, const std::vector<int8_t>& y, double cost) {
  const size_t n = y.size();
  double best = HUGE_VAL;
  for (int choice = 0; choice < std::pow(3, n); ++choice) {
    std::vector<double> alpha(n);
    std::vector<size_t> free;
    for (size_t i = 0, c = static_cast<size_t>(choice); i < n; ++i, c /= 3) {
      alpha[i] = c % 3 == 1 ? cost : 0;
      if (c % 3 == 2) free.push_back(i);
    }
    // Q_ff a_f + b y_f = 1 - Q_fc a_c and y_f a_f = -y_c a_c.
    std::vector<std::vector<double>> system;
    double balance = 0;
    for (size_t j = 0; j < n; ++j) balance -= y[j] * alpha[j];
    for (const size_t i : free) {
      std::vector<double> row;
      for (const size_t j : free) row.push_back(y[i] * y[j] * kernel[i * n + j]);
      row.push_back(y[i]);
      double right = 1;
      for (size_t j = 0; j < n; ++j) right -= y[i] * y[j] * kernel[i * n + j] * alpha[j];
      row.push_back(right);
      system.push_back(row);
    }
    if (free.empty()) {
      if (std::abs(balance) > 1e-12) continue;
    } else {
      std::vector<double> last, x;
      for (const size_t j : free) last.push_back(y[j]);
      last.push_back(0);
      last.push_back(balance);
      system.push_back(last);
      if (!solve(system, x)) continue;
      bool inside = true;
      for (size_t k = 0; k < free.size(); ++k) {
        alpha[free[k]] = x[k];
        inside = inside && x[k] > -1e-12 && x[k] < cost + 1e-12;
      }
      if (!inside) continue;
    }
    best = std::min(best, dual(kernel, y, alpha));
  }
  return best;
}

TEST(SupportVectors, ReachTheBestOfAllActiveSets) {
  test::Numbers next(4);
  const auto uniform = [&] { return next() * 0x1p-31 - 1; };
  for (int round = 0; round < 40; ++round) {
    const size_t n = 6;
    std::vector<double> points, kernel;
    std::vector<int8_t> y;
    for (size_t i = 0; i < n; ++i) {
      points.push_back(uniform()), points.push_back(uniform());
      y.push_back(i < 2 ? (i == 0 ? int8_t{1} : int8_t{-1}) : next() % 2 ? int8_t{1} : int8_t{-1});
    }
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j) {
        const double dx = points[2 * i] - points[2 * j], dy = points[2 * i + 1] - points[2 * j + 1];
        kernel.push_back(std::exp(-2 * (dx * dx + dy * dy)));
      }
    const double cost = round % 2 == 0 ? 0.4 : 5;
    const SupportVectors found = train_support_vectors(kernel, y, cost, 1e-9);
    std::vector<double> alpha;
    double balance = 0;
    for (size_t i = 0; i < n; ++i) {
      alpha.push_back(found.coefficient[i] * y[i]);
      balance += found.coefficient[i];
      EXPECT_GE(alpha[i], 0);
      EXPECT_LE(alpha[i], cost);
    }
    EXPECT_NEAR(balance, 0, 1e-12);
    EXPECT_NEAR(dual(kernel, y, alpha), best_dual(kernel, y, cost), 1e-8) << round;
  }
}

TEST(SupportVectors, TwoPointsByHand) {
  // x = 0 and 2 on a line: alpha = 1/2, f(x) = 1 - x.
  const SupportVectors found =
      train_support_vectors(std::vector<double>{0, 0, 0, 4}, std::vector<int8_t>{1, -1}, 10);
  EXPECT_NEAR(found.coefficient[0], 0.5, 1e-12);
  EXPECT_NEAR(found.coefficient[1], -0.5, 1e-12);
  EXPECT_NEAR(found.bias, 1, 1e-12);
  EXPECT_THROW(train_support_vectors(std::vector<double>{1}, std::vector<int8_t>{1}, 1), Error);
}

/// Inner products of points on a line.
std::vector<double> gram_of(const std::vector<double>& points, double offset) {
  std::vector<double> gram;
  for (const double a : points)
    for (const double b : points) gram.push_back(a * b + offset);
  return gram;
}

TEST(SupportVectors, VotesAndAbsentClasses) {
  const std::vector<double> points{-3, -2.5, 2.5, 3, -2, 2};
  const std::vector<int32_t> label{1, 1, 3, 3, 1, 3};
  const std::vector<int64_t> train{0, 1, 2, 3}, rest{4, 5}, one{0, 1};
  const auto gram = gram_of(points, 1);
  EXPECT_EQ(predict_support_vectors(gram, 6, label, 4, train, rest, 1),
            (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(predict_support_vectors(gram, 6, label, 4, one, rest, 1), (std::vector<int32_t>{1, 1}));
}

TEST(KernelRegression, FitsWhatItsKernelCan) {
  const std::vector<double> points{-3, -2.5, 2.5, 3, -2, 2};
  const std::vector<int32_t> label{1, 1, 0, 0, 1, 0};
  const std::vector<int64_t> train{0, 1, 2, 3}, rest{4, 5};
  // Rank 1: K = p p', so that scores are p_v sum_i p_i onehot_i / |p|^2.
  EXPECT_EQ(predict_kernel_regression(gram_of(points, 0), 6, label, 2, train, rest),
            (std::vector<int32_t>{1, 0}));
  std::vector<double> gauss;
  for (const double a : points)
    for (const double b : points) gauss.push_back(std::exp(-(a - b) * (a - b)));
  EXPECT_EQ(predict_kernel_regression(gauss, 6, label, 2, train, train),
            (std::vector<int32_t>{1, 1, 0, 0}));
}

TEST(KernelRegression, ArcCosineKernel) {
  const double pi = std::numbers::pi;
  // Rows (1, 0), (0, 2), (3, 0), (0, 0).
  const std::vector<double> gram{1, 0, 3, 0, 0, 4, 0, 0, 3, 0, 9, 0, 0, 0, 0, 0};
  const auto kernel = arc_cosine_kernel(gram, 4);
  EXPECT_NEAR(kernel[0], 0.5, 1e-15);  // g / 2 for parallel rows
  EXPECT_NEAR(kernel[2], 1.5, 1e-15);
  EXPECT_NEAR(kernel[1], 2 / (2 * pi), 1e-15);  // the norms over 2 pi for orthogonal ones
  EXPECT_NEAR(kernel[15], 0, 1e-8);
}

TEST(NaiveBayes, LargestPosterior) {
  test::Numbers next(9);
  const auto uniform = [&] { return next() * 0x1p-31 - 1; };
  std::vector<double> x;
  std::vector<int32_t> label;
  for (int i = 0; i < 90; ++i) {
    label.push_back(i % 3 == 2 && i > 60 ? 3 : i % 3 % 2);
    x.push_back(uniform() + 0.5 * label.back()), x.push_back(uniform() * (1 + label.back()));
  }
  std::vector<int64_t> train(60), rest(30);
  std::iota(train.begin(), train.end(), 20);
  std::iota(rest.begin(), rest.begin() + 20, 0);
  std::iota(rest.begin() + 20, rest.end(), 80);
  const auto found = predict_naive_bayes(x, 2, label, 4, train, rest);
  for (size_t r = 0; r < rest.size(); ++r) {
    int32_t best = -1;
    double highest = 0;
    for (const int32_t c : {0, 1, 3}) {
      double count = 0, posterior = 1;
      for (const int64_t i : train) count += label[at(i)] == c;
      for (size_t f = 0; f < 2; ++f) {
        double mean = 0, variance = 0;
        for (const int64_t i : train)
          if (label[at(i)] == c) mean += x[at(i) * 2 + f] / count;
        for (const int64_t i : train)
          if (label[at(i)] == c) variance += std::pow(x[at(i) * 2 + f] - mean, 2) / count;
        posterior *= std::exp(-std::pow(x[at(rest[r]) * 2 + f] - mean, 2) / (2 * variance)) /
                     std::sqrt(2 * std::numbers::pi * variance);
      }
      if (count * posterior > highest) highest = count * posterior, best = c;
    }
    EXPECT_EQ(found[r], best) << r;
  }
}

ClassifierMetrics metrics_of(const models::GraphData& data, const ClassifierOptions& options,
                             Mode mode = Mode::correct) {
  const LabelledGraph graph = labelled_graph(data, mode);
  return classifier_metrics(graph, feature_rows(data, graph), options, mode, Rng(3));
}

TEST(ClassifierMetrics, TellWhetherAggregationHelps) {
  models::CsbmHOptions o{.nodes0 = 300,
                         .nodes1 = 300,
                         .mean0 = {1.5, 0.6, 0.6},
                         .mean1 = {0.6, 1.5, 0.6},
                         .variance0 = 0.5,
                         .variance1 = 0.5,
                         .degree0 = 10,
                         .degree1 = 10,
                         .homophily = 0.9};
  for (const SvmKernel kernel : {SvmKernel::linear, SvmKernel::rbf, SvmKernel::poly}) {
    const ClassifierOptions options{.trials = 12, .sample = 200, .svm = kernel};
    o.homophily = 0.95;
    const ClassifierMetrics helps = metrics_of(models::csbm_h(o, Rng(1)), options);
    o.homophily = 0.5;
    const ClassifierMetrics hurts = metrics_of(models::csbm_h(o, Rng(1)), options);
    ClassifierMetrics::visit(helps,
                             [](std::string_view name, double p) { EXPECT_GT(p, 0.99) << name; });
    ClassifierMetrics::visit(hurts,
                             [](std::string_view name, double p) { EXPECT_LT(p, 0.01) << name; });
    const ClassifierMetrics again = metrics_of(models::csbm_h(o, Rng(1)), options);
    EXPECT_EQ(again.kernel1, hurts.kernel1);
    EXPECT_EQ(again.svm, hurts.svm);
  }
}

TEST(ClassifierMetrics, DoNotDependOnThreads) {
  const auto data = models::csbm_3h({.nodes = 260}, Rng(1));
  const ClassifierOptions options{.trials = 3, .sample = 150};
  const test::Threads one(1);
  const ClassifierMetrics a = metrics_of(data, options, Mode::compat);
  const test::Threads two(2);
  const ClassifierMetrics b = metrics_of(data, options, Mode::compat);
  EXPECT_EQ(a.kernel0, b.kernel0);
  EXPECT_EQ(a.kernel1, b.kernel1);
  EXPECT_EQ(a.gnb, b.gnb);
  EXPECT_EQ(a.svm, b.svm);
}

TEST(ClassifierMetrics, AbsentWhereTheyMeanNothing) {
  auto data = models::csbm_3h({.nodes = 60}, Rng(1));
  EXPECT_TRUE(std::isnan(metrics_of(data, {.trials = 0}).gnb));
  EXPECT_THROW(metrics_of(data, {.trials = 1}), Error);
  data.labels = Tensor::zeros({60}, DType::i32, Device::cpu());
  EXPECT_TRUE(std::isnan(metrics_of(data, {.trials = 5}).gnb));
}

}  // namespace
}  // namespace tessera::algorithms::trihom
