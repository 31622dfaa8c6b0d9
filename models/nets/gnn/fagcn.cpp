#include "tessera/models/nets/gnn/fagcn.hpp"

#include <cmath>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

FaGcn FaGcn::make(int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.layers >= 1, "FaGcn: ", o.layers, " layers");
  FaGcn net;
  net.epsilon = o.epsilon;
  net.dropout = o.dropout;
  const auto gate = [&] {  // Xavier normal, gain 1.414, of a [1, 2 hidden] layer
    const double deviation = 1.414 * std::sqrt(2.0 / static_cast<double>(2 * o.hidden + 1));
    return normal({o.hidden, 1}, deviation, rng);
  };
  net.input = GraphLinear::make(features, o.hidden, rng);
  for (int64_t i = 0; i < o.layers; ++i) {
    Layer layer;
    layer.self = {gate(), uniform({1}, 1 / std::sqrt(2.0 * static_cast<double>(o.hidden)), rng)};
    layer.neighbour = {gate(), {}};
    net.layers.push_back(std::move(layer));
  }
  net.output = GraphLinear::make(o.hidden, classes, rng);
  return net;
}

Var FaGcn::operator()(const GraphOperators& graph, const NodeFeatures& x,
                      ForwardContext& context) const {
  const autograd::SparseMatrix& pattern = graph.pattern(false);
  const Var start = drop(autograd::relu(input(x, dropout, context)), dropout, context);
  const int64_t runs = std::max<int64_t>(context.runs, 1);
  // [n, width], or [n, runs, width]: heads of their own for every run
  const auto by_run = [&](const Var& h) {
    return autograd::reshape(h, {h.size(0), runs, h.size(-1)});
  };
  Var h = start;
  for (const Layer& layer : layers) {
    const auto score = [&](const GraphLinear& gate) {
      return autograd::reshape(gate(h), {h.size(0), runs});
    };
    Var weights =
        autograd::tanh(autograd::edge_add(pattern, score(layer.self), score(layer.neighbour)));
    weights = weights * graph.symmetric_values(weights.dtype());
    weights = autograd::reshape(
        drop(context.runs > 0 ? autograd::unsqueeze(weights, -1) : weights, dropout, context),
        weights.shape());
    h = start * epsilon + autograd::reshape(autograd::spmm(pattern, weights, by_run(h)), h.shape());
  }
  return output(h);
}

}  // namespace tessera::models
