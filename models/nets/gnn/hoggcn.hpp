#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// HOG-GCN (Wang et al. 2022): edges count by how likely they join nodes of one class. An MLP gives
/// soft labels, propagated once over learned edge weights; an edge's homophily degree is
///   H_ij = soft_share B_i . B_j + M_ij,  M = softmax over each row of a trainable number per entry
///   B = M softmax(MLP(X)),
/// on the entries of A + I, and layers compute y = x W + neighbours D_H^-1 H (x W'), D_H the row
/// sums of H. The MLP and the propagated labels are trained on the labelled nodes as well
/// (`auxiliary`).
struct HogGcn {
  GraphLinear soft_first, soft_second;  // the MLP
  Var mask;                             // [entries of A + I, 1]
  struct Layer {
    GraphLinear self, neighbours;  // the second without a bias

    static void visit(auto& self_, auto&& f) {
      f("self", self_.self);
      f("neighbours", self_.neighbours);
    }
  };
  std::vector<Layer> layers;
  double soft_share = 0.4, neighbours = 1, dropout = 0;

  struct Options {
    int64_t hidden = 64, layers = 2;
    double soft_share = 0.4, neighbours = 1;
    double dropout = 0.5;
  };
  static HogGcn make(const GraphOperators& graph, int64_t features, int64_t classes,
                     const Options& options, Rng& rng);
  /// Logits [nodes, classes]. Where `auxiliary` is given, it receives two more: those of the MLP
  /// and the logarithms of B.
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context,
                 Vars* auxiliary = nullptr) const;

  static void visit(auto& self, auto&& f) {
    f("soft_first", self.soft_first);
    f("soft_second", self.soft_second);
    f("mask", self.mask);
    f("layers", self.layers);
  }
};

}  // namespace tessera::models
