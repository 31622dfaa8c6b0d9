#include "tessera/algorithms/gsl/block_posterior.hpp"
#include "tessera/algorithms/gsl/learners.hpp"
#include "tessera/algorithms/gsl/weighted_graph.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/similarity_graph.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::gsl {
namespace {

/// The graph with self-loops of weight 1.
WeightedGraph with_loops(const CsrMatrix& graph, Device device) {
  const CsrMatrix parts[] = {graph, identity_matrix(graph.rows)};
  const JoinedPattern all = joined(parts, device);
  return {all.pattern, Var(all.values[0]) + all.values[1]};
}

std::vector<int32_t> classes_of(const Tensor& logits, const Problem& problem,
                                const models::Split& split) {
  std::vector<int32_t> classes;
  for (const int64_t c : autograd::argmax(logits, 1).values<int64_t>())
    classes.push_back(static_cast<int32_t>(c));
  const auto label = problem.labels.values<int32_t>();
  for (const int64_t node : split.train)
    classes[static_cast<size_t>(node)] = label[static_cast<size_t>(node)];
  return classes;
}

}  // namespace

Learned gen(const Problem& problem, const models::Split& split, const GenOptions& o,
            const Rng& rng) {
  const NodeTask task(problem, std::span(&split, 1));
  const Device device = problem.device();
  Rng initial = rng.split(0);
  models::Gcn model =
      models::to(models::Gcn::make({problem.features.width(), o.task.hidden, problem.classes},
                                   o.task.dropout, initial),
                 device);
  models::Adam adam{.learning_rate = o.task.learning_rate, .weight_decay = o.task.weight_decay};
  CsrMatrix structure = problem.adjacency;
  Learned learned;
  Tensor best_hidden, best_logits;
  const CsrMatrix of_features = models::similarity_graph(problem.x, {.k = o.k});
  for (int64_t round = 0; round <= o.iterations && !stop_requested(); ++round) {
    const WeightedGraph graph = with_loops(structure, device);
    Tensor now_hidden, now_logits;
    const auto logits = [&](const models::Gcn& m, ForwardContext& context) {
      Var hidden;
      const Var result = gcn_on(
          m, problem.features, context, [&](const Var& x) { return propagate(graph, x); }, &hidden);
      if (!context.training) {
        now_hidden = hidden.value();
        now_logits = result.value();
      }
      return result;
    };
    const Rng own = rng.split(2 + static_cast<uint64_t>(round));
    const Scores found =
        fit(
            model, adam, task, o.task.epochs, o.task.evaluate_every, std::span(&own, 1),
            [&](const models::Gcn& m, ForwardContext& context) {
              return task.loss(logits(m, context));
            },
            logits,
            [&](int64_t) {
              best_hidden = now_hidden;
              best_logits = now_logits;
            })
            .front();
    if (found.validation > learned.scores.validation) {
      learned.scores = found;
      learned.scores.epoch += round * o.task.epochs;
      learned.homophily = models::edge_homophily(structure, problem.labels);
    }
    if (round == o.iterations || stop_requested()) break;
    const CsrMatrix observations[] = {problem.adjacency, of_features,
                                      models::similarity_graph(best_hidden, {.k = o.k}),
                                      models::similarity_graph(best_logits, {.k = o.k})};
    structure = block_posterior(observations, classes_of(best_logits, problem, split),
                                problem.classes, o.threshold, o.tolerance)
                    .graph;
  }
  return learned;
}

}  // namespace tessera::algorithms::gsl
