#pragma once

#include <optional>

#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/models/module.hpp"
#include "tessera/runtime/csr.hpp"

namespace tessera::models {

/// D^-1/2 (A + I) D^-1/2 of a square 0/1 or weighted adjacency matrix, D the row sums of A + I
/// (Kipf and Welling 2017, eq. 2). Host; f32 values. Symmetric if A is.
CsrMatrix symmetric_normalized(const CsrMatrix& adjacency, bool add_self_loops = true);
/// D^-1 A, or D^-1 (A + I). Rows without entries stay empty.
CsrMatrix row_normalized(const CsrMatrix& matrix, bool add_self_loops = false);

/// The input of a graph network: one row per node, dense or sparse (bag of words).
class NodeFeatures {
 public:
  explicit NodeFeatures(Tensor dense) : dense_(std::move(dense)) {}
  explicit NodeFeatures(CsrMatrix sparse);

  int64_t nodes() const;
  int64_t width() const;
  bool sparse() const { return sparse_.has_value(); }

  /// x w with dropout of x's entries in training; w [width, out]. Sparse features cost by their
  /// entries and drop only those: zeros stay zeros either way.
  Var times(const Var& weight, double dropout, ForwardContext& context) const;

 private:
  Tensor dense_;
  std::optional<autograd::SparseMatrix> sparse_;
};

/// A_hat X W + b (Kipf and Welling 2017). weight [in, out], bias [out] or undefined.
struct GraphConv {
  Var weight, bias;

  /// Glorot uniform weight, zero bias.
  static GraphConv make(int64_t in, int64_t out, Rng& rng, bool with_bias = true);
  Var operator()(const autograd::SparseMatrix& adjacency, const Var& x) const;
  Var operator()(const autograd::SparseMatrix& adjacency, const NodeFeatures& x, double dropout,
                 ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

}  // namespace tessera::models
