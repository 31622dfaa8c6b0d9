#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// GloGNN (Li et al. 2022): every node aggregates from all others, with coefficients that have a
/// closed form and are never written down. With H_0 = MLP(delta X W_X + (1 - delta) A W_A) and c =
/// 1 / (alpha + beta), s = 1 - gamma, each of `rounds` computes
///   Q = s c H - s c^2 H (I / s^2 + c H'H)^-1 H'H                    (Woodbury, classes x classes)
///   H = s H (H'Q) + beta sum over k of w_k A_s^k Q - gamma s H_0 (H'Q) + gamma H_0,
/// k = 1 .. orders, trainable w, A_s = D~^-1/2 (A + I) D~^-1/2.
struct GloGnn {
  GraphLinear structure;  // [nodes, hidden]: A W + b
  GraphLinear features;   // [features, hidden]
  GraphLinear output;     // [hidden, classes]
  Var order_weights;      // [orders]
  double alpha = 1, beta = 1, gamma = 0.5, delta = 0.5;
  int64_t rounds = 2;
  double dropout = 0;

  struct Options {
    int64_t hidden = 64, rounds = 2, orders = 2;
    double alpha = 1, beta = 1;  // what the coefficients' norm and distance to A^k weigh; sum > 0
    double gamma = 0.5;          // share of H_0, in [0, 1)
    double delta = 0.5;          // of the features, against the graph
    double dropout = 0.5;
  };
  static GloGnn make(int64_t nodes, int64_t features, int64_t classes, const Options& options,
                     Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("structure", self.structure);
    f("features", self.features);
    f("output", self.output);
    f("order_weights", self.order_weights);
  }
};

}  // namespace tessera::models
