#include "tessera/models/nets/gnn/sage.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

Sage Sage::make(const std::vector<int64_t>& widths, double dropout, Rng& rng) {
  TS_CHECK(widths.size() >= 2, "Sage: needs at least an input and an output width, got ",
           widths.size());
  Sage net;
  net.dropout = dropout;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    Layer layer;
    layer.self = GraphLinear::glorot(widths[i], widths[i + 1], rng);
    layer.neighbours = GraphLinear::glorot(widths[i], widths[i + 1], rng, false);
    net.layers.push_back(std::move(layer));
  }
  return net;
}

Var Sage::operator()(const GraphOperators& graph, const NodeFeatures& x,
                     ForwardContext& context) const {
  const auto mean = [&](const Var& h) { return autograd::spmm(graph.random_walk(false), h); };
  Var h;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    if (i == 0) {  // one dropout of x for both products
      const Var weights[] = {layer.self.weight, layer.neighbours.weight};
      const Vars parts =
          autograd::split(x.times(autograd::concat(weights, -1), dropout, context), -1, 2);
      h = parts[0] + layer.self.bias + mean(parts[1]);
    } else {
      h = drop(autograd::relu(h), dropout, context);
      h = layer.self(h) + mean(layer.neighbours(h));
    }
  }
  return h;
}

}  // namespace tessera::models
