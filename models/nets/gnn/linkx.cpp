#include "tessera/models/nets/gnn/linkx.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {

Linkx Linkx::make(int64_t nodes, int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.layers >= 1, "Linkx: ", o.layers, " layers");
  Linkx net;
  net.dropout = o.dropout;
  net.structure = GraphLinear::make(nodes, o.hidden, rng);
  net.features = GraphLinear::make(features, o.hidden, rng);
  net.mix = GraphLinear::make(2 * o.hidden, o.hidden, rng);
  for (int64_t i = 0; i < o.layers; ++i)
    net.head.push_back(GraphLinear::make(o.hidden, i + 1 == o.layers ? classes : o.hidden, rng));
  return net;
}

Var Linkx::operator()(const GraphOperators& graph, const NodeFeatures& x,
                      ForwardContext& context) const {
  const Var of_graph = autograd::spmm(graph.pattern(false), structure.weight) + structure.bias;
  const Var of_features = features(x, 0.0, context);
  const Var both[] = {of_graph, of_features};
  Var h = autograd::relu(mix(autograd::concat(both, -1)) + of_graph + of_features);
  for (size_t i = 0; i < head.size(); ++i) {
    if (i > 0) h = autograd::relu(h);
    h = head[i](drop(h, dropout, context));
  }
  return h;
}

}  // namespace tessera::models
