#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// LINKX (Lim et al. 2021): h_A = MLP(A), h_X = MLP(X); h = relu(W [h_A, h_X] + h_A + h_X); logits
/// = MLP(h). A is the adjacency itself, whose product with a weight is a sparse one.
struct Linkx {
  GraphLinear structure;          // [nodes, hidden]: A W + b
  GraphLinear features;           // [features, hidden]
  GraphLinear mix;                // [2 hidden, hidden]
  std::vector<GraphLinear> head;  // hidden layers and the last
  double dropout = 0;

  struct Options {
    int64_t hidden = 64, layers = 2;  // layers of the last MLP
    double dropout = 0.5;
  };
  static Linkx make(int64_t nodes, int64_t features, int64_t classes, const Options& options,
                    Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("structure", self.structure);
    f("features", self.features);
    f("mix", self.mix);
    f("head", self.head);
  }
};

}  // namespace tessera::models
