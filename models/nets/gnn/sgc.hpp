#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// Simple graph convolution (Wu et al. 2019): A_s^steps (X W + b), A_s with self-loops.
struct Sgc {
  GraphLinear linear;
  int64_t steps = 2;
  double dropout = 0;

  static Sgc make(int64_t features, int64_t classes, int64_t steps, double dropout, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) { f("linear", self.linear); }
};

}  // namespace tessera::models
