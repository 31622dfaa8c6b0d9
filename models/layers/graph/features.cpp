#include "tessera/models/layers/graph/features.hpp"

#include <cmath>
#include <utility>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::models {
namespace {

constexpr std::string_view scaling_names[] = {"raw", "row", "column"};

/// Calls f(node, feature, value) for the stored features, in order of nodes.
template <class F>
void each_feature(const GraphData& graph, F&& f) {
  const auto width = static_cast<size_t>(graph.features());
  if (graph.dense_features.defined()) {
    const auto x = graph.dense_features.host<float>();
    for (size_t i = 0; i < x.size(); ++i) f(i / width, i % width, x[i]);
    return;
  }
  const CsrMatrix& x = graph.sparse_features;
  const auto row_ptr = x.row_ptr.host<int32_t>(), col = x.col.host<int32_t>();
  const auto values = x.values.defined() ? x.values.host<float>() : std::span<const float>{};
  for (size_t node = 0; node + 1 < row_ptr.size(); ++node)
    for (auto e = static_cast<size_t>(row_ptr[node]); e < static_cast<size_t>(row_ptr[node + 1]);
         ++e)
      f(node, static_cast<size_t>(col[e]), values.empty() ? 1.0f : values[e]);
}

struct Standardization {
  std::vector<double> mean, inverse_deviation;
};

/// Of each column over all nodes. Throws where a sparse matrix has an entry twice.
Standardization standardization(const GraphData& graph) {
  const auto width = static_cast<size_t>(graph.features());
  const auto nodes = static_cast<double>(graph.nodes);
  std::vector<double> mean(width), squares(width), stored(width);
  std::vector<int64_t> last(width, -1);
  each_feature(graph, [&](size_t, size_t f, float x) { mean[f] += x / nodes; });
  each_feature(graph, [&](size_t node, size_t f, float x) {
    TS_CHECK(std::exchange(last[f], static_cast<int64_t>(node)) != static_cast<int64_t>(node),
             "graph ", graph.name, ": feature ", f, " of node ", node, " is there twice");
    squares[f] += (x - mean[f]) * (x - mean[f]);
    ++stored[f];
  });
  Standardization found{std::move(mean), std::vector<double>(width)};
  for (size_t f = 0; f < width; ++f) {
    squares[f] += (nodes - stored[f]) * found.mean[f] * found.mean[f];  // of the zeros not stored
    const double deviation = std::sqrt(squares[f] / std::max(nodes - 1, 1.0));
    // Rounding leaves a trace of a deviation where there is none.
    if (deviation > 1e-7 * std::abs(found.mean[f])) found.inverse_deviation[f] = 1 / deviation;
  }
  return found;
}

}  // namespace

std::string_view to_string(FeatureScaling scaling) {
  return scaling_names[static_cast<int>(scaling)];
}
void parse(std::string_view text, FeatureScaling& scaling) {
  parse_enum(text, scaling_names, scaling);
}

NodeFeatures node_features(const GraphData& graph, FeatureScaling scaling, Device device) {
  TS_CHECK(graph.has_features() && graph.features() >= 1, "graph ", graph.name,
           " has no node features: expected an array 'x', or 'x_shape', 'x_indptr' and "
           "'x_indices'");
  each_feature(graph, [&](size_t node, size_t feature, float x) {
    TS_CHECK(std::isfinite(x), "graph ", graph.name, ": feature ", feature, " of node ", node,
             " is ", x);
  });
  GraphData scaled = graph;  // shares memory
  if (scaling == FeatureScaling::row) normalize_feature_rows(scaled);
  if (scaling != FeatureScaling::column) {
    if (scaled.dense_features.defined()) return NodeFeatures(scaled.dense_features.to(device));
    return NodeFeatures(scaled.sparse_features.to(device));
  }
  const Standardization to = standardization(graph);
  std::vector<float> values;
  if (graph.dense_features.defined()) {
    each_feature(graph, [&](size_t, size_t f, float x) {
      values.push_back(static_cast<float>((x - to.mean[f]) * to.inverse_deviation[f]));
    });
    return NodeFeatures(Tensor::from(values, graph.dense_features.shape(), device));
  }
  each_feature(graph, [&](size_t, size_t f, float x) {
    values.push_back(static_cast<float>(x * to.inverse_deviation[f]));
  });
  std::vector<float> shift;
  shift.reserve(to.mean.size());
  for (size_t f = 0; f < to.mean.size(); ++f)
    shift.push_back(static_cast<float>(-to.mean[f] * to.inverse_deviation[f]));
  const CsrMatrix& x = graph.sparse_features;
  return NodeFeatures(x.with_values(Tensor::from(values, {x.nnz()}, Device::cpu())).to(device),
                      Tensor::from(shift, {graph.features()}, device));
}

NodeFeatures::NodeFeatures(CsrMatrix sparse, Tensor shift) : shift_(std::move(shift)) {
  TS_CHECK(!shift_.defined() || (shift_.rank() == 1 && shift_.size(0) == sparse.cols),
           "NodeFeatures: shift ", shift_, " of ", sparse);
  if (!sparse.values.defined())
    sparse = sparse.with_values(autograd::full({sparse.nnz()}, 1.0, DType::f32, sparse.device()));
  sparse_.emplace(std::move(sparse));
}

int64_t NodeFeatures::nodes() const { return sparse_ ? sparse_->rows() : dense_.size(0); }
int64_t NodeFeatures::width() const { return sparse_ ? sparse_->columns() : dense_.size(1); }

Var NodeFeatures::times(const Var& weight, double dropout, ForwardContext& context) const {
  Var y = product(weight, dropout, context);
  if (!shift_.defined()) return y;
  const Shape out(std::span(weight.shape().begin() + 1, weight.shape().end()));
  const Var of_shift =
      autograd::matmul(Var(autograd::convert(shift_, weight.dtype()).reshape({1, width()})),
                       autograd::reshape(weight, {width(), out.numel()}));
  return y + autograd::reshape(of_shift, out);
}

Var NodeFeatures::product(const Var& weight, double dropout, ForwardContext& context) const {
  const bool drops = context.training && dropout > 0;
  const int64_t runs = context.runs;
  if (drops && runs > 1) {  // every run sees other entries
    if (!sparse_)
      return models::times(
          drop(autograd::broadcast_to(autograd::unsqueeze(dense_, 1), {nodes(), runs, width()}),
               dropout, context),
          weight);
    const int64_t entries = sparse_->entries();
    const Var values = autograd::reshape(sparse_->matrix().values, {entries, 1, 1});
    const Var kept = drop(autograd::broadcast_to(values, {entries, runs, 1}), dropout, context);
    return autograd::spmm(*sparse_, autograd::reshape(kept, {entries, runs}), weight);
  }
  // One product for all runs: their weights lie side by side.
  const Var flat = runs > 0 ? autograd::reshape(weight, {width(), runs * weight.size(-1)}) : weight;
  const auto kept = [&](const Var& x) {
    return drops ? autograd::dropout(x, dropout, context.rng.take(x.numel())) : x;
  };
  Var y;
  if (sparse_ && drops)
    y = autograd::spmm(*sparse_, kept(sparse_->matrix().values), flat);
  else if (sparse_)
    y = autograd::spmm(*sparse_, flat);
  else
    y = autograd::matmul(kept(dense_), flat);
  return runs > 0 ? autograd::reshape(y, {nodes(), runs, weight.size(-1)}) : y;
}

}  // namespace tessera::models
