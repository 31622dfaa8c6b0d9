#include "tessera/models/nets/gnn/h2gcn.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

H2Gcn H2Gcn::make(int64_t features, int64_t hidden, int64_t classes, int64_t rounds, double dropout,
                  Rng& rng) {
  TS_CHECK(rounds >= 0 && rounds <= 16, "H2Gcn: ", rounds,
           " rounds, of which each doubles a width");
  H2Gcn net;
  net.rounds = rounds;
  net.dropout = dropout;
  net.input = GraphLinear::glorot(features, hidden, rng, false);
  net.output = GraphLinear::glorot(hidden * ((int64_t{2} << rounds) - 1), classes, rng);
  return net;
}

Var H2Gcn::operator()(const GraphOperators& graph, const NodeFeatures& x,
                      ForwardContext& context) const {
  Vars all{autograd::relu(input(x, 0.0, context))};
  for (int64_t r = 0; r < rounds; ++r) {
    const Var both[] = {autograd::spmm(graph.symmetric(false), all.back()),
                        autograd::spmm(graph.two_hop(), all.back())};
    all.push_back(autograd::concat(both, -1));
  }
  return output(drop(autograd::concat(all, -1), dropout, context));
}

}  // namespace tessera::models
