#include "tessera/models/nets/gnn/gcn.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/random.hpp"

namespace tessera::models {

Gcn Gcn::make(const std::vector<int64_t>& widths, double dropout, Rng& rng) {
  TS_CHECK(widths.size() >= 2, "Gcn: needs at least an input and an output width, got ",
           widths.size());
  Gcn net;
  net.dropout = dropout;
  for (size_t i = 0; i + 1 < widths.size(); ++i)
    net.layers.push_back(GraphConv::make(widths[i], widths[i + 1], rng));
  return net;
}

Var Gcn::operator()(const autograd::SparseMatrix& adjacency, const NodeFeatures& x,
                    ForwardContext& context) const {
  Var h = layers[0](adjacency, x, dropout, context);
  for (size_t i = 1; i < layers.size(); ++i) {
    h = autograd::relu(h);
    if (context.training && dropout > 0)
      h = autograd::dropout(h, dropout, context.rng.take(h.numel()));
    h = layers[i](adjacency, h);
  }
  return h;
}

}  // namespace tessera::models
