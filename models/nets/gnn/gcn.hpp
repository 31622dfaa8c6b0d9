#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// The graph convolutional network of Kipf and Welling (2017): A_hat relu(... relu(A_hat X W0 + b0)
/// ...) W + b with dropout on the input of every layer. Without propagation, A_hat = I: an MLP.
struct Gcn {
  std::vector<GraphLinear> layers;
  double dropout = 0.5;
  bool propagates = true;

  /// widths: features, hidden..., classes.
  static Gcn make(const std::vector<int64_t>& widths, double dropout, Rng& rng,
                  bool propagates = true);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) { f("layers", self.layers); }
};

}  // namespace tessera::models
