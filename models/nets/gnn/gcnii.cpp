#include "tessera/models/nets/gnn/gcnii.hpp"

#include <cmath>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

Gcnii Gcnii::make(int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.layers >= 1, "Gcnii: ", o.layers, " layers");
  Gcnii net;
  net.alpha = o.alpha;
  net.theta = o.theta;
  net.dropout = o.dropout;
  net.input = GraphLinear::make(features, o.hidden, rng);
  for (int64_t i = 0; i < o.layers; ++i)
    net.layers.push_back(GraphLinear::make(o.hidden, o.hidden, rng, false));
  net.output = GraphLinear::make(o.hidden, classes, rng);
  return net;
}

Var Gcnii::operator()(const GraphOperators& graph, const NodeFeatures& x,
                      ForwardContext& context) const {
  const Var start = autograd::relu(input(x, dropout, context));
  Var h = start;
  for (size_t i = 0; i < layers.size(); ++i) {
    const double beta = std::log(theta / static_cast<double>(i + 1) + 1);
    h = autograd::spmm(graph.symmetric(true), drop(h, dropout, context)) * (1 - alpha) +
        start * alpha;
    h = autograd::relu(h * (1 - beta) + layers[i](h) * beta);
  }
  return output(drop(h, dropout, context));
}

}  // namespace tessera::models
