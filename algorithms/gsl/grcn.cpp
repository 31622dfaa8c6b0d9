#include "tessera/algorithms/gsl/learners.hpp"
#include "tessera/algorithms/gsl/weighted_graph.hpp"
#include "tessera/models/init.hpp"

namespace tessera::algorithms::gsl {
namespace {

struct Grcn {
  Var first, second;  // diagonals [features]
  models::Gcn task;

  static void visit(auto& self, auto&& f) {
    f("structure.first", self.first);
    f("structure.second", self.second);
    f("task", self.task);
  }
};

struct Structure {
  WeightedGraph graph;
  Var own;  // the weights without A and I
};

Structure structure_of(const Grcn& m, const Problem& problem, int64_t k) {
  const autograd::SparseMatrix& a = problem.graph.symmetric(true);
  const Var h = autograd::tanh(autograd::spmm(a, Var(problem.x) * m.first));
  const Var e = unit_rows(autograd::spmm(a, h * m.second));
  const CsrMatrix parts[] = {problem.adjacency, identity_matrix(problem.nodes()),
                             neighbour_choices(e.value(), k)};
  const JoinedPattern all = joined(parts, problem.device());
  const Var own = autograd::relu(autograd::sddmm(all.pattern, e, e)) * all.values[2];
  return {{all.pattern, own + all.values[0] + all.values[1]}, own};
}

}  // namespace

Learned grcn(const Problem& problem, const models::Split& split, const GrcnOptions& o,
             const Rng& rng) {
  const NodeTask task(problem, std::span(&split, 1));
  Rng initial = rng.split(0);
  const int64_t width = problem.features.width();
  Grcn model{models::constant({width}, 1.0), models::constant({width}, 1.0),
             models::Gcn::make({width, o.task.hidden, problem.classes}, o.task.dropout, initial)};
  model = models::to(model, problem.device());
  GroupedAdam optimizer(
      {{"structure", {.learning_rate = o.graph_learning_rate}},
       {"", {.learning_rate = o.task.learning_rate, .weight_decay = o.task.weight_decay}}});
  CsrMatrix last_pattern;
  Tensor last_weights;
  const auto logits = [&](const Grcn& m, ForwardContext& context) {
    const Structure now = structure_of(m, problem, o.k);
    if (!context.training) {
      last_pattern = now.graph.pattern.matrix();
      last_weights = now.own.value();
    }
    return gcn_on(m.task, problem.features, context,
                  [&](const Var& x) { return propagate(now.graph, x); });
  };
  Learned learned;
  learned.scores =
      fit(
          model, optimizer, task, o.task.epochs, o.task.evaluate_every, std::span(&rng, 1),
          [&](const Grcn& m, ForwardContext& context) { return task.loss(logits(m, context)); },
          logits,
          [&](int64_t) {
            learned.homophily = weighted_homophily(last_pattern, last_weights, problem.labels);
          })
          .front();
  return learned;
}

}  // namespace tessera::algorithms::gsl
