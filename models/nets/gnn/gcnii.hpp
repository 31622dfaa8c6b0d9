#pragma once

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// GCNII (Chen et al. 2020): H = relu(((1 - a) A_s H + a H0) ((1 - b_l) I + b_l W_l)) for the
/// layers l = 1, 2, .. with b_l = log(theta / l + 1), between linear layers.
struct Gcnii {
  GraphLinear input, output;
  std::vector<GraphLinear> layers;  // no bias
  double alpha = 0.1, theta = 0.5, dropout = 0;

  struct Options {
    int64_t layers = 8, hidden = 64;
    double alpha = 0.1, theta = 0.5, dropout = 0.5;
  };
  static Gcnii make(int64_t features, int64_t classes, const Options& options, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("input", self.input);
    f("layers", self.layers);
    f("output", self.output);
  }
};

}  // namespace tessera::models
