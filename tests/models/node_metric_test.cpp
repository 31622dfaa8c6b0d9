#include "tessera/models/node_metric.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tessera/runtime/rng.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

using test::expect_error;

const Device cpu = Device::cpu();
constexpr int64_t nodes = 90;

struct Case {
  std::vector<float> zero, one;  // logits of both classes, in steps that make ties
  std::vector<int32_t> label;
  std::vector<int64_t> asked;
};

Case random_case(uint64_t seed) {
  Rng rng(seed);
  Case c;
  for (int64_t i = 0; i < nodes; ++i) {
    c.zero.push_back(static_cast<float>(rng.below(4)));
    c.one.push_back(static_cast<float>(rng.below(5)) - 2);
    c.label.push_back(rng.below(3) == 0);
    if (rng.below(2) == 0) c.asked.push_back(i);
  }
  return c;
}

/// The share of pairs of a positive and a negative in the right order, ties half.
template <class Score>
double pair_count(const Case& c, Score&& score) {
  double right = 0, pairs = 0;
  for (const int64_t p : c.asked)
    for (const int64_t n : c.asked) {
      const auto i = static_cast<size_t>(p), j = static_cast<size_t>(n);
      if (c.label[i] != 1 || c.label[j] != 0) continue;
      pairs += 1;
      right += score(i) > score(j) ? 1.0 : score(i) == score(j) ? 0.5 : 0.0;
    }
  return right / pairs;
}

TEST(NodeMetric, AucCountsPairs) {
  for (const uint64_t seed : {1, 2, 3}) {
    const Case c = random_case(seed);
    const Tensor labels = Tensor::from(c.label, {nodes}, cpu);
    const double of_one = pair_count(c, [&](size_t i) { return c.one[i]; });
    EXPECT_NEAR(node_score(NodeMetric::auc, Tensor::from(c.one, {nodes, 1}, cpu), labels, c.asked),
                of_one, 1e-12);
    std::vector<float> both;
    for (size_t i = 0; i < c.one.size(); ++i) {
      both.push_back(c.zero[i]);
      both.push_back(c.one[i]);
    }
    const double of_both = pair_count(c, [&](size_t i) { return c.one[i] - c.zero[i]; });
    EXPECT_NE(of_both, of_one);
    EXPECT_NEAR(node_score(NodeMetric::auc, Tensor::from(both, {nodes, 2}, cpu), labels, c.asked),
                of_both, 1e-12);
  }
}

TEST(NodeMetric, AccuracyCountsNodes) {
  const Tensor logits = Tensor::from<float>({1, 2, 5, 0, 3, 4}, {3, 2}, cpu);
  const Tensor labels = Tensor::from<int32_t>({1, 0, 0}, {3}, cpu);
  const std::vector<int64_t> all{0, 1, 2}, last{2};
  EXPECT_DOUBLE_EQ(node_score(NodeMetric::accuracy, logits, labels, all), 2.0 / 3);
  EXPECT_EQ(node_score(NodeMetric::accuracy, logits, labels, last), 0);
}

TEST(NodeMetric, AutomaticIsAucOfTwoClasses) {
  EXPECT_EQ(metric_for(NodeMetric::automatic, 2), NodeMetric::auc);
  EXPECT_EQ(metric_for(NodeMetric::automatic, 3), NodeMetric::accuracy);
  EXPECT_EQ(metric_for(NodeMetric::automatic, 1), NodeMetric::accuracy);
  EXPECT_EQ(metric_for(NodeMetric::accuracy, 2), NodeMetric::accuracy);
  EXPECT_EQ(metric_for(NodeMetric::auc, 2), NodeMetric::auc);
  for (const int64_t classes : {1, 7})
    expect_error([&] { metric_for(NodeMetric::auc, classes); },
                 {"auc", std::to_string(classes) + " classes", "accuracy"},
                 ErrorKind::invalid_argument);
  NodeMetric metric = NodeMetric::accuracy;
  for (const NodeMetric each : {NodeMetric::automatic, NodeMetric::accuracy, NodeMetric::auc}) {
    parse(to_string(each), metric);
    EXPECT_EQ(metric, each);
  }
}

TEST(NodeMetric, PartsOfOneClassAreNamed) {
  const Tensor labels = Tensor::from<int32_t>({0, 1, 0, 1, 0, 1, 1}, {7}, cpu);
  const Split good{{0, 1}, {2, 3}, {4, 5}};
  check_split(NodeMetric::auc, labels, good, 0);
  const auto refused = [&](Split split, const std::vector<std::string>& parts) {
    check_split(NodeMetric::accuracy, labels, split, 4);  // does not mind
    expect_error([&] { check_split(NodeMetric::auc, labels, split, 4); }, parts,
                 ErrorKind::invalid_argument);
  };
  refused({{0, 2}, {3, 4}, {5}}, {"training nodes of run 4", "2 of class 0", "0 of class 1"});
  refused({{0, 1}, {3, 5, 6}, {4}}, {"validation", "0 of class 0", "3 of class 1"});
  refused({{0, 1}, {2, 3}, {4}}, {"test", "1 of class 0", "0 of class 1"});
}

TEST(NodeMetric, BadOperandsAreNamed) {
  const Tensor labels = Tensor::from<int32_t>({0, 1, 0}, {3}, cpu);
  const std::vector<int64_t> all{0, 1, 2}, beyond{0, 1, 3};
  const auto refused = [&](NodeMetric metric, const Shape& shape, const std::vector<int64_t>& asked,
                           const std::string& part) {
    expect_error([&] { node_score(metric, Tensor::zeros(shape, DType::f32, cpu), labels, asked); },
                 {"node_score", part}, ErrorKind::invalid_argument);
  };
  refused(NodeMetric::automatic, {3, 2}, all, "open");
  refused(NodeMetric::auc, {3, 3}, all, "[3, 3]");
  refused(NodeMetric::auc, {2, 1}, all, "[2, 1]");
  refused(NodeMetric::auc, {3, 1}, beyond, "node 3 of 3");
}

}  // namespace
}  // namespace tessera::models
