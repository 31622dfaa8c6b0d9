#include "tessera/algorithms/gsl/views.hpp"

#include <type_traits>
#include <utility>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/layers/graph/attention.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/models/similarity_graph.hpp"

namespace tessera::algorithms::gsl {
namespace {

using models::GraphOperators;

constexpr std::string_view backbone_names[] = {"gcn", "sage", "gat", "sgc"};
constexpr std::string_view fusion_names[] = {"none",    "original",      "structure",
                                             "merged",  "layers",        "layers_shared",
                                             "outputs", "outputs_shared"};

/// x w, with dropout of features; activations have had theirs.
Var product(const LayerInput& input, const Var& weight, double dropout, ForwardContext& context) {
  return input.features ? input.features->times(weight, dropout, context)
                        : models::times(input.hidden, weight);
}

Var layer_of(const models::Gcn& net, size_t i, const GraphOperators& graph, const LayerInput& input,
             ForwardContext& context) {
  const models::GraphLinear& own = net.layers[i];
  const Var h = product(input, own.weight, net.dropout, context);
  return (net.propagates ? autograd::spmm(graph.symmetric(true), h) : h) + own.bias;
}

Var layer_of(const models::Sage& net, size_t i, const GraphOperators& graph,
             const LayerInput& input, ForwardContext& context) {
  const models::Sage::Layer& own = net.layers[i];
  const Var weights[] = {own.self.weight, own.neighbours.weight};
  const models::Vars parts =
      autograd::split(product(input, autograd::concat(weights, -1), net.dropout, context), -1, 2);
  return parts[0] + own.self.bias + autograd::spmm(graph.random_walk(false), parts[1]);
}

Var layer_of(const models::Gat& net, size_t i, const GraphOperators& graph, const LayerInput& input,
             ForwardContext& context) {
  const models::Gat::Layer& own = net.layers[i];
  const Var value = product(input, own.value.weight, net.dropout, context);
  const auto scores = [&](const Var& vectors) {
    return autograd::sum(models::split_heads(value * vectors, net.heads), {-1});
  };
  Var h = models::attend(graph.pattern(true), value, scores(own.target), scores(own.source),
                         {.heads = net.heads, .dropout = net.dropout}, context);
  if (i + 1 == net.layers.size()) h = autograd::mean(models::split_heads(h, net.heads), {-2});
  return h + own.bias;
}

Var layer_of(const models::Sgc& net, size_t i, const GraphOperators& graph, const LayerInput& input,
             ForwardContext& context) {
  const Var h = i == 0 ? product(input, net.linear.weight, net.dropout, context) + net.linear.bias
                       : input.hidden;
  return autograd::spmm(graph.symmetric(true), h);
}

template <class Net>
constexpr bool is_backbone =
    std::is_same_v<Net, models::Gcn> || std::is_same_v<Net, models::Sage> ||
    std::is_same_v<Net, models::Gat> || std::is_same_v<Net, models::Sgc>;

/// body(net) for the network's own type.
template <class Body>
auto with_backbone(const models::GraphNetwork& network, Body&& body) {
  using Result = decltype(body(std::declval<const models::Gcn&>()));
  return std::visit(
      [&](const auto& net) -> Result {
        if constexpr (is_backbone<std::remove_cvref_t<decltype(net)>>)
          return body(net);
        else
          throw Error(ErrorKind::invalid_argument,
                      "gsl: expected a gcn, sage, gat, sgc or mlp, which have layers of their own");
      },
      network.net);
}

models::GraphNetwork network(Backbone backbone, Fusion fusion, int64_t nodes, int64_t width,
                             int64_t classes, const LearningOptions& options, Rng& rng) {
  using Kind = models::GraphNetworkKind;
  constexpr Kind kinds[] = {Kind::gcn, Kind::sage, Kind::gat, Kind::sgc};
  const Kind kind = fusion == Fusion::none ? Kind::mlp : kinds[static_cast<int>(backbone)];
  TS_CHECK(kind != Kind::gat || options.hidden % options.heads == 0, "gsl: hidden width ",
           options.hidden, " does not split into ", options.heads, " heads of gat");
  return models::GraphNetwork::make(
      nodes, width, classes,
      {.model = kind,
       .layers = options.layers,
       .hidden = kind == Kind::gat ? options.hidden / options.heads : options.hidden,
       .dropout = options.dropout,
       .heads = options.heads,
       .steps = options.steps},
      rng);
}

}  // namespace

std::string_view to_string(Backbone backbone) { return backbone_names[static_cast<int>(backbone)]; }
void parse(std::string_view text, Backbone& backbone) {
  parse_enum(text, backbone_names, backbone);
}
std::string_view to_string(Fusion fusion) { return fusion_names[static_cast<int>(fusion)]; }
void parse(std::string_view text, Fusion& fusion) { parse_enum(text, fusion_names, fusion); }
bool uses_structure(Fusion fusion) { return fusion >= Fusion::structure; }

Views views_of(const Problem& problem) { return {problem.graph, {}, {}}; }

Views views_of(const Problem& problem, const CsrMatrix& structure) {
  const Device device = problem.device();
  return {problem.graph, GraphOperators(structure, device),
          GraphOperators(models::merged_graph(problem.adjacency, structure), device)};
}

int64_t layer_count(const models::GraphNetwork& network) {
  return with_backbone(network, [](const auto& net) -> int64_t {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(net)>, models::Sgc>)
      return net.steps;
    else
      return static_cast<int64_t>(net.layers.size());
  });
}

Var layer(const models::GraphNetwork& network, int64_t i, const GraphOperators& graph,
          const LayerInput& input, ForwardContext& context) {
  return with_backbone(network, [&](const auto& net) {
    return layer_of(net, static_cast<size_t>(i), graph, input, context);
  });
}

Var between_layers(const models::GraphNetwork& network, const Var& x, ForwardContext& context) {
  return with_backbone(network, [&](const auto& net) {
    using Net = std::remove_cvref_t<decltype(net)>;
    if constexpr (std::is_same_v<Net, models::Sgc>)
      return x;
    else if constexpr (std::is_same_v<Net, models::Gat>)
      return models::drop(autograd::elu(x), net.dropout, context);
    else
      return models::drop(autograd::relu(x), net.dropout, context);
  });
}

Var representation(const models::GraphNetwork& network, const GraphOperators& graph,
                   const models::NodeFeatures& x, ForwardContext& context) {
  LayerInput input{.features = &x};
  TS_CHECK(layer_count(network) >= 2, "gsl: a network of one layer has no hidden representation");
  for (int64_t i = 0; i + 1 < layer_count(network); ++i)
    input = {.hidden = between_layers(network, layer(network, i, graph, input, context), context)};
  return input.hidden;
}

FusedNetwork FusedNetwork::make(Backbone backbone, Fusion fusion, double weight, int64_t nodes,
                                int64_t width, int64_t classes, const LearningOptions& options,
                                Rng& rng) {
  TS_CHECK(weight >= 0, "gsl: a weight of ", weight, " for A'; expected at least 0");
  const auto one = [&] { return network(backbone, fusion, nodes, width, classes, options, rng); };
  FusedNetwork fused{one(), {}, fusion, weight};
  if (fusion == Fusion::layers || fusion == Fusion::outputs) fused.second.push_back(one());
  return fused;
}

Var FusedNetwork::operator()(const Views& views, const models::NodeFeatures& x,
                             ForwardContext& context) const {
  const auto given = [&](const std::optional<GraphOperators>& graph) -> const GraphOperators& {
    TS_CHECK(graph, "gsl: fusion ", to_string(fusion), " needs a structure, there is none");
    return *graph;
  };
  const models::GraphNetwork& other = second.empty() ? first : second.front();
  const auto fused = [&](const Var& a, const Var& b) { return a + b * weight; };
  switch (fusion) {
    case Fusion::none:
    case Fusion::original:
      return first(views.original, x, context);
    case Fusion::structure:
      return first(given(views.structure), x, context);
    case Fusion::merged:
      return first(given(views.merged), x, context);
    case Fusion::outputs:
    case Fusion::outputs_shared:
      return fused(first(views.original, x, context), other(given(views.structure), x, context));
    case Fusion::layers:
    case Fusion::layers_shared:
      break;
  }
  LayerInput input{.features = &x};
  Var h;
  for (int64_t i = 0; i < layer_count(first); ++i) {
    if (i > 0) input = {.hidden = between_layers(first, h, context)};
    h = fused(layer(first, i, views.original, input, context),
              layer(other, i, given(views.structure), input, context));
  }
  return h;
}

}  // namespace tessera::algorithms::gsl
