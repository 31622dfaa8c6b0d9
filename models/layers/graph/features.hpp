#pragma once

#include <optional>

#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/models/module.hpp"

namespace tessera::models {

/// The input of a graph network: one row per node, dense or sparse (bag of words).
class NodeFeatures {
 public:
  explicit NodeFeatures(Tensor dense) : dense_(std::move(dense)) {}
  explicit NodeFeatures(CsrMatrix sparse);

  int64_t nodes() const;
  int64_t width() const;
  bool sparse() const { return sparse_.has_value(); }

  /// x w with dropout of x's entries in training; w [width, out], or [width, runs, out] for
  /// context.runs of them, each with a dropout of its own. Sparse features cost by their entries
  /// and drop only those: zeros stay zeros either way.
  Var times(const Var& weight, double dropout, ForwardContext& context) const;

 private:
  Tensor dense_;
  std::optional<autograd::SparseMatrix> sparse_;
};

}  // namespace tessera::models
