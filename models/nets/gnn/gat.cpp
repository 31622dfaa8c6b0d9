#include "tessera/models/nets/gnn/gat.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

Gat Gat::make(int64_t features, int64_t hidden, int64_t classes, int64_t layers, int64_t heads,
              double dropout, Rng& rng) {
  TS_CHECK(layers >= 1, "Gat: ", layers, " layers");
  Gat net;
  net.heads = heads;
  net.dropout = dropout;
  int64_t in = features;
  for (int64_t i = 0; i < layers; ++i) {
    const bool last = i + 1 == layers;
    const int64_t channels = last ? classes : hidden, out = heads * channels;
    Layer layer;
    layer.value = GraphLinear::glorot(in, out, rng, false);
    layer.target = glorot_uniform({out}, channels, 1, rng);
    layer.source = glorot_uniform({out}, channels, 1, rng);
    layer.bias = constant({last ? classes : out}, 0.0);
    net.layers.push_back(std::move(layer));
    in = out;
  }
  return net;
}

Var Gat::operator()(const GraphOperators& graph, const NodeFeatures& x,
                    ForwardContext& context) const {
  Var h;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    const Var value = i == 0 ? layer.value(x, dropout, context)
                             : layer.value(drop(autograd::elu(h), dropout, context));
    const auto scores = [&](const Var& vectors) {
      return autograd::sum(split_heads(value * vectors, heads), {-1});
    };
    h = attend(graph.pattern(true), value, scores(layer.target), scores(layer.source),
               {.heads = heads, .dropout = dropout}, context);
    if (i + 1 == layers.size()) h = autograd::mean(split_heads(h, heads), {-2});
    h = h + layer.bias;
  }
  return h;
}

}  // namespace tessera::models
