#include "tessera/algorithms/hignn/network.hpp"

#include <cmath>
#include <memory>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/layers/graph/acm_channels.hpp"
#include "tessera/models/nets/gnn/mixhop.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::algorithms::hignn {
namespace {

using autograd::SimilarityGraph;
using autograd::SparseMatrix;
using models::ForwardContext;
using models::GraphLinear;
using models::Var;
using models::Vars;

constexpr std::string_view backbone_names[] = {"acm_gcn", "gcn", "gat", "sage", "sgc", "mixhop"};
constexpr std::string_view graphs_names[] = {"both", "old", "new"};

/// D^row A D^column with its values, D being the sums of rows.
SparseMatrix normalized(const CsrMatrix& m, double row_power, double column_power, Device device) {
  const auto row_ptr = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
  std::vector<float> values(static_cast<size_t>(m.nnz()), 1.0f);
  if (m.values.defined()) values = m.values.values<float>();
  std::vector<double> degree(static_cast<size_t>(m.rows));
  const auto each = [&](auto&& body) {
    for (size_t i = 0; i < degree.size(); ++i)
      for (auto e = static_cast<size_t>(row_ptr[i]); e < static_cast<size_t>(row_ptr[i + 1]); ++e)
        body(i, e);
  };
  each([&](size_t i, size_t e) { degree[i] += values[e]; });
  each([&](size_t i, size_t e) {
    values[e] *= static_cast<float>(std::pow(degree[i], row_power) *
                                    std::pow(degree[static_cast<size_t>(col[e])], column_power));
  });
  CsrMatrix result = m.with_values(Tensor::from(values, {m.nnz()}, Device::cpu()));
  result.symmetric = m.symmetric && row_power == column_power;
  return SparseMatrix(result.to(device));
}

/// Products with one matrix for all runs, or with one for each.
Filters::Filter product(std::vector<SparseMatrix> matrices) {
  return [matrices = std::move(matrices)](const Var& x) {
    if (matrices.size() == 1) return autograd::spmm(matrices.front(), x);
    Vars of_runs = autograd::split(x, 1, static_cast<int64_t>(matrices.size()));
    for (size_t r = 0; r < matrices.size(); ++r)
      of_runs[r] = autograd::spmm(matrices[r], of_runs[r]);
    return autograd::concat(of_runs, 1);
  };
}
Filters::Filter product(std::vector<SimilarityGraph> graphs) {
  return [graphs = std::move(graphs)](const Var& x) {
    return graphs.size() == 1 ? autograd::spmm(graphs.front(), x) : autograd::spmm(graphs, x);
  };
}

template <class Element, class Make>
std::vector<Element> each_of(std::span<const NewGraph> graphs, Make&& make) {
  std::vector<Element> made;
  for (const NewGraph& g : graphs) made.push_back(make(g));
  return made;
}

/// Calls `make` for what it makes when that is first used.
template <class Make>
Filters::Filter on_demand(Make make) {
  return [make = std::move(make), made = std::make_shared<Filters::Filter>()](const Var& x) {
    if (!*made) *made = make();
    return (*made)(x);
  };
}

HiNetwork::Conv make_conv(int64_t in, int64_t out, const NetworkOptions& o, bool last, Rng& rng) {
  HiNetwork::Conv conv;
  const auto add = [&](int count, bool bias_of_all) {
    for (int i = 0; i < count; ++i)
      conv.linear.push_back(GraphLinear::glorot(in, out, rng, bias_of_all || i == 0));
  };
  switch (o.backbone) {
    case Backbone::acm_gcn:
      conv.acm = models::AcmConv::make(in, out, {}, rng);
      break;
    case Backbone::gcn:
    case Backbone::sgc:
      add(1, true);
      break;
    case Backbone::sage:
      add(2, false);
      break;
    case Backbone::mixhop:
      add(models::MixHop::powers, true);
      break;
    case Backbone::gat: {
      const int64_t width = o.heads * out;
      conv.attention.value = GraphLinear::glorot(in, width, rng, false);
      conv.attention.target = models::glorot_uniform({width}, out, 1, rng);
      conv.attention.source = models::glorot_uniform({width}, out, 1, rng);
      conv.attention.bias = models::constant({last ? out : width}, 0.0);
      break;
    }
  }
  return conv;
}

/// What the input of the layer is multiplied with.
Vars weights_of(const HiNetwork::Conv& conv, Backbone backbone) {
  if (backbone == Backbone::acm_gcn) return {conv.acm.low, conv.acm.high, conv.acm.full};
  if (backbone == Backbone::gat) return {conv.attention.value.weight};
  Vars weights;
  for (const GraphLinear& linear : conv.linear) weights.push_back(linear.weight);
  return weights;
}

Var attended(const HiNetwork::Conv& conv, const Filters& graph, const Var& value,
             const NetworkOptions& o, bool last, ForwardContext& context) {
  const auto scores = [&](const Var& vectors) {
    return autograd::sum(models::split_heads(value * vectors, o.heads), {-1});
  };
  const models::Gat::Layer& a = conv.attention;
  Var y = models::attend(graph.pattern(), value, scores(a.target), scores(a.source),
                         {.heads = o.heads, .dropout = o.dropout}, context);
  if (last) y = autograd::mean(models::split_heads(y, o.heads), {-2});
  return y + a.bias;
}

/// conv(X; A) from the products of X with weights_of(conv).
Var convolved(const HiNetwork::Conv& conv, const Filters& graph, std::span<const Var> products,
              const NetworkOptions& o, bool last, ForwardContext& context) {
  switch (o.backbone) {
    case Backbone::acm_gcn:
      return models::mixed_channels(conv.acm, graph.random_walk, products[0], products[1],
                                    products[2]);
    case Backbone::gcn:
      return graph.symmetric(products[0]) + conv.linear[0].bias;
    case Backbone::sgc: {
      Var y = products[0];
      for (int64_t i = 0; i < o.steps; ++i) y = graph.symmetric(y);
      return y + conv.linear[0].bias;
    }
    case Backbone::sage:
      return products[0] + conv.linear[0].bias + graph.mean(products[1]);
    case Backbone::mixhop: {
      Vars powers;
      for (size_t k = 0; k < products.size(); ++k) {
        Var y = products[k] + conv.linear[k].bias;
        for (size_t step = 0; step < k; ++step) y = graph.symmetric(y);
        powers.push_back(y);
      }
      return autograd::concat(powers, -1);
    }
    case Backbone::gat:
      return attended(conv, graph, products[0], o, last, context);
  }
  throw Error(ErrorKind::invalid_argument,
              concat("hignn: no backbone ", static_cast<int>(o.backbone)));
}

}  // namespace

std::string_view to_string(Backbone backbone) { return backbone_names[static_cast<int>(backbone)]; }
void parse(std::string_view text, Backbone& backbone) {
  parse_enum(text, backbone_names, backbone);
}
std::string_view to_string(Graphs graphs) { return graphs_names[static_cast<int>(graphs)]; }
void parse(std::string_view text, Graphs& graphs) { parse_enum(text, graphs_names, graphs); }

double diagonal_weight(Backbone backbone) { return backbone == Backbone::acm_gcn ? 2 : 1; }

Filters filters_of(const models::GraphOperators& graph) {
  const auto times = [&](const SparseMatrix& a) {
    return [a](const Var& x) { return autograd::spmm(a, x); };
  };
  return {times(graph.random_walk(true)), times(graph.symmetric(true)),
          times(graph.random_walk(false)),
          [graph]() -> const SparseMatrix& { return graph.pattern(true); }};
}

Filters filters_of(std::span<const NewGraph> of_runs, Device device) {
  TS_CHECK(!of_runs.empty(), "hignn: no new graph");
  const std::vector<NewGraph> graphs(of_runs.begin(), of_runs.end());
  const auto stored = [](const NewGraph& g) { return !g.similar; };
  TS_CHECK(std::all_of(graphs.begin(), graphs.end(), stored) ||
               std::none_of(graphs.begin(), graphs.end(), stored),
           "hignn: the new graphs of runs are stored or not, all of them");
  const auto normalized_by = [graphs, device](double row_power, double column_power) {
    if (!graphs.front().similar)
      return product(each_of<SparseMatrix>(graphs, [&](const NewGraph& g) {
        return normalized(g.stored, row_power, column_power, device);
      }));
    return product(each_of<SimilarityGraph>(graphs, [&](const NewGraph& g) {
      return column_power == 0 ? g.similar->random_walk() : g.similar->symmetric();
    }));
  };
  const Filters::Filter random_walk = on_demand([=] { return normalized_by(-1, 0); }),
                        symmetric = on_demand([=] { return normalized_by(-0.5, -0.5); });
  const auto pattern =
      [graphs, device,
       made = std::make_shared<std::optional<SparseMatrix>>()]() -> const SparseMatrix& {
    TS_CHECK(graphs.size() == 1, "hignn: attention on the new graphs of ", graphs.size(),
             " runs side by side; runs must be trained one by one");
    if (!*made) {
      CsrMatrix m = graphs.front().matrix();
      m.values = {};
      made->emplace(m.to(device));
    }
    return **made;
  };
  return {random_walk, symmetric, random_walk, pattern};
}

HiNetwork HiNetwork::make(int64_t features, int64_t classes, const NetworkOptions& o, Graphs graphs,
                          Rng& rng) {
  TS_CHECK(o.layers >= 1 && o.hidden >= 1 && o.heads >= 1 && o.steps >= 1, "hignn: ", o.layers,
           " layers of width ", o.hidden, ", ", o.heads, " heads, ", o.steps, " steps");
  TS_CHECK(o.dropout >= 0 && o.dropout < 1, "hignn: dropout ", o.dropout, " is not in [0, 1)");
  HiNetwork net;
  net.options = o;
  net.graphs = graphs;
  const bool projects = o.backbone == Backbone::sgc || o.backbone == Backbone::mixhop;
  const bool normalizes =
      o.backbone == Backbone::gcn || o.backbone == Backbone::gat || o.backbone == Backbone::mixhop;
  const int64_t parts = o.backbone == Backbone::gat      ? o.heads
                        : o.backbone == Backbone::mixhop ? int64_t{models::MixHop::powers}
                                                         : 1;
  const int64_t layers = o.backbone == Backbone::sgc ? 1 : o.layers;
  int64_t in = features;
  for (int64_t i = 0; i < layers; ++i) {
    const bool last = i + 1 == layers;
    const int64_t out = last && !projects ? classes : o.hidden;
    Layer layer;
    for (int graph = 0; graph < (graphs == Graphs::both ? 2 : 1); ++graph)
      layer.graphs.push_back(make_conv(in, out, o, last, rng));
    if (normalizes && !last) layer.norm = models::BatchNorm::make(parts * o.hidden);
    net.layers.push_back(std::move(layer));
    in = parts * out;
  }
  if (projects) net.output = GraphLinear::glorot(in, classes, rng);
  return net;
}

Var HiNetwork::operator()(const Filters& old_graph, const Filters& new_graph,
                          const models::NodeFeatures& x, ForwardContext& context) const {
  Var h;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    const bool last = i + 1 == layers.size();
    Vars weights;
    for (const Conv& conv : layer.graphs)
      for (const Var& weight : weights_of(conv, options.backbone)) weights.push_back(weight);
    // One dropout of the input for all products, which are one.
    const Var all = autograd::concat(weights, -1);
    const Vars products =
        autograd::split(i == 0 ? x.times(all, options.dropout, context) : models::times(h, all), -1,
                        static_cast<int64_t>(weights.size()));
    const size_t each = weights.size() / layer.graphs.size();
    Var sum;
    for (size_t g = 0; g < layer.graphs.size(); ++g) {
      const bool is_new = graphs == Graphs::new_graph || g == 1;
      const Var y = convolved(layer.graphs[g], is_new ? new_graph : old_graph,
                              std::span(products).subspan(g * each, each), options, last, context);
      const Var term = is_new ? y * options.lambda : y;
      sum = sum.defined() ? sum + term : term;
    }
    h = sum;
    if (last) break;
    if (layer.norm.weight.defined()) h = layer.norm(h, context);
    h = options.backbone == Backbone::gat ? autograd::elu(h) : autograd::relu(h);
    h = models::drop(h, options.dropout, context);
  }
  return output.weight.defined() ? output(h) : h;
}

}  // namespace tessera::algorithms::hignn
