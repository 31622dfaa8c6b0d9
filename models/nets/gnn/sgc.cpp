#include "tessera/models/nets/gnn/sgc.hpp"

namespace tessera::models {

Sgc Sgc::make(int64_t features, int64_t classes, int64_t steps, double dropout, Rng& rng) {
  TS_CHECK(steps >= 0, "Sgc: ", steps, " steps");
  return {GraphLinear::glorot(features, classes, rng), steps, dropout};
}

Var Sgc::operator()(const GraphOperators& graph, const NodeFeatures& x,
                    ForwardContext& context) const {
  Var h = linear(x, dropout, context);
  for (int64_t i = 0; i < steps; ++i) h = autograd::spmm(graph.symmetric(true), h);
  return h;
}

}  // namespace tessera::models
