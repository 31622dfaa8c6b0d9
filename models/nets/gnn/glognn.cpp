#include "tessera/models/nets/gnn/glognn.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {
namespace {

/// [n, classes] as it is, [n, runs, classes] as [runs, n, classes], and back.
Var by_run(const Var& h) { return h.rank() == 3 ? autograd::transpose(h, 0, 1) : h; }

Tensor scaled_identity(int64_t n, double scale, const Var& like) {
  std::vector<double> values(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i * n + i)] = scale;
  return autograd::convert(Tensor::from(values, {n, n}, Device::cpu()), like.dtype())
      .to(like.device());
}

}  // namespace

GloGnn GloGnn::make(int64_t nodes, int64_t features, int64_t classes, const Options& o, Rng& rng) {
  TS_CHECK(o.rounds >= 0 && o.orders >= 1, "GloGnn: ", o.rounds, " rounds with ", o.orders,
           " orders");
  TS_CHECK(o.alpha + o.beta > 0 && o.gamma >= 0 && o.gamma < 1, "GloGnn: alpha ", o.alpha,
           ", beta ", o.beta, ", gamma ", o.gamma, "; expected alpha + beta > 0, gamma in [0, 1)");
  GloGnn net;
  net.structure = GraphLinear::make(nodes, o.hidden, rng);
  net.features = GraphLinear::make(features, o.hidden, rng);
  net.output = GraphLinear::make(o.hidden, classes, rng);
  net.order_weights = constant({o.orders}, 1.0 / static_cast<double>(o.orders));
  net.alpha = o.alpha;
  net.beta = o.beta;
  net.gamma = o.gamma;
  net.delta = o.delta;
  net.rounds = o.rounds;
  net.dropout = o.dropout;
  return net;
}

Var GloGnn::operator()(const GraphOperators& graph, const NodeFeatures& x,
                       ForwardContext& context) const {
  const Var of_graph = autograd::spmm(graph.pattern(false), structure.weight) + structure.bias;
  const Var mixed = features(x, dropout, context) * delta + of_graph * (1 - delta);
  const Var start = output(drop(autograd::relu(mixed), dropout, context));
  const double share = 1 - gamma, c = 1 / (alpha + beta);
  const Var identity(scaled_identity(start.size(-1), 1 / (share * share), start));
  const Var start_by_run = by_run(start);
  Var h = start;
  for (int64_t round = 0; round < rounds; ++round) {
    const Var rows = by_run(h), gram = autograd::gram(rows);
    const Var correction = autograd::solve(gram * c + identity, gram);
    const Var q = rows * (share * c) - autograd::matmul(rows, correction) * (share * c * c);
    const Var inner = autograd::matmul(autograd::transpose(rows, -2, -1), q);
    const Var far = autograd::matmul(rows - start_by_run * gamma, inner) * share;
    Var power = by_run(q), near;
    for (int64_t k = 0; k < order_weights.size(-1); ++k) {
      power = autograd::spmm(graph.symmetric(true), power);
      const Var weighted = power * autograd::narrow(order_weights, -1, k, 1);
      near = near.defined() ? near + weighted : weighted;
    }
    h = by_run(far) + near * beta + start * gamma;
  }
  return h;
}

}  // namespace tessera::models
