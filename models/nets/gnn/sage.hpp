#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// GraphSAGE with the mean of neighbours (Hamilton et al. 2017): W1 x_i + W2 mean_j x_j + b per
/// layer, relu between them, dropout on the input of each.
struct Sage {
  struct Layer {
    GraphLinear self;
    GraphLinear neighbours;  // no bias

    static void visit(auto& self, auto&& f) {
      f("self", self.self);
      f("neighbours", self.neighbours);
    }
  };
  std::vector<Layer> layers;
  double dropout = 0;

  /// widths: features, hidden..., classes.
  static Sage make(const std::vector<int64_t>& widths, double dropout, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) { f("layers", self.layers); }
};

}  // namespace tessera::models
