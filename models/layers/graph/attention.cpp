#include "tessera/models/layers/graph/attention.hpp"

#include <cmath>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/edge_attention.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {
namespace {

void check_heads(int64_t width, int64_t heads) {
  TS_CHECK(heads > 0 && width % heads == 0, "attention: width ", width, " does not split into ",
           heads, " heads");
}

int64_t all_heads(const Var& x, int64_t heads) { return x.rank() == 3 ? x.size(1) * heads : heads; }

/// [n, heads of all runs, channels]
Var by_head(const Var& x, int64_t heads) {
  return autograd::reshape(x, {x.size(0), all_heads(x, heads), x.size(-1) / heads});
}
/// [n, heads of all runs] of [n, heads] or [n, runs, heads]
Var joined(const Var& x) { return x.rank() == 3 ? autograd::flatten(x, 1) : x; }

}  // namespace

Var attend(const autograd::SparseMatrix& pattern, const Var& x, const Var& target,
           const Var& source, const AttendOptions& options, ForwardContext& context) {
  const int64_t runs = std::max<int64_t>(context.runs, 1);
  if (!options.entry_weights.defined()) {
    autograd::EdgeAttentionOptions fused{.slope = options.slope, .sequences = runs};
    if (context.training && options.dropout > 0) {
      fused.dropout = options.dropout;
      fused.rng = context.rng.take(pattern.entries() * options.heads);
    }
    return autograd::reshape(autograd::edge_attention(pattern, joined(target), joined(source),
                                                      by_head(x, options.heads), fused),
                             x.shape());
  }
  const Var scores = autograd::edge_add(pattern, joined(target), joined(source));
  Var weights = autograd::edge_softmax(pattern, autograd::leaky_relu(scores, options.slope));
  const Var of_runs =
      autograd::reshape(weights * options.entry_weights, {pattern.entries(), runs, options.heads});
  weights = autograd::reshape(drop(of_runs, options.dropout, context), weights.shape());
  return autograd::reshape(autograd::spmm(pattern, weights, by_head(x, options.heads)), x.shape());
}

Var split_heads(const Var& x, int64_t heads) {
  check_heads(x.size(-1), heads);
  Shape shape = x.shape();
  shape[x.rank() - 1] = heads;
  shape.push_back(x.size(-1) / heads);
  return autograd::reshape(x, shape);
}

EdgeAttention EdgeAttention::make(int64_t width, int64_t heads, Rng& rng) {
  check_heads(width, heads);
  EdgeAttention layer;
  layer.source = GraphLinear::make(width, heads, rng);
  layer.target = GraphLinear::make(width, heads, rng, false);
  layer.options.heads = heads;
  return layer;
}

Var EdgeAttention::operator()(const autograd::SparseMatrix& pattern, const Var& x,
                              ForwardContext& context) const {
  return attend(pattern, x, target(x), source(x), options, context);
}

EdgeDotAttention EdgeDotAttention::make(int64_t width, int64_t heads, Rng& rng) {
  check_heads(width, heads);
  EdgeDotAttention layer;
  layer.query = GraphLinear::make(width, width, rng);
  layer.key = GraphLinear::make(width, width, rng);
  layer.value = GraphLinear::make(width, width, rng);
  layer.heads = heads;
  return layer;
}

Var EdgeDotAttention::operator()(const autograd::SparseMatrix& pattern, const Var& x) const {
  const double scale = 1 / std::sqrt(static_cast<double>(x.size(-1) / heads));
  const Var scores =
      autograd::sddmm(pattern, by_head(query(x), heads), by_head(key(x), heads)) * scale;
  const Var weights = autograd::edge_softmax(pattern, scores);
  return autograd::reshape(autograd::spmm(pattern, weights, by_head(value(x), heads)), x.shape());
}

}  // namespace tessera::models
