#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// Adaptive channel mixing (Luan et al. 2022): layers of AcmConv with relu and dropout between
/// them. ACM-GCN, ACMII-GCN, ACM-GCN+ and, with a residual MLP of X, ACM-GCN++.
struct AcmGcn {
  std::vector<AcmConv> layers;
  GraphLinear residual_first, residual_second;  // of ACM-GCN++
  double dropout = 0;

  struct Options {
    int64_t layers = 2, hidden = 64;
    double dropout = 0.5;
    bool relu_first = false;      // ACMII
    bool plus = false;            // ACM-GCN+: normalised channels
    int64_t structure_nodes = 0;  // ACM-GCN+: a channel of the adjacency itself, for so many nodes
    bool residual = false;        // ACM-GCN++
  };
  static AcmGcn make(int64_t features, int64_t classes, const Options& options, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("layers", self.layers);
    f("residual_first", self.residual_first);
    f("residual_second", self.residual_second);
  }
};

}  // namespace tessera::models
