#include "tessera/algorithms/gfs/network.hpp"

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"

namespace tessera::algorithms::gfs {

SelectedLinear SelectedLinear::spread(const models::GraphLinear& layer,
                                      std::span<const int64_t> selected, int64_t features) {
  const auto count = static_cast<int64_t>(selected.size());
  TS_CHECK(layer.weight.size(0) == count, "SelectedLinear: weight ", layer.weight, " for ", count,
           " features");
  const Tensor rows = Tensor::from(selected, {count}, Device::cpu());
  const auto spread_rows = [&](const Var& x) {
    return autograd::scatter_add_rows(x, rows, features).value();
  };
  return {spread_rows(layer.weight), layer.bias,
          spread_rows(autograd::full({count, 1}, 1.0, DType::f32, Device::cpu()))};
}

Var SelectedLinear::operator()(const StandardFeatures::Input& x, ForwardContext& context) const {
  const Var used = weight * Var(mask);
  const Var y = x.x.times(used, 0.0, context) + bias;
  return x.shift == 0 ? y : y + autograd::sum(used, {0}) * x.shift;
}

Network Network::make(const Selection& selection, int64_t outputs, const NetworkOptions& o,
                      Rng& rng) {
  const auto with = static_cast<int64_t>(selection.with_graph.size()),
             without = static_cast<int64_t>(selection.without_graph.size());
  TS_CHECK(with + without > 0, "GFS: no features");
  Network net;
  const auto take_ends = [&](models::ResidualTrunk& trunk, SelectedLinear& input,
                             const std::vector<int64_t>& selected) {
    input = SelectedLinear::spread(trunk.input, selected, with + without);
    trunk.input = {};
    net.output = std::move(trunk.output);
    trunk.output = {};
  };
  models::TrunkOptions options{.module = o.module,
                               .layers = o.layers,
                               .hidden = o.hidden,
                               .heads = o.heads,
                               .dropout = o.dropout,
                               .self_loops_everywhere = true,
                               .feed_forward_after_dot = false};
  if (with > 0) {
    net.gnn = models::ResidualTrunk::make(with, outputs, options, rng);
    take_ends(net.gnn, net.gnn_input, selection.with_graph);
  }
  if (without > 0) {
    options.module = models::TrunkModule::resnet;
    options.layers = o.mlp_layers;
    net.mlp = models::ResidualTrunk::make(without, outputs, options, rng);
    take_ends(net.mlp, net.mlp_input, selection.without_graph);
  }
  if (with > 0 && without > 0) net.output = models::GraphLinear::make(2 * o.hidden, outputs, rng);
  return net;
}

Var Network::operator()(const models::GraphOperators& graph, const StandardFeatures::Input& x,
                        ForwardContext& context) const {
  const bool has_gnn = gnn_input.weight.defined(), has_mlp = mlp_input.weight.defined();
  Var with, without;
  if (has_gnn) with = gnn.representation_of(graph, gnn_input(x, context), context);
  if (has_mlp) without = mlp.representation_of(graph, mlp_input(x, context), context);
  if (!has_mlp) return output(with);
  if (!has_gnn) return output(without);
  const Var parts[] = {with, without};
  return output(autograd::concat(parts, -1));
}

}  // namespace tessera::algorithms::gfs
