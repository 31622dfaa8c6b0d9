#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tessera/models/layers/graph/features.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

using test::expect_close;
using test::expect_error;

const Device cpu = Device::cpu();
constexpr size_t nodes = 7, width = 4;

/// Column 1 is the same everywhere, column 3 has one entry.
GraphData sparse_graph() {
  GraphData graph;
  graph.name = "seven";
  graph.nodes = nodes;
  graph.classes = 2;
  graph.sparse_features = CsrMatrix::from_parts(
      nodes, width, Tensor::from<int32_t>({0, 3, 4, 6, 8, 9, 11, 12}, {nodes + 1}, cpu),
      Tensor::from<int32_t>({2, 0, 1, 1, 1, 0, 3, 1, 1, 2, 1, 1}, {12}, cpu));
  return graph;
}

GraphData dense_graph(const GraphData& sparse) {
  GraphData graph = sparse;
  graph.dense_features = sparse.features_as_dense();
  graph.sparse_features = {};
  return graph;
}

Tensor identity() {
  std::vector<float> ones(width * width);
  for (size_t i = 0; i < width; ++i) ones[i * width + i] = 1;
  return Tensor::from(ones, {width, width}, cpu);
}

/// What the features are: their product with the identity.
std::vector<double> matrix_of(const NodeFeatures& x) {
  ForwardContext inference;
  return test::to_doubles(x.times(Var(identity()), 0, inference).value());
}

TEST(NodeFeatures, ColumnsBecomeZScores) {
  const GraphData sparse = sparse_graph(), dense = dense_graph(sparse);
  const auto raw = dense.dense_features.values<float>();
  std::vector<double> wanted(raw.size());
  for (size_t f = 0; f < width; ++f) {
    double mean = 0, variance = 0;
    for (size_t i = 0; i < nodes; ++i) mean += raw[i * width + f] / double{nodes};
    for (size_t i = 0; i < nodes; ++i) {
      const double d = raw[i * width + f] - mean;
      variance += d * d / double{nodes - 1};
    }
    for (size_t i = 0; i < nodes && variance > 1e-20; ++i)
      wanted[i * width + f] = (raw[i * width + f] - mean) / std::sqrt(variance);
  }
  EXPECT_EQ(wanted[1], 0);  // the constant column
  EXPECT_GT(wanted[3 * width + 3], 2);
  for (const GraphData& graph : {sparse, dense}) {
    const NodeFeatures x = node_features(graph, FeatureScaling::column, cpu);
    EXPECT_EQ(x.sparse(), graph.sparse_features.col.defined());
    expect_close(matrix_of(x), wanted, {1e-6, 1e-6});
  }
}

TEST(NodeFeatures, RowsAreDividedByTheirSums) {
  const GraphData sparse = sparse_graph();
  GraphData divided = dense_graph(sparse);
  normalize_feature_rows(divided);
  std::vector<double> wanted;
  for (const float x : divided.dense_features.values<float>()) wanted.push_back(x);
  expect_close(matrix_of(node_features(sparse, FeatureScaling::row, cpu)), wanted, {1e-7, 0});
  expect_close(matrix_of(node_features(dense_graph(sparse), FeatureScaling::row, cpu)), wanted,
               {1e-7, 0});
  EXPECT_EQ(matrix_of(node_features(sparse, FeatureScaling::raw, cpu)),
            matrix_of(node_features(dense_graph(sparse), FeatureScaling::raw, cpu)));
}

TEST(NodeFeatures, RunsHaveTheShiftOfTheirOwnWeights) {
  const NodeFeatures x = node_features(sparse_graph(), FeatureScaling::column, cpu);
  Rng rng(3);
  std::vector<Tensor> weights;
  for (int r = 0; r < 3; ++r) {
    std::vector<float> w;
    for (size_t i = 0; i < width * 2; ++i) w.push_back(static_cast<float>(rng.uniform() - 0.5));
    weights.push_back(Tensor::from(w, {width, 2}, cpu));
  }
  const std::vector<Var> as_vars(weights.begin(), weights.end());
  ForwardContext together{.runs = 3};
  const Tensor y = x.times(autograd::stack(as_vars, 1), 0, together).value();
  for (int64_t r = 0; r < 3; ++r) {
    ForwardContext alone;
    EXPECT_EQ(y.select(1, r).clone().values<float>(),
              x.times(as_vars[static_cast<size_t>(r)], 0, alone).value().values<float>());
  }
}

// Entries are dropped, the shift is not: what is left is the shift plus 0 or twice the entry.
TEST(NodeFeatures, DropoutLeavesTheShift) {
  const GraphData graph = sparse_graph();
  const NodeFeatures x = node_features(graph, FeatureScaling::column, cpu);
  const auto whole = matrix_of(x);
  ForwardContext training{true, Rng(5)};
  const auto got = x.times(Var(identity()), 0.5, training).value().values<float>();
  const auto raw = graph.features_as_dense().values<float>();
  size_t gone = 0, kept = 0;
  for (size_t f = 0; f < width; ++f) {
    if (f == 1) continue;  // all 0
    size_t zero = 0;
    while (raw[zero * width + f] != 0) ++zero;
    const double shift = whole[zero * width + f];
    for (size_t i = 0; i < nodes; ++i) {
      const size_t at = i * width + f;
      const double entry = whole[at] - shift;
      gone += raw[at] != 0 && std::abs(got[at] - shift) < 1e-6;
      kept += raw[at] != 0 && std::abs(got[at] - shift - 2 * entry) < 1e-6;
      if (raw[at] == 0) {
        EXPECT_NEAR(got[at], shift, 1e-6);
      }
    }
  }
  EXPECT_EQ(gone + kept, 5u);
  EXPECT_GT(gone, 0u);
  EXPECT_GT(kept, 0u);
}

TEST(NodeFeatures, BadInputIsNamed) {
  GraphData none = sparse_graph();
  none.sparse_features = {};
  const auto refused = [](const GraphData& graph, FeatureScaling scaling,
                          const std::vector<std::string>& parts) {
    expect_error([&] { node_features(graph, scaling, cpu); }, parts, ErrorKind::invalid_argument);
  };
  refused(none, FeatureScaling::raw, {"seven", "no node features"});
  none.dense_features = Tensor::zeros({nodes, 0}, DType::f32, cpu);
  refused(none, FeatureScaling::column, {"seven", "no node features"});
  GraphData bad = dense_graph(sparse_graph());
  bad.dense_features = bad.dense_features.clone();
  bad.dense_features.host_mutable<float>()[2 * width + 3] = std::numeric_limits<float>::quiet_NaN();
  for (const auto scaling : {FeatureScaling::raw, FeatureScaling::row, FeatureScaling::column})
    refused(bad, scaling, {"seven", "feature 3 of node 2", "nan"});
  GraphData twice = sparse_graph();
  twice.sparse_features = CsrMatrix::from_parts(
      nodes, width, Tensor::from<int32_t>({0, 2, 2, 2, 2, 2, 2, 2}, {nodes + 1}, cpu),
      Tensor::from<int32_t>({2, 2}, {2}, cpu));
  refused(twice, FeatureScaling::column, {"seven", "feature 2 of node 0", "twice"});
}

}  // namespace
}  // namespace tessera::models
