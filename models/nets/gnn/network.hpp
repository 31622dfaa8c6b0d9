#pragma once

#include <string_view>
#include <variant>

#include "tessera/models/nets/gnn/acm.hpp"
#include "tessera/models/nets/gnn/appnp.hpp"
#include "tessera/models/nets/gnn/fagcn.hpp"
#include "tessera/models/nets/gnn/gat.hpp"
#include "tessera/models/nets/gnn/gcn.hpp"
#include "tessera/models/nets/gnn/gcnii.hpp"
#include "tessera/models/nets/gnn/glognn.hpp"
#include "tessera/models/nets/gnn/h2gcn.hpp"
#include "tessera/models/nets/gnn/hoggcn.hpp"
#include "tessera/models/nets/gnn/linkx.hpp"
#include "tessera/models/nets/gnn/mixhop.hpp"
#include "tessera/models/nets/gnn/sage.hpp"
#include "tessera/models/nets/gnn/sgc.hpp"
#include "tessera/models/nets/gnn/trunk.hpp"
#include "tessera/models/nets/gnn/wrgat.hpp"
#include "tessera/runtime/config.hpp"

/// The graph networks of this library by name, for experiments that let their users choose.
namespace tessera::models {

enum class GraphNetworkKind : uint8_t {
  mlp,
  gcn,
  sgc,
  gat,
  sage,
  mixhop,
  appnp,
  gprgnn,
  gcnii,
  h2gcn,
  fagcn,
  acm_gcn,
  acmii_gcn,
  acm_gcn_plus,
  acm_gcn_plus_plus,
  linkx,
  wrgat,
  glognn,
  hoggcn,
  trunk,
};
std::string_view to_string(GraphNetworkKind kind);
void parse(std::string_view text, GraphNetworkKind& kind);

struct GraphNetworkOptions {
  GraphNetworkKind model = GraphNetworkKind::gcn;
  int64_t layers = 2;
  int64_t hidden = 16;
  double dropout = 0.5;
  int64_t heads = 8;
  int64_t steps = 2;
  double teleport = 0.1;
  double alpha = 0.1, theta = 0.5;
  double epsilon = 0.3;
  int64_t radii = 2;
  int64_t orders = 2;
  double coefficients = 1, near = 1, start = 0.5, of_features = 0.5;
  double soft_share = 0.4, auxiliary = 1;
  TrunkModule module = TrunkModule::gcn;

  static void visit(auto& self, auto&& f) {
    f("model", self.model,
      "mlp, gcn, sgc, gat, sage, mixhop, appnp, gprgnn, gcnii, h2gcn, fagcn, acm_gcn, acmii_gcn, "
      "acm_gcn_plus, acm_gcn_plus_plus, linkx, wrgat, glognn, hoggcn or trunk");
    f("layers", self.layers, "of h2gcn: rounds", Bounds::at_least(1));
    f("hidden", self.hidden, "width of the hidden layers; of gat: of one head",
      Bounds::at_least(1));
    f("dropout", self.dropout, "on the input of every layer", Bounds::up_to_below(0, 1));
    f("heads", self.heads, "of gat and the trunk's attention", Bounds::at_least(1));
    f("steps", self.steps, "of propagation in sgc, appnp, gprgnn", Bounds::at_least(0));
    f("teleport", self.teleport, "share of the start in appnp, gprgnn", Bounds::between(0, 1));
    f("alpha", self.alpha, "share of the start in gcnii", Bounds::between(0, 1));
    f("theta", self.theta, "of gcnii: how fast layers become the identity", Bounds::at_least(0));
    f("epsilon", self.epsilon, "share of the start in fagcn", Bounds::between(0, 1));
    f("radii", self.radii, "of wrgat: structural proximities up to this distance",
      Bounds::at_least(0));
    f("orders", self.orders, "of glognn: powers of the adjacency", Bounds::at_least(1));
    f("coefficients", self.coefficients, "of glognn: weight of the coefficients' norm, its alpha",
      Bounds::at_least(0));
    f("near", self.near, "of glognn: weight of the graph's neighbours, its beta",
      Bounds::at_least(0));
    f("start", self.start, "of glognn: share of the start in every layer, its gamma",
      Bounds::up_to_below(0, 1));
    f("of_features", self.of_features, "of glognn: the features' part of the start, its delta",
      Bounds::between(0, 1));
    f("soft_share", self.soft_share, "of hoggcn: weight of agreeing soft labels",
      Bounds::at_least(0));
    f("auxiliary", self.auxiliary, "of hoggcn: weight of the losses of its soft labels",
      Bounds::at_least(0));
    f("module", self.module,
      "of trunk: resnet, gcn, sage, gat, gat_sep, gt, gt_sep, sgc, appnp, "
      "acm_gcn or fagcn");
  }
};

/// One of them.
struct GraphNetwork {
  std::variant<Gcn, Sgc, Gat, Sage, MixHop, Appnp, GprGnn, Gcnii, H2Gcn, FaGcn, AcmGcn, Linkx,
               Wrgat, GloGnn, HogGcn, ResidualTrunk>
      net;

  static GraphNetwork make(const GraphOperators& graph, int64_t features, int64_t classes,
                           const GraphNetworkOptions& options, Rng& rng);
  /// For graphs of so many nodes: those networks that have no parameter per edge, all but hoggcn.
  static GraphNetwork make(int64_t nodes, int64_t features, int64_t classes,
                           const GraphNetworkOptions& options, Rng& rng);
  /// Logits [nodes, classes]. Where `auxiliary` is given, it receives what else the network wants
  /// trained on the labelled nodes: logits of the same shape, or none.
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context,
                 Vars* auxiliary = nullptr) const;

  static void visit(auto& self, auto&& f) {
    std::visit([&](auto& net) { std::remove_cvref_t<decltype(net)>::visit(net, f); }, self.net);
  }
};

}  // namespace tessera::models
