#pragma once

#include "tessera/models/layers/graph/attention.hpp"

namespace tessera::models {

/// WRGAT (Suresh et al. 2021): attention over several graphs on the same nodes, the relations:
/// the graph itself with weights 1, and for each radius the structural proximities of
/// `GraphOperators::structural`. A layer is
///   y_i = x_i W + b + sum over relations r of sum_j a_ij^r w_ij^r (x W_r)_j,
/// a^r the softmax over the neighbours of i in relation r of leaky_relu(target_r + source_r); heads
/// as in `Gat`, relu between layers.
struct Wrgat {
  struct Relation {
    GraphLinear value;   // no bias
    Var target, source;  // [heads * channels]: every head's vectors

    static void visit(auto& self, auto&& f) {
      f("value", self.value);
      f("target", self.target);
      f("source", self.source);
    }
  };
  struct Layer {
    GraphLinear root;
    std::vector<Relation> relations;  // the graph, then radius 0, 1, ...

    static void visit(auto& self, auto&& f) {
      f("root", self.root);
      f("relations", self.relations);
    }
  };
  std::vector<Layer> layers;
  int64_t heads = 1;
  double dropout = 0;

  struct Options {
    int64_t hidden = 64;  // width of one head
    int64_t layers = 2, heads = 1;
    int64_t radii = 2;  // of structural proximity
    double dropout = 0.5;
  };
  static Wrgat make(int64_t features, int64_t classes, const Options& options, Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) { f("layers", self.layers); }
};

}  // namespace tessera::models
