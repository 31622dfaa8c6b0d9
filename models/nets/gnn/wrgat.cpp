#include "tessera/models/nets/gnn/wrgat.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

Wrgat Wrgat::make(int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.layers >= 1 && o.heads >= 1 && o.radii >= 0, "Wrgat: ", o.layers, " layers of ",
           o.heads, " heads with ", o.radii, " radii");
  Wrgat net;
  net.heads = o.heads;
  net.dropout = o.dropout;
  int64_t in = features;
  for (int64_t i = 0; i < o.layers; ++i) {
    const bool last = i + 1 == o.layers;
    const int64_t channels = last ? classes : o.hidden, width = o.heads * channels;
    Layer layer;
    layer.root = GraphLinear::glorot(in, last ? classes : width, rng);
    for (int64_t r = 0; r <= o.radii; ++r)
      layer.relations.push_back({GraphLinear::glorot(in, width, rng, false),
                                 glorot_uniform({width}, channels, 1, rng),
                                 glorot_uniform({width}, channels, 1, rng)});
    net.layers.push_back(std::move(layer));
    in = width;
  }
  return net;
}

Var Wrgat::operator()(const GraphOperators& graph, const NodeFeatures& x,
                      ForwardContext& context) const {
  const auto& proximity = graph.structural(std::ssize(layers.front().relations) - 1);
  Var h;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    const Var input = i == 0 ? Var() : drop(autograd::relu(h), dropout, context);
    const auto of_input = [&](const GraphLinear& linear) {
      return i == 0 ? linear(x, dropout, context) : linear(input);
    };
    Var y = of_input(layer.root);
    for (size_t r = 0; r < layer.relations.size(); ++r) {
      const Relation& relation = layer.relations[r];
      const Var value = of_input(relation.value);
      const auto scores = [&](const Var& vectors) {
        return autograd::sum(split_heads(value * vectors, heads), {-1});
      };
      AttendOptions options{.heads = heads, .dropout = dropout};
      if (r > 0) options.entry_weights = proximity[r - 1].weights(value.dtype());
      Var message = attend(r == 0 ? graph.pattern(false) : proximity[r - 1].pattern, value,
                           scores(relation.target), scores(relation.source), options, context);
      if (i + 1 == layers.size()) message = autograd::mean(split_heads(message, heads), {-2});
      y = y + message;
    }
    h = y;
  }
  return h;
}

}  // namespace tessera::models
