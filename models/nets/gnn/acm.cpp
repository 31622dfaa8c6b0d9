#include "tessera/models/nets/gnn/acm.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

AcmGcn AcmGcn::make(int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.layers >= 1, "AcmGcn: ", o.layers, " layers");
  AcmGcn net;
  net.dropout = o.dropout;
  for (int64_t i = 0; i < o.layers; ++i)
    net.layers.push_back(AcmConv::make(
        i == 0 ? features : o.hidden, i + 1 == o.layers ? classes : o.hidden,
        {.relu_first = o.relu_first, .plus = o.plus, .structure_nodes = o.structure_nodes}, rng));
  if (o.residual) {
    net.residual_first = GraphLinear::make(features, o.hidden, rng);
    net.residual_second = GraphLinear::make(o.hidden, classes, rng);
  }
  return net;
}

Var AcmGcn::operator()(const GraphOperators& graph, const NodeFeatures& x,
                       ForwardContext& context) const {
  Var h = layers[0](graph, x, dropout, context);
  for (size_t i = 1; i < layers.size(); ++i)
    h = layers[i](graph, drop(autograd::relu(h), dropout, context));
  if (!residual_first.weight.defined()) return h;
  const Var hidden = autograd::relu(residual_first(x, dropout, context));
  return h + residual_second(drop(hidden, dropout, context));
}

}  // namespace tessera::models
