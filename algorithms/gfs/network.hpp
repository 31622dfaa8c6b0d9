#pragma once

#include "tessera/algorithms/gfs/features.hpp"
#include "tessera/algorithms/gfs/tfi.hpp"
#include "tessera/models/nets/gnn/trunk.hpp"

/// Graph feature selection: a graph network sees the features that aggregation makes use of, an MLP
/// the others.
namespace tessera::algorithms::gfs {

using models::ForwardContext;
using models::Var;

struct NetworkOptions {
  models::TrunkModule module = models::TrunkModule::gcn;
  int64_t layers = 2;      // of the trunk with edges
  int64_t mlp_layers = 3;  // of the trunk without
  int64_t hidden = 512;    // of both
  int64_t heads = 8;
  double dropout = 0.2;
};

/// x_S W + b for the features S: weight [features, width], whose other rows take no part, so that
/// runs with other features can stand beside each other (models/runs.hpp).
struct SelectedLinear {
  Var weight, bias;
  Tensor mask;  // [features, 1]: 1 for those in S

  /// From a layer [number of features in S, width].
  static SelectedLinear spread(const models::GraphLinear& layer, std::span<const int64_t> selected,
                               int64_t features);
  Var operator()(const StandardFeatures::Input& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
    f("mask", self.mask);
  }
};

/// logits = [h_G, h_notG] W + b with h_G = trunk(x_G), h_notG = MLP trunk(x_notG), each normalised
/// at its end. A trunk without features is left out: all features to one trunk make the plain
/// network, or the plain MLP. Any module of models/nets/gnn/trunk.hpp; all have self-loops.
struct Network {
  SelectedLinear gnn_input, mlp_input;
  models::ResidualTrunk gnn, mlp;  // without first and last layer
  models::GraphLinear output;

  static Network make(const Selection& selection, int64_t outputs, const NetworkOptions& options,
                      Rng& rng);
  /// [nodes, outputs]
  Var operator()(const models::GraphOperators& graph, const StandardFeatures::Input& x,
                 ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("gnn_input", self.gnn_input);
    f("gnn", self.gnn);
    f("mlp_input", self.mlp_input);
    f("mlp", self.mlp);
    f("output", self.output);
  }
};

}  // namespace tessera::algorithms::gfs
