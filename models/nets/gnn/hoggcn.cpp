#include "tessera/models/nets/gnn/hoggcn.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/ops/softmax.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {
namespace {

constexpr double tiny = 1e-30;  // an f32 softmax of far apart logits has zeros

}  // namespace

HogGcn HogGcn::make(const GraphOperators& graph, int64_t features, int64_t classes,
                    const Options& o, Rng& rng) {
  TS_CHECK(o.layers >= 1, "HogGcn: ", o.layers, " layers");
  HogGcn net;
  net.soft_share = o.soft_share;
  net.neighbours = o.neighbours;
  net.dropout = o.dropout;
  net.soft_first = GraphLinear::make(features, o.hidden, rng);
  net.soft_second = GraphLinear::make(o.hidden, classes, rng);
  net.mask = constant({graph.pattern(true).entries(), 1}, 0.0);
  int64_t in = features;
  for (int64_t i = 0; i < o.layers; ++i) {
    const int64_t out = i + 1 == o.layers ? classes : o.hidden;
    net.layers.push_back({GraphLinear::make(in, out, rng), GraphLinear::make(in, out, rng, false)});
    in = out;
  }
  return net;
}

Var HogGcn::operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context,
                       Vars* auxiliary) const {
  const autograd::SparseMatrix& pattern = graph.pattern(true);
  const int64_t runs = std::max<int64_t>(context.runs, 1);
  // [n, width], or [n, runs, width]: entry values of their own for every run
  const auto by_run = [&](const Var& h) {
    return autograd::reshape(h, {h.size(0), runs, h.size(-1)});
  };
  const auto aggregated = [&](const Var& weights, const Var& h) {
    return autograd::reshape(autograd::spmm(pattern, weights, by_run(h)), h.shape());
  };
  const Var soft_logits =
      soft_second(drop(autograd::relu(soft_first(x, dropout, context)), dropout, context));
  const Var learned =
      autograd::edge_softmax(pattern, autograd::reshape(mask, {pattern.entries(), runs}));
  const Var soft = aggregated(learned, autograd::softmax(soft_logits));
  const Var degrees = autograd::sddmm(pattern, by_run(soft), by_run(soft)) * soft_share + learned;
  const Var ones(autograd::convert(constant({pattern.columns(), runs, 1}, 1.0), degrees.dtype())
                     .to(degrees.device()));
  Var scale = neighbours / autograd::spmm(pattern, degrees, ones);  // [n, runs, 1]
  if (context.runs == 0) scale = autograd::squeeze(scale, 1);
  Var h;
  for (size_t i = 0; i < layers.size(); ++i) {
    Var own, others;
    if (i == 0) {
      own = layers[i].self(x, dropout, context);
      others = layers[i].neighbours(x, dropout, context);
    } else {
      h = drop(autograd::relu(h), dropout, context);
      own = layers[i].self(h);
      others = layers[i].neighbours(h);
    }
    h = own + aggregated(degrees, others) * scale;
  }
  if (auxiliary) *auxiliary = {soft_logits, autograd::log(soft + tiny)};
  return h;
}

}  // namespace tessera::models
