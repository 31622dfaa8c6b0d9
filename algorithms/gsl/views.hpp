#pragma once

#include <optional>
#include <string_view>

#include "tessera/algorithms/gsl/learning.hpp"
#include "tessera/models/nets/gnn/network.hpp"

/// Networks that see a graph A, a learned structure A', or both.
namespace tessera::algorithms::gsl {

enum class Backbone : uint8_t { gcn, sage, gat, sgc };
std::string_view to_string(Backbone backbone);
void parse(std::string_view text, Backbone& backbone);

/// What a network sees, and where two views are fused. `shared` views have one set of parameters,
/// the others two.
enum class Fusion : uint8_t {
  none,            // no edges: an MLP
  original,        // A alone
  structure,       // A' alone
  merged,          // early: the edges of either, as one graph
  layers,          // early: each layer adds its convolutions of both graphs
  layers_shared,   // the same
  outputs,         // late: the outputs of two networks are added
  outputs_shared,  // the same
};
std::string_view to_string(Fusion fusion);
void parse(std::string_view text, Fusion& fusion);
/// Whether A' has a part in it.
bool uses_structure(Fusion fusion);

/// The graphs of one node set. `structure` and `merged` may be absent where no network asks.
struct Views {
  models::GraphOperators original;
  std::optional<models::GraphOperators> structure, merged;
};
Views views_of(const Problem& problem);
Views views_of(const Problem& problem, const CsrMatrix& structure);

/// What a layer reads: the features, or what the layer before it gave.
struct LayerInput {
  const models::NodeFeatures* features = nullptr;
  Var hidden = {};
};
/// Layers of the backbones, and of the mlp: one each of gcn, sage, gat and mlp, one per step of
/// sgc, whose first has the linear map.
int64_t layer_count(const models::GraphNetwork& network);
/// What layer i makes of the graph: before the activation, [nodes, width] or [nodes, runs, width].
/// Networks that are no backbone throw.
Var layer(const models::GraphNetwork& network, int64_t i, const models::GraphOperators& graph,
          const LayerInput& input, ForwardContext& context);
/// Between layers: relu, for gat elu, and dropout; of sgc the identity.
Var between_layers(const models::GraphNetwork& network, const Var& x, ForwardContext& context);

/// The activations that the last layer reads, without dropout.
Var representation(const models::GraphNetwork& network, const models::GraphOperators& graph,
                   const models::NodeFeatures& x, ForwardContext& context);

/// A backbone on one or two views: y(A) + weight y'(A') where two are fused, y a layer or the whole
/// network.
struct FusedNetwork {
  models::GraphNetwork first;                // of A, of both, or of the only view
  std::vector<models::GraphNetwork> second;  // of A', with parameters of its own: one, or none
  Fusion fusion = Fusion::original;
  double weight = 1;  // of A'

  static FusedNetwork make(Backbone backbone, Fusion fusion, double weight, int64_t nodes,
                           int64_t width, int64_t classes, const LearningOptions& options,
                           Rng& rng);
  /// Logits.
  Var operator()(const Views& views, const models::NodeFeatures& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("first", self.first);
    f("second", self.second);
  }
};

}  // namespace tessera::algorithms::gsl
