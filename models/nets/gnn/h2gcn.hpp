#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// H2GCN (Zhu et al. 2020): x0 = relu(X W); each round x_{r+1} = [A1 x_r, A2 x_r] with the graph of
/// neighbours and that of strict two-hop neighbours, both normalised symmetrically and without
/// self-loops; logits = dropout([x0, x1, ..]) W' + b'.
struct H2Gcn {
  GraphLinear input;  // no bias
  GraphLinear output;
  int64_t rounds = 2;
  double dropout = 0;

  static H2Gcn make(int64_t features, int64_t hidden, int64_t classes, int64_t rounds,
                    double dropout, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("input", self.input);
    f("output", self.output);
  }
};

}  // namespace tessera::models
