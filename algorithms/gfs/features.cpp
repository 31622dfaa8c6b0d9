#include "tessera/algorithms/gfs/features.hpp"

#include <cmath>

namespace tessera::algorithms::gfs {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

struct Moments {
  double mean, deviation;
};

/// Of stored values and as many zeros as make `count` numbers.
template <class T>
Moments moments(std::span<const T> stored, double count) {
  double sum = 0, squares = 0;
  for (const T v : stored) sum += static_cast<double>(v);
  const double mean = sum / count;
  for (const T v : stored)
    squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
  squares += (count - static_cast<double>(stored.size())) * mean * mean;
  return {mean, std::sqrt(squares / std::max(count - 1, 1.0))};
}

}  // namespace

StandardFeatures::StandardFeatures(const models::GraphData& graph)
    : nodes_(graph.nodes), features_(0) {
  TS_CHECK(graph.has_features(), "graph ", graph.name, " has no node features");
  features_ = graph.features();
  TS_CHECK(features_ >= 1, "graph ", graph.name, " has node features of width 0");
  const auto count = static_cast<double>(nodes_) * static_cast<double>(features_);
  Moments found{0, 1};
  if (graph.dense_features.defined()) {
    dense_ = graph.dense_features;
    const auto x = dense_.host<float>();
    for (size_t i = 0; i < x.size(); ++i)
      TS_CHECK(std::isfinite(x[i]), "graph ", graph.name, ": feature ", i % at(features_),
               " of node ", i / at(features_), " is ", x[i]);
    found = moments(x, count);
  } else {
    rows_ = graph.sparse_features;
    const CsrTranspose transpose = rows_.transpose();
    columns_ = transpose.matrix;
    if (rows_.values.defined()) {
      const auto stored = rows_.values.values<float>();
      const auto from = transpose.permutation.values<int32_t>();
      const auto node = columns_.col.values<int32_t>();
      for (size_t e = 0; e < from.size(); ++e) {
        values_.push_back(stored[at(from[e])]);
        TS_CHECK(std::isfinite(values_.back()), "graph ", graph.name, ": a feature of node ",
                 node[e], " is ", values_.back());
      }
      found = moments(std::span<const double>(values_), count);
    } else {
      const std::vector<double> ones(at(rows_.nnz()), 1.0);
      found = moments(std::span<const double>(ones), count);
    }
  }
  mean_ = found.mean;
  // Rounding leaves a trace of a deviation where there is none.
  if (found.deviation > 1e-12 * std::abs(mean_)) deviation_ = found.deviation;
}

void StandardFeatures::column(int64_t feature, std::span<double> out) const {
  std::fill(out.begin(), out.end(), of(0));
  each_entry(feature, [&](size_t node, double x) { out[node] = x; });
}

StandardFeatures::Input StandardFeatures::input(Device device) const {
  if (!sparse()) {
    std::vector<float> x;
    for (const float v : dense_.host<float>()) x.push_back(static_cast<float>(of(v)));
    return {models::NodeFeatures(Tensor::from(x, {nodes_, features_}, device)), 0};
  }
  std::vector<float> scaled(at(rows_.nnz()), static_cast<float>(1 / deviation_));
  if (rows_.values.defined()) {
    const auto stored = rows_.values.values<float>();
    for (size_t e = 0; e < scaled.size(); ++e)
      scaled[e] = static_cast<float>(stored[e] / deviation_);
  }
  CsrMatrix x = rows_.with_values(Tensor::from(scaled, {rows_.nnz()}, Device::cpu()));
  return {models::NodeFeatures(x.to(device)), of(0)};
}

}  // namespace tessera::algorithms::gfs
