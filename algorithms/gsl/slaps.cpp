#include "tessera/algorithms/gsl/learners.hpp"
#include "tessera/algorithms/gsl/weighted_graph.hpp"
#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"

namespace tessera::algorithms::gsl {
namespace {

struct Slaps {
  Var first, second;  // diagonals [features] of the generator
  models::Gcn denoising, task;

  static void visit(auto& self, auto&& f) {
    f("structure.first", self.first);
    f("structure.second", self.second);
    f("structure.denoising", self.denoising);
    f("task", self.task);
  }
};

WeightedGraph structure_of(const Slaps& m, const Problem& problem, int64_t k) {
  const Var z = autograd::relu(Var(problem.x) * m.first) * m.second;
  const CsrMatrix parts[] = {identity_matrix(problem.nodes()), neighbour_choices(z.value(), k)};
  const JoinedPattern all = joined(parts, problem.device());
  const Var unit = unit_rows(z);
  const Var cosines = autograd::relu(autograd::sddmm(all.pattern, unit, unit));
  return {all.pattern, cosines * all.values[1] * 0.5 + all.values[0]};
}

/// y = D^-1/2 W D^-1/2 x with dropout of the entries, which are drawn once for all layers.
class Propagation {
 public:
  Propagation(const WeightedGraph& graph, double dropout, ForwardContext& context)
      : pattern_(graph.pattern), weights_(graph.weights) {
    const Tensor ones = autograd::full({pattern_.columns(), 1}, 1.0, DType::f32, pattern_.device());
    scale_ = autograd::rsqrt(autograd::spmm(pattern_, weights_, ones) + 1e-12);
    if (context.training && dropout > 0)
      weights_ = autograd::dropout(weights_, dropout, context.rng.take(weights_.numel()));
  }
  Var operator()(const Var& x) const {
    return scale_ * autograd::spmm(pattern_, weights_, scale_ * x);
  }

 private:
  autograd::SparseMatrix pattern_;
  Var weights_, scale_;
};

/// Which features are masked, and how well they are restored.
class Denoising {
 public:
  Denoising(const Tensor& x, double mask, double zeros) : x_(x) {
    const Tensor nonzero = autograd::not_equal(Var(x), 0.0);
    const Tensor one = autograd::equal(Var(x), 1.0);
    const Var ones = autograd::convert(nonzero, x.dtype());
    const double share = autograd::mean(ones).item();
    binary_ = autograd::mean(Var(autograd::convert(one, x.dtype()))).item() == share;
    const double of_zeros =
        binary_ && share < 1 ? std::min(1.0, zeros * share / (1 - share) / mask) : 1 / mask;
    chance_ = (ones * (1 / mask - of_zeros) + of_zeros).value();
  }

  Var loss(const models::Gcn& net, const Propagation& propagation, ForwardContext& context) const {
    const Tensor draws =
        autograd::uniform(x_.shape(), 0, 1, context.rng.take(x_.numel()), x_.dtype(), x_.device());
    const Tensor mask = autograd::convert(autograd::less(Var(draws), Var(chance_)), x_.dtype());
    const models::NodeFeatures noisy((Var(x_) * (1.0 - Var(mask))).value());
    const Var restored = gcn_on(net, noisy, context, propagation);
    const Var cost = binary_ ? autograd::softplus(restored) - restored * Var(x_)
                             : autograd::square(restored - Var(x_));
    return autograd::sum(cost * Var(mask)) / std::max(1.0, autograd::sum(Var(mask)).item());
  }

 private:
  Tensor x_, chance_;
  bool binary_ = false;
};

}  // namespace

Learned slaps(const Problem& problem, const models::Split& split, const SlapsOptions& o,
              const Rng& rng) {
  const NodeTask task(problem, std::span(&split, 1));
  Rng initial = rng.split(0);
  const int64_t width = problem.features.width();
  Slaps model{models::constant({width}, 1.0), models::constant({width}, 1.0),
              models::Gcn::make({width, o.denoising_hidden, width}, o.task.dropout, initial),
              models::Gcn::make({width, o.task.hidden, problem.classes}, o.task.dropout, initial)};
  model = models::to(model, problem.device());
  GroupedAdam optimizer(
      {{"structure", {.learning_rate = o.graph_learning_rate}},
       {"", {.learning_rate = o.task.learning_rate, .weight_decay = o.task.weight_decay}}});
  const Denoising denoising(problem.x, o.mask, o.zeros);
  Tensor weights;
  CsrMatrix pattern;
  Learned learned;
  learned.scores =
      fit(
          model, optimizer, task, o.task.epochs, o.task.evaluate_every, std::span(&rng, 1),
          [&](const Slaps& m, ForwardContext& context) {
            const WeightedGraph graph = structure_of(m, problem, o.k);
            const Propagation of_task(graph, o.graph_dropout, context),
                of_denoising(graph, o.graph_dropout, context);
            return autograd::sum(task.loss(gcn_on(m.task, problem.features, context, of_task))) +
                   denoising.loss(m.denoising, of_denoising, context) * o.denoising;
          },
          [&](const Slaps& m, ForwardContext& context) {
            const WeightedGraph graph = structure_of(m, problem, o.k);
            weights = graph.weights.value();
            pattern = graph.pattern.matrix();
            return gcn_on(m.task, problem.features, context, Propagation(graph, 0, context));
          },
          [&](int64_t) {
            learned.homophily = weighted_homophily(pattern, weights, problem.labels);
          })
          .front();
  return learned;
}

}  // namespace tessera::algorithms::gsl
