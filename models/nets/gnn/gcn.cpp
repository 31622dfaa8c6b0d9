#include "tessera/models/nets/gnn/gcn.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

Gcn Gcn::make(const std::vector<int64_t>& widths, double dropout, Rng& rng, bool propagates) {
  TS_CHECK(widths.size() >= 2, "Gcn: needs at least an input and an output width, got ",
           widths.size());
  Gcn net;
  net.dropout = dropout;
  net.propagates = propagates;
  for (size_t i = 0; i + 1 < widths.size(); ++i)
    net.layers.push_back(GraphLinear::glorot(widths[i], widths[i + 1], rng));
  return net;
}

Var Gcn::operator()(const GraphOperators& graph, const NodeFeatures& x,
                    ForwardContext& context) const {
  Var h;
  for (size_t i = 0; i < layers.size(); ++i) {
    const GraphLinear& layer = layers[i];
    h = i == 0 ? x.times(layer.weight, dropout, context)
               : times(drop(autograd::relu(h), dropout, context), layer.weight);
    if (propagates) h = autograd::spmm(graph.symmetric(true), h);
    h = h + layer.bias;
  }
  return h;
}

}  // namespace tessera::models
