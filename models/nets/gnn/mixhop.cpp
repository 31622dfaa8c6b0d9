#include "tessera/models/nets/gnn/mixhop.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

MixHop MixHop::make(int64_t features, int64_t hidden, int64_t classes, int64_t layers,
                    double dropout, Rng& rng) {
  TS_CHECK(layers >= 1, "MixHop: ", layers, " layers");
  MixHop net;
  net.dropout = dropout;
  for (int64_t i = 0; i < layers; ++i) {
    Layer layer;
    for (int k = 0; k < powers; ++k)
      layer.hops.push_back(GraphLinear::glorot(i == 0 ? features : powers * hidden, hidden, rng));
    net.layers.push_back(std::move(layer));
  }
  net.output = GraphLinear::glorot(powers * hidden, classes, rng);
  return net;
}

Var MixHop::operator()(const GraphOperators& graph, const NodeFeatures& x,
                       ForwardContext& context) const {
  Var h;
  for (size_t i = 0; i < layers.size(); ++i) {
    Vars parts;
    for (int k = 0; k < powers; ++k) {
      const GraphLinear& hop = layers[i].hops[static_cast<size_t>(k)];
      Var part = i == 0 ? hop(x, dropout, context) : hop(h);
      for (int step = 0; step < k; ++step) part = autograd::spmm(graph.symmetric(true), part);
      parts.push_back(part);
    }
    h = drop(autograd::relu(autograd::concat(parts, -1)), dropout, context);
  }
  return output(h);
}

}  // namespace tessera::models
