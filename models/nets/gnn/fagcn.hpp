#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// FAGCN (Bo et al. 2021): h0 = relu(X W); h = eps h0 + sum over neighbours j of
/// tanh(g . [h_i, h_j] + c) / sqrt(d_i d_j) h_j with dropout on the coefficients; then linear.
struct FaGcn {
  struct Layer {
    GraphLinear self;       // [hidden, 1], with c
    GraphLinear neighbour;  // [hidden, 1], no bias

    static Layer make(int64_t hidden, Rng& rng);
    /// tanh(g . [h_i, h_j] + c) of every entry (i, j) of the pattern, times its `scale` ([entries,
    /// 1]) where that is given, with dropout in training: [entries, runs], or [entries, 1].
    Var gates(const autograd::SparseMatrix& pattern, const Var& h, const Tensor& scale,
              double dropout, ForwardContext& context) const;

    static void visit(auto& self, auto&& f) {
      f("self", self.self);
      f("neighbour", self.neighbour);
    }
  };
  GraphLinear input, output;
  std::vector<Layer> layers;
  double epsilon = 0.3, dropout = 0;

  struct Options {
    int64_t layers = 2, hidden = 64;
    double epsilon = 0.3, dropout = 0.5;
  };
  static FaGcn make(int64_t features, int64_t classes, const Options& options, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("input", self.input);
    f("layers", self.layers);
    f("output", self.output);
  }
};

}  // namespace tessera::models
