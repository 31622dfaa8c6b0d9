#include "tessera/models/nets/gnn/appnp.hpp"

#include <cmath>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

Appnp Appnp::make(int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.steps >= 0 && o.teleport >= 0 && o.teleport <= 1, "Appnp: ", o.steps,
           " steps with teleport ", o.teleport);
  Appnp net;
  net.first = GraphLinear::make(features, o.hidden, rng);
  net.second = GraphLinear::make(o.hidden, classes, rng);
  net.steps = o.steps;
  net.teleport = o.teleport;
  net.dropout = o.dropout;
  return net;
}

Var Appnp::operator()(const GraphOperators& graph, const NodeFeatures& x,
                      ForwardContext& context) const {
  const Var start = second(drop(autograd::relu(first(x, dropout, context)), dropout, context));
  Var h = start;
  for (int64_t i = 0; i < steps; ++i)
    h = autograd::spmm(graph.symmetric(true), h) * (1 - teleport) + start * teleport;
  return h;
}

GprGnn GprGnn::make(int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.steps >= 0 && o.teleport >= 0 && o.teleport <= 1, "GprGnn: ", o.steps,
           " steps with teleport ", o.teleport);
  GprGnn net;
  net.first = GraphLinear::make(features, o.hidden, rng);
  net.second = GraphLinear::make(o.hidden, classes, rng);
  std::vector<float> gamma;
  for (int64_t k = 0; k <= o.steps; ++k) {
    const double kept = std::pow(1 - o.teleport, static_cast<double>(k));
    gamma.push_back(static_cast<float>(k < o.steps ? o.teleport * kept : kept));
  }
  net.gamma = Tensor::from(gamma, {o.steps + 1}, Device::cpu());
  net.dropout = o.dropout;
  net.propagation_dropout = o.propagation_dropout;
  return net;
}

Var GprGnn::operator()(const GraphOperators& graph, const NodeFeatures& x,
                       ForwardContext& context) const {
  Var h = second(drop(autograd::relu(first(x, dropout, context)), dropout, context));
  h = drop(h, propagation_dropout, context);
  const auto weighted = [&](const Var& of, int64_t k) {
    return of * autograd::narrow(gamma, -1, k, 1);
  };
  Var sum = weighted(h, 0);
  for (int64_t k = 1; k < gamma.size(-1); ++k) {
    h = autograd::spmm(graph.symmetric(true), h);
    sum = sum + weighted(h, k);
  }
  return sum;
}

}  // namespace tessera::models
