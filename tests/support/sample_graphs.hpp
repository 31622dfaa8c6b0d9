#pragma once

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "tessera/models/data/graph.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/tests/support/values.hpp"

/// Small graphs with labels and features, and the same as dense matrices.
namespace tessera::test {

using Matrix = std::vector<std::vector<double>>;
using Edges = std::vector<std::pair<int64_t, int64_t>>;

inline models::GraphData graph_of(const std::vector<int32_t>& labels, const Edges& edges,
                                  const Matrix& features, bool sparse = false) {
  models::GraphData graph;
  graph.name = "small";
  graph.nodes = static_cast<int64_t>(labels.size());
  graph.labels = Tensor::from(labels, {graph.nodes}, Device::cpu());
  for (const int32_t label : labels) graph.classes = std::max<int64_t>(graph.classes, label + 1);
  std::vector<int64_t> from, to;
  for (const auto& [u, v] : edges) from.push_back(u), to.push_back(v);
  graph.adjacency = CsrMatrix::from_edges(graph.nodes, graph.nodes, from, to,
                                          {.duplicates = EdgeOptions::Duplicates::merge,
                                           .self_loops = EdgeOptions::SelfLoops::remove,
                                           .symmetrize = true});
  graph.adjacency.symmetric = true;
  const auto width = static_cast<int64_t>(features[0].size());
  std::vector<float> x, values;
  std::vector<int64_t> row, column;
  for (int64_t i = 0; i < graph.nodes; ++i)
    for (int64_t f = 0; f < width; ++f) {
      x.push_back(static_cast<float>(features[at(i)][at(f)]));
      if (x.back() == 0) continue;
      row.push_back(i), column.push_back(f), values.push_back(x.back());
    }
  if (sparse)
    graph.sparse_features = CsrMatrix::from_edges(graph.nodes, width, row, column, values, {});
  else
    graph.dense_features = Tensor::from(x, {graph.nodes, width}, Device::cpu());
  return graph;
}

/// Random features, `zeros` of them 0; random edges, the last node isolated; node 0 alone in its
/// class.
struct SampleGraph {
  std::vector<int32_t> labels;
  Edges edges;
  Matrix x, a;
  std::vector<int64_t> train;

  SampleGraph(int64_t nodes, int64_t width, double zeros, uint64_t seed) {
    Rng rng(seed);
    for (int64_t i = 0; i < nodes; ++i) {
      labels.push_back(i == 0 ? 3 : static_cast<int32_t>(rng.below(3)));
      x.emplace_back();
      for (int64_t f = 0; f < width; ++f)
        x.back().push_back(rng.uniform() < zeros
                               ? 0
                               : static_cast<float>(rng.uniform() + labels.back() * (f % 3)));
      if (i % 2 == 0 || i + 1 == nodes) train.push_back(i);
    }
    a.assign(at(nodes), std::vector<double>(at(nodes)));
    for (int64_t e = 0; e < 3 * nodes; ++e) {
      const auto u = static_cast<int64_t>(rng.below(static_cast<uint64_t>(nodes - 1))),
                 v = static_cast<int64_t>(rng.below(static_cast<uint64_t>(nodes - 1)));
      if (u == v) continue;
      edges.emplace_back(u, v);
      a[at(u)][at(v)] = a[at(v)][at(u)] = 1;
    }
  }
  double degree(size_t i) const { return std::accumulate(a[i].begin(), a[i].end(), 0.0); }
  Matrix standardized() const {
    std::vector<double> all;
    for (const auto& row : x) all.insert(all.end(), row.begin(), row.end());
    const auto [mean, deviation] = models::mean_std(all);
    Matrix out = x;
    for (auto& row : out)
      for (double& v : row) v = (v - mean) / deviation;
    return out;
  }
};

}  // namespace tessera::test
