#pragma once

#include "tessera/models/layers/graph/conv.hpp"

/// Attention over the neighbours of each node. Heads lie one after another: channel c of head h is
/// column h * (width / heads) + c.
namespace tessera::models {

struct AttendOptions {
  int64_t heads = 1;
  double slope = 0.2;  // of leaky_relu
  double dropout = 0;
  Tensor entry_weights{};  // [entries, 1], of x's dtype: each a_ij is multiplied by its own
};
/// y_i = sum over the entries (i, j) of the pattern of a_ij x_j per head, with a_i =
/// softmax_j(leaky_relu(target_i + source_j)) and, in training, dropout of the a_ij (Velickovic et
/// al. 2018). x [n, heads * channels]; target, source [n, heads].
Var attend(const autograd::SparseMatrix& pattern, const Var& x, const Var& target,
           const Var& source, const AttendOptions& options, ForwardContext& context);

/// x [.., heads * channels] as [.., heads, channels].
Var split_heads(const Var& x, int64_t heads);

/// `attend` with target = x W_t and source = x W_s + b, which every head reads all channels for
/// (Platonov et al. 2023). W [heads * channels, heads].
struct EdgeAttention {
  GraphLinear source;  // of the node that is attended to
  GraphLinear target;  // of the node that attends; no bias
  AttendOptions options;

  static EdgeAttention make(int64_t width, int64_t heads, Rng& rng);
  /// Edge (i, j) is entry (i, j) of the pattern.
  Var operator()(const autograd::SparseMatrix& pattern, const Var& x,
                 ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("source", self.source);
    f("target", self.target);
  }
};

/// The same with a_i = softmax_j(q_i . k_j / sqrt(channels)) and y_i = sum a_ij v_j: a transformer
/// on the edges.
struct EdgeDotAttention {
  GraphLinear query, key, value;
  int64_t heads = 1;

  static EdgeDotAttention make(int64_t width, int64_t heads, Rng& rng);
  Var operator()(const autograd::SparseMatrix& pattern, const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("query", self.query);
    f("key", self.key);
    f("value", self.value);
  }
};

}  // namespace tessera::models
