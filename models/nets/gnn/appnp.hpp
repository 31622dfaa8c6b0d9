#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// Predict then propagate (Gasteiger et al. 2019, APPNP): H0 = MLP(X), two layers with relu;
/// H = (1 - teleport) A_s H + teleport H0, `steps` times. Dropout on the input of each linear
/// layer.
struct Appnp {
  GraphLinear first, second;
  int64_t steps = 10;
  double teleport = 0.1, dropout = 0;

  struct Options {
    int64_t hidden = 64, steps = 10;
    double teleport = 0.1, dropout = 0.5;
  };
  static Appnp make(int64_t features, int64_t classes, const Options& options, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("first", self.first);
    f("second", self.second);
  }
};

/// Generalised PageRank (Chien et al. 2021, GPRGNN): H0 as above; logits = sum over k from 0 to
/// steps of gamma_k A_s^k H0 with gamma trained, from gamma_k = a (1 - a)^k and gamma_steps = (1 -
/// a)^steps for the teleport a. A further dropout before propagation.
struct GprGnn {
  GraphLinear first, second;
  Var gamma;  // [steps + 1]
  double dropout = 0, propagation_dropout = 0;

  struct Options {
    int64_t hidden = 64, steps = 10;
    double teleport = 0.1, dropout = 0.5, propagation_dropout = 0.5;
  };
  static GprGnn make(int64_t features, int64_t classes, const Options& options, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("first", self.first);
    f("second", self.second);
    f("gamma", self.gamma);
  }
};

}  // namespace tessera::models
