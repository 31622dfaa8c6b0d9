#include "tessera/models/nets/gnn/fagcn.hpp"

#include <cmath>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

FaGcn::Layer FaGcn::Layer::make(int64_t hidden, Rng& rng) {
  const auto width = static_cast<double>(2 * hidden);
  const auto gate = [&] {  // Xavier normal, gain 1.414, of a [1, 2 hidden] layer
    return normal({hidden, 1}, 1.414 * std::sqrt(2 / (width + 1)), rng);
  };
  Layer layer;
  layer.self = {gate(), uniform({1}, 1 / std::sqrt(width), rng)};
  layer.neighbour = {gate(), {}};
  return layer;
}

Var FaGcn::Layer::gates(const autograd::SparseMatrix& pattern, const Var& h, const Tensor& scale,
                        double dropout, ForwardContext& context) const {
  const int64_t runs = std::max<int64_t>(context.runs, 1);
  const auto score = [&](const GraphLinear& gate) {
    return autograd::reshape(gate(h), {h.size(0), runs});
  };
  Var weights = autograd::tanh(autograd::edge_add(pattern, score(self), score(neighbour)));
  if (scale.defined()) weights = weights * scale;
  return autograd::reshape(
      drop(context.runs > 0 ? autograd::unsqueeze(weights, -1) : weights, dropout, context),
      weights.shape());
}

FaGcn FaGcn::make(int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.layers >= 1, "FaGcn: ", o.layers, " layers");
  FaGcn net;
  net.epsilon = o.epsilon;
  net.dropout = o.dropout;
  net.input = GraphLinear::make(features, o.hidden, rng);
  for (int64_t i = 0; i < o.layers; ++i) net.layers.push_back(Layer::make(o.hidden, rng));
  net.output = GraphLinear::make(o.hidden, classes, rng);
  return net;
}

Var FaGcn::operator()(const GraphOperators& graph, const NodeFeatures& x,
                      ForwardContext& context) const {
  const autograd::SparseMatrix& pattern = graph.pattern(false);
  const Var start = drop(autograd::relu(input(x, dropout, context)), dropout, context);
  const int64_t runs = std::max<int64_t>(context.runs, 1);
  Var h = start;
  for (const Layer& layer : layers) {
    const Var weights =
        layer.gates(pattern, h, graph.symmetric_values(h.dtype()), dropout, context);
    // [n, runs, width]: heads of their own for every run
    const Var by_run = autograd::reshape(h, {h.size(0), runs, h.size(-1)});
    h = start * epsilon + autograd::reshape(autograd::spmm(pattern, weights, by_run), h.shape());
  }
  return output(h);
}

}  // namespace tessera::models
