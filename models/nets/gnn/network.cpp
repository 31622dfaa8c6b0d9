#include "tessera/models/nets/gnn/network.hpp"

namespace tessera::models {
namespace {

constexpr std::string_view names[] = {
    "mlp",    "gcn",     "sgc",       "gat",          "sage",
    "mixhop", "appnp",   "gprgnn",    "gcnii",        "h2gcn",
    "fagcn",  "acm_gcn", "acmii_gcn", "acm_gcn_plus", "acm_gcn_plus_plus",
    "linkx",  "wrgat",   "glognn",    "hoggcn",       "trunk"};

/// `graph` may be null where no network needs it.
GraphNetwork make_network(int64_t nodes, const GraphOperators* graph, int64_t features,
                          int64_t classes, const GraphNetworkOptions& o, Rng& rng) {
  using Kind = GraphNetworkKind;
  TS_CHECK(o.layers >= 1 && o.hidden >= 1, "a network of ", o.layers, " layers of width ",
           o.hidden);
  TS_CHECK(o.dropout >= 0 && o.dropout < 1, "dropout ", o.dropout, " is not in [0, 1)");
  std::vector<int64_t> widths(static_cast<size_t>(o.layers) + 1, o.hidden);
  widths.front() = features;
  widths.back() = classes;
  const auto acm = [&](AcmGcn::Options options) {
    options.layers = o.layers;
    options.hidden = o.hidden;
    options.dropout = o.dropout;
    return GraphNetwork{AcmGcn::make(features, classes, options, rng)};
  };
  switch (o.model) {
    case Kind::mlp:
      return {Gcn::make(widths, o.dropout, rng, false)};
    case Kind::gcn:
      return {Gcn::make(widths, o.dropout, rng)};
    case Kind::sgc:
      return {Sgc::make(features, classes, o.steps, o.dropout, rng)};
    case Kind::gat:
      return {Gat::make(features, o.hidden, classes, o.layers, o.heads, o.dropout, rng)};
    case Kind::sage:
      return {Sage::make(widths, o.dropout, rng)};
    case Kind::mixhop:
      return {MixHop::make(features, o.hidden, classes, o.layers, o.dropout, rng)};
    case Kind::appnp:
      return {Appnp::make(
          features, classes,
          {.hidden = o.hidden, .steps = o.steps, .teleport = o.teleport, .dropout = o.dropout},
          rng)};
    case Kind::gprgnn:
      return {GprGnn::make(features, classes,
                           {.hidden = o.hidden,
                            .steps = o.steps,
                            .teleport = o.teleport,
                            .dropout = o.dropout,
                            .propagation_dropout = o.dropout},
                           rng)};
    case Kind::gcnii:
      return {Gcnii::make(features, classes,
                          {.layers = o.layers,
                           .hidden = o.hidden,
                           .alpha = o.alpha,
                           .theta = o.theta,
                           .dropout = o.dropout},
                          rng)};
    case Kind::h2gcn:
      return {H2Gcn::make(features, o.hidden, classes, o.layers, o.dropout, rng)};
    case Kind::fagcn:
      return {FaGcn::make(
          features, classes,
          {.layers = o.layers, .hidden = o.hidden, .epsilon = o.epsilon, .dropout = o.dropout},
          rng)};
    case Kind::acm_gcn:
      return acm({});
    case Kind::acmii_gcn:
      return acm({.relu_first = true});
    case Kind::acm_gcn_plus:
      return acm({.plus = true, .structure_nodes = nodes});
    case Kind::acm_gcn_plus_plus:
      return acm({.plus = true, .structure_nodes = nodes, .residual = true});
    case Kind::linkx:
      return {Linkx::make(nodes, features, classes,
                          {.hidden = o.hidden, .layers = o.layers, .dropout = o.dropout}, rng)};
    case Kind::wrgat:
      return {Wrgat::make(features, classes,
                          {.hidden = o.hidden,
                           .layers = o.layers,
                           .heads = o.heads,
                           .radii = o.radii,
                           .dropout = o.dropout},
                          rng)};
    case Kind::glognn:
      return {GloGnn::make(nodes, features, classes,
                           {.hidden = o.hidden,
                            .rounds = o.layers,
                            .orders = o.orders,
                            .alpha = o.coefficients,
                            .beta = o.near,
                            .gamma = o.start,
                            .delta = o.of_features,
                            .dropout = o.dropout},
                           rng)};
    case Kind::hoggcn:
      TS_CHECK(graph, "hoggcn has a parameter per edge: make it for a graph");
      return {HogGcn::make(*graph, features, classes,
                           {.hidden = o.hidden,
                            .layers = o.layers,
                            .soft_share = o.soft_share,
                            .dropout = o.dropout},
                           rng)};
    case Kind::trunk:
      return {ResidualTrunk::make(features, classes,
                                  {.module = o.module,
                                   .layers = o.layers,
                                   .hidden = o.hidden,
                                   .heads = o.heads,
                                   .dropout = o.dropout},
                                  rng)};
  }
  throw Error(ErrorKind::invalid_argument, concat("no graph network ", static_cast<int>(o.model)));
}

}  // namespace

std::string_view to_string(GraphNetworkKind kind) { return names[static_cast<int>(kind)]; }
void parse(std::string_view text, GraphNetworkKind& kind) { parse_enum(text, names, kind); }

GraphNetwork GraphNetwork::make(const GraphOperators& graph, int64_t features, int64_t classes,
                                const GraphNetworkOptions& options, Rng& rng) {
  return make_network(graph.nodes(), &graph, features, classes, options, rng);
}
GraphNetwork GraphNetwork::make(int64_t nodes, int64_t features, int64_t classes,
                                const GraphNetworkOptions& options, Rng& rng) {
  return make_network(nodes, nullptr, features, classes, options, rng);
}

Var GraphNetwork::operator()(const GraphOperators& graph, const NodeFeatures& x,
                             ForwardContext& context, Vars* auxiliary) const {
  if (const auto* hoggcn = std::get_if<HogGcn>(&net))
    return (*hoggcn)(graph, x, context, auxiliary);
  return std::visit([&](const auto& n) { return n(graph, x, context); }, net);
}

}  // namespace tessera::models
