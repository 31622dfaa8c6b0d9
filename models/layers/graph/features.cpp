#include "tessera/models/layers/graph/features.hpp"

#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

NodeFeatures::NodeFeatures(CsrMatrix sparse) {
  if (!sparse.values.defined())
    sparse = sparse.with_values(autograd::full({sparse.nnz()}, 1.0, DType::f32, sparse.device()));
  sparse_.emplace(std::move(sparse));
}

int64_t NodeFeatures::nodes() const { return sparse_ ? sparse_->rows() : dense_.size(0); }
int64_t NodeFeatures::width() const { return sparse_ ? sparse_->columns() : dense_.size(1); }

Var NodeFeatures::times(const Var& weight, double dropout, ForwardContext& context) const {
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
