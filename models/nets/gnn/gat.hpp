#pragma once

#include "tessera/models/layers/graph/attention.hpp"

namespace tessera::models {

/// Graph attention network (Velickovic et al. 2018): layers of x W followed by attention over the
/// neighbours and the node itself, elu between them; heads are concatenated, in the last layer
/// averaged. Dropout on the input of each layer and on attention weights.
struct Gat {
  struct Layer {
    GraphLinear value;   // no bias: that is added after attention
    Var target, source;  // [heads * channels]: every head's vectors
    Var bias;

    static void visit(auto& self, auto&& f) {
      f("value", self.value);
      f("target", self.target);
      f("source", self.source);
      f("bias", self.bias);
    }
  };
  std::vector<Layer> layers;
  int64_t heads = 8;
  double dropout = 0;

  /// `hidden`: width of one head.
  static Gat make(int64_t features, int64_t hidden, int64_t classes, int64_t layers, int64_t heads,
                  double dropout, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) { f("layers", self.layers); }
};

}  // namespace tessera::models
