#include "tessera/models/nets/gnn/trunk.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::models {
namespace {

constexpr std::string_view names[] = {"resnet", "gcn", "sage",  "gat",     "gat_sep", "gt",
                                      "gt_sep", "sgc", "appnp", "acm_gcn", "fagcn"};
constexpr int appnp_steps = 2;
constexpr double appnp_teleport = 0.1;

bool sees_itself_apart(TrunkModule m) {
  return m == TrunkModule::sage || m == TrunkModule::gat_sep || m == TrunkModule::gt_sep;
}
bool is_gat(TrunkModule m) { return m == TrunkModule::gat || m == TrunkModule::gat_sep; }
bool is_gt(TrunkModule m) { return m == TrunkModule::gt || m == TrunkModule::gt_sep; }
bool feeds_forward(TrunkModule m) { return m < TrunkModule::sgc; }

Var beside(const Var& x, const Var& message) {
  const Var parts[] = {x, message};
  return autograd::concat(parts, -1);
}

/// D^-1/2 x, D with self-loops.
Var times_root_degree(const GraphOperators& graph, const Var& x) {
  const Tensor factors = graph.symmetric(true).row_scale(x.dtype());
  Shape shape{factors.numel()};
  while (shape.rank() < x.rank()) shape.push_back(1);
  return x * Var(factors.reshape(shape));
}

}  // namespace

std::string_view to_string(TrunkModule module) { return names[static_cast<int>(module)]; }
void parse(std::string_view text, TrunkModule& module) { parse_enum(text, names, module); }

TrunkBlock TrunkBlock::make(const TrunkOptions& o, Rng& rng) {
  TrunkBlock block;
  block.module = o.module;
  block.dropout = o.dropout;
  block.edge_dropout = o.edge_dropout;
  block.self_loops = o.self_loops_everywhere || !sees_itself_apart(o.module);
  block.norm = LayerNorm::make(o.hidden);
  if (is_gat(o.module)) {
    block.value = GraphLinear::make(o.hidden, o.hidden, rng);
    block.attention = EdgeAttention::make(o.hidden, o.heads, rng);
  }
  if (o.module == TrunkModule::appnp) block.value = GraphLinear::make(o.hidden, o.hidden, rng);
  if (o.module == TrunkModule::acm_gcn)
    block.acm = AcmConv::make(o.hidden, o.hidden, {.symmetric = true}, rng);
  if (o.module == TrunkModule::fagcn) block.gate = FaGcn::Layer::make(o.hidden, rng);
  const int64_t width = sees_itself_apart(o.module) ? 2 * o.hidden : o.hidden;
  if (is_gt(o.module)) {
    block.dot = EdgeDotAttention::make(o.hidden, o.heads, rng);
    block.output = GraphLinear::make(width, o.hidden, rng);
    if (!o.feed_forward_after_dot) return block;
    block.feed_forward_norm = LayerNorm::make(o.hidden);
    block.feed_forward = FeedForward::make(o.hidden, o.hidden, o.dropout, rng);
  } else if (feeds_forward(o.module)) {
    block.feed_forward = FeedForward::make(width, o.hidden, o.dropout, rng);
  }
  return block;
}

Var TrunkBlock::operator()(const GraphOperators& graph, const Var& x,
                           ForwardContext& context) const {
  const Var normal = norm(x);
  const auto with_self = [&](const Var& message) {
    return sees_itself_apart(module) ? beside(normal, message) : message;
  };
  Var message = normal;
  switch (module) {
    case TrunkModule::resnet:
      break;
    case TrunkModule::gcn:
      message = autograd::spmm(graph.symmetric(self_loops), normal);
      break;
    case TrunkModule::sage:
      message = autograd::spmm(graph.random_walk(self_loops), normal);
      break;
    case TrunkModule::gat:
    case TrunkModule::gat_sep:
      message = attention(graph.pattern(self_loops), value(normal), context);
      break;
    case TrunkModule::gt:
    case TrunkModule::gt_sep: {
      Var y = x + drop(output(with_self(dot(graph.pattern(self_loops), normal))), dropout, context);
      if (!feed_forward.first.weight.defined()) return y;
      return y + feed_forward(feed_forward_norm(y), context);
    }
    case TrunkModule::sgc:
      return x + autograd::spmm(graph.symmetric(self_loops), normal);
    case TrunkModule::appnp:
      return x + propagated(graph, normal, context);
    case TrunkModule::acm_gcn:
      return x + acm(graph, normal);
    case TrunkModule::fagcn:
      return x + gated(graph, normal, context);
  }
  return x + feed_forward(with_self(message), context);
}

Var TrunkBlock::propagated(const GraphOperators& graph, const Var& x,
                           ForwardContext& context) const {
  const Var start = value(x);
  const auto step = [&](const Var& h) {
    if (!context.training || edge_dropout == 0) return autograd::spmm(graph.symmetric(true), h);
    const autograd::SparseMatrix& pattern = graph.pattern(true);
    const int64_t entries = pattern.entries(), runs = context.runs;
    const Shape shape = runs > 0 ? Shape{entries, runs, 1} : Shape{entries};
    const Var kept = drop(autograd::full(shape, 1.0, h.dtype(), h.device()), edge_dropout, context);
    const Var values = runs > 0 ? autograd::reshape(kept, {entries, runs}) : kept;
    return times_root_degree(graph, autograd::spmm(pattern, values, times_root_degree(graph, h)));
  };
  Var h = start;
  for (int i = 0; i < appnp_steps; ++i) h = step(h) * (1 - appnp_teleport) + start * appnp_teleport;
  return h;
}

Var TrunkBlock::gated(const GraphOperators& graph, const Var& x, ForwardContext& context) const {
  const autograd::SparseMatrix& pattern = graph.pattern(true);
  const Var weights = gate.gates(pattern, x, {}, dropout, context);
  const Var by_run =
      autograd::reshape(times_root_degree(graph, x), {x.size(0), weights.size(1), x.size(-1)});
  return times_root_degree(graph,
                           autograd::reshape(autograd::spmm(pattern, weights, by_run), x.shape()));
}

ResidualTrunk ResidualTrunk::make(int64_t features, int64_t classes, const TrunkOptions& o,
                                  Rng& rng) {
  TS_CHECK(o.layers >= 1 && o.hidden >= 1, "trunk: ", o.layers, " layers of width ", o.hidden);
  ResidualTrunk net;
  net.dropout = o.dropout;
  net.input = GraphLinear::make(features, o.hidden, rng);
  for (int64_t i = 0; i < o.layers; ++i) net.blocks.push_back(TrunkBlock::make(o, rng));
  net.norm = LayerNorm::make(o.hidden);
  net.output = GraphLinear::make(o.hidden, classes, rng);
  return net;
}

Var ResidualTrunk::representation(const GraphOperators& graph, const NodeFeatures& features,
                                  ForwardContext& context) const {
  return representation_of(graph, input(features, 0.0, context), context);
}

Var ResidualTrunk::representation_of(const GraphOperators& graph, const Var& before,
                                     ForwardContext& context) const {
  Var x = autograd::gelu(drop(before, dropout, context));
  for (const TrunkBlock& block : blocks) x = block(graph, x, context);
  return norm(x);
}

Var ResidualTrunk::operator()(const GraphOperators& graph, const NodeFeatures& features,
                              ForwardContext& context) const {
  return output(representation(graph, features, context));
}

}  // namespace tessera::models
