#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// MixHop (Abu-El-Haija et al. 2019): each layer concatenates A_s^k x W_k for k = 0, 1, 2; relu and
/// dropout between layers, a linear layer at the end.
struct MixHop {
  static constexpr int powers = 3;
  struct Layer {
    std::vector<GraphLinear> hops;  // one for each power of A_s

    static void visit(auto& self, auto&& f) { f("hops", self.hops); }
  };
  std::vector<Layer> layers;
  GraphLinear output;
  double dropout = 0;

  /// `hidden`: width of one power.
  static MixHop make(int64_t features, int64_t hidden, int64_t classes, int64_t layers,
                     double dropout, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("layers", self.layers);
    f("output", self.output);
  }
};

}  // namespace tessera::models
