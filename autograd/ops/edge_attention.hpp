#pragma once

#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/runtime/rng.hpp"

namespace tessera::autograd {

struct EdgeAttentionOptions {
  double slope = 0.2;     // of leaky_relu
  double dropout = 0;     // of the weights, made again from `rng` in the gradient
  int64_t sequences = 1;  // the heads, in so many equal groups, are dropped as by `dropout`
  RngState rng = {};      // entries * heads / sequences numbers
};

/// y[i, h] = sum over the entries (i, j) of the pattern of w_ij^h x[j, h], w^h = softmax over each
/// row of leaky_relu(target[i, h] + source[j, h]) (Velickovic et al. 2018), without storing
/// anything per entry: memory is that of the operands and one number per row and head. target
/// [rows, heads], source [columns, heads], x [columns, heads, width]; y [rows, heads, width]. A row
/// without entries gives 0. Higher derivatives go through the separate steps.
Var edge_attention(const SparseMatrix& pattern, const Var& target, const Var& source, const Var& x,
                   const EdgeAttentionOptions& options = {});

}  // namespace tessera::autograd
