#include "tessera/algorithms/gsl/learners.hpp"
#include "tessera/algorithms/gsl/weighted_graph.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/quantized.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"

namespace tessera::algorithms::gsl {
namespace {

struct Gaug {
  models::Gcn embedding, task;

  static void visit(auto& self, auto&& f) {
    f("embedding", self.embedding);
    f("task", self.task);
  }
};

Var embedding_of(const models::Gcn& net, const Problem& problem, ForwardContext& context) {
  return gcn_on(net, problem.features, context,
                [&](const Var& x) { return autograd::spmm(problem.graph.symmetric(true), x); });
}

/// Pairs i < j that may be edges, and where they lie in a symmetric pattern that has self-loops
/// too.
struct Pairs {
  autograd::SparseMatrix pattern;
  Tensor from, to;  // i64 [pairs]
  Tensor of_entry;  // i64 [entries]: the pair; of self-loops `count`
  Tensor given;     // f32 [pairs]: 1 where A has the edge
  int64_t count = 0;
};

Pairs pairs_of(const Problem& problem, const CsrMatrix& candidates) {
  const CsrMatrix parts[] = {problem.adjacency, candidates, identity_matrix(problem.nodes())};
  const JoinedPattern all = joined(parts, problem.device());
  const auto first = all.pattern.matrix().row_ptr.values<int32_t>(),
             to = all.pattern.matrix().col.values<int32_t>();
  const auto edge = all.values[0].values<float>();
  std::vector<int64_t> i_of, j_of, of_entry(to.size());
  std::vector<float> given;
  std::vector<int32_t> next(first.begin(), first.end() - 1);
  for (size_t i = 0; i + 1 < first.size(); ++i)
    for (auto e = static_cast<size_t>(first[i]); e < static_cast<size_t>(first[i + 1]); ++e) {
      const auto j = static_cast<size_t>(to[e]);
      if (j <= i) continue;
      of_entry[e] = static_cast<int64_t>(i_of.size());
      // Columns ascend, and rows are gone through in order: (j, i) is the next of row j below j.
      of_entry[static_cast<size_t>(next[j]++)] = of_entry[e];
      i_of.push_back(static_cast<int64_t>(i));
      j_of.push_back(static_cast<int64_t>(j));
      given.push_back(edge[e]);
    }
  const auto count = static_cast<int64_t>(i_of.size());
  for (size_t i = 0; i + 1 < first.size(); ++i)
    for (auto e = static_cast<size_t>(first[i]); e < static_cast<size_t>(first[i + 1]); ++e)
      if (static_cast<size_t>(to[e]) == i) of_entry[e] = count;
  const Device device = problem.device();
  return {all.pattern,
          Tensor::from(i_of, {count}, device),
          Tensor::from(j_of, {count}, device),
          Tensor::from(of_entry, {static_cast<int64_t>(of_entry.size())}, device),
          Tensor::from(given, {count}, device),
          count};
}

/// z_i . z_j of every pair.
Var scores_of(const Var& z, const Pairs& pairs) {
  return autograd::sum(autograd::gather_rows(z, pairs.from) * autograd::gather_rows(z, pairs.to),
                       {1});
}

Var edge_loss(const Var& scores, const Pairs& pairs) {
  const double edges = std::max(1.0, autograd::sum(Var(pairs.given)).item());
  const double weight = std::max(1.0, (static_cast<double>(pairs.count) - edges) / edges);
  const Var costs = autograd::binary_cross_entropy_with_logits(
      scores, pairs.given, {.reduction = autograd::LossReduction::none});
  return autograd::mean(costs * ((weight - 1) * Var(pairs.given) + 1.0));
}

/// The graph of chosen pairs, with self-loops of weight 1.
WeightedGraph graph_of(const Pairs& pairs, const Var& chosen) {
  const Var one = autograd::full({1}, 1.0, DType::f32, pairs.from.device());
  const Var both[] = {chosen, one};
  return {pairs.pattern, autograd::gather_rows(autograd::concat(both, 0), pairs.of_entry)};
}

}  // namespace

Learned gaug(const Problem& problem, const models::Split& split, const GaugOptions& o,
             const Rng& rng) {
  const NodeTask task(problem, std::span(&split, 1));
  const Device device = problem.device();
  Rng initial = rng.split(0);
  const int64_t width = problem.features.width();
  Gaug model{models::Gcn::make({width, o.embedding_hidden, o.embedding}, 0, initial),
             models::Gcn::make({width, o.task.hidden, problem.classes}, o.task.dropout, initial)};
  model = models::to(model, device);
  const auto original = [&](const Var& x) {
    return autograd::spmm(problem.graph.symmetric(true), x);
  };
  // One of the two networks: decay would shrink the other, which has no gradient, to nothing.
  const auto pretrain = [&](models::Gcn& net, double decay, int64_t epochs, uint64_t stream,
                            const auto& loss) {
    models::Adam adam{.learning_rate = o.task.learning_rate, .weight_decay = decay};
    models::train(0, epochs, [&](int64_t step) {
      ForwardContext context{true, rng.split(stream).split(static_cast<uint64_t>(step))};
      const auto [value, gradients] =
          models::value_and_grad(net, [&](const models::Gcn& m) { return loss(m, context); });
      adam.step(net, gradients);
      return value.value();
    });
  };
  // The autoencoder learns A from its edges and as many pairs drawn anew as nodes have candidates.
  {
    Rng drawn = rng.split(4);
    std::vector<int64_t> from, to;
    for (int64_t i = 0; i < problem.nodes(); ++i)
      for (int64_t c = 0; c < o.candidates; ++c) {
        const auto j = static_cast<int64_t>(drawn.below(static_cast<uint64_t>(problem.nodes())));
        if (j == i) continue;
        from.push_back(i);
        to.push_back(j);
      }
    const Pairs random = pairs_of(problem, CsrMatrix::from_edges(problem.nodes(), problem.nodes(),
                                                                 from, to, {.symmetrize = true}));
    pretrain(model.embedding, 0, o.pretrain_edges, 2,
             [&](const models::Gcn& m, ForwardContext& context) {
               return edge_loss(scores_of(embedding_of(m, problem, context), random), random);
             });
  }
  pretrain(model.task, o.task.weight_decay, o.pretrain_nodes, 3,
           [&](const models::Gcn& m, ForwardContext& context) {
             return autograd::sum(task.loss(gcn_on(m, problem.features, context, original)));
           });
  ForwardContext inference;
  const Pairs pairs = pairs_of(
      problem,
      neighbour_choices(embedding_of(model.embedding, problem, inference).value(), o.candidates));

  const auto chances = [&](const Var& scores) {
    const Var positive = autograd::relu(scores);
    const Var learned = positive / (autograd::max(positive) + 1e-12);
    return autograd::clamp(learned * o.alpha + Var(pairs.given) * (1 - o.alpha), 1e-6, 1 - 1e-6);
  };
  GroupedAdam adam(
      {{"embedding", {.learning_rate = o.task.learning_rate}},
       {"", {.learning_rate = o.task.learning_rate, .weight_decay = o.task.weight_decay}}});
  Learned learned;
  Var last;
  learned.scores =
      fit(
          model, adam, task, o.task.epochs, o.task.evaluate_every, std::span(&rng, 1),
          [&](const Gaug& m, ForwardContext& context) {
            const Var scores = scores_of(embedding_of(m.embedding, problem, context), pairs);
            const Var p = chances(scores);
            const Var u = autograd::uniform({pairs.count}, 0, 1, context.rng.take(pairs.count),
                                            DType::f32, device);
            const Var soft = autograd::sigmoid((autograd::log(p) - autograd::log(1.0 - p) +
                                                autograd::log(u) - autograd::log(1.0 - u)) /
                                               o.temperature);
            const WeightedGraph graph = graph_of(pairs, autograd::round_straight_through(soft));
            return autograd::sum(
                       task.loss(gcn_on(m.task, problem.features, context,
                                        [&](const Var& x) { return propagate(graph, x); }))) +
                   edge_loss(scores, pairs) * o.edge;
          },
          [&](const Gaug& m, ForwardContext& context) {
            last = graph_of(pairs,
                            chances(scores_of(embedding_of(m.embedding, problem, context), pairs)))
                       .weights;
            return gcn_on(m.task, problem.features, context, original);
          },
          [&](int64_t) {
            learned.homophily =
                weighted_homophily(pairs.pattern.matrix(), last.value(), problem.labels);
          })
          .front();
  return learned;
}

}  // namespace tessera::algorithms::gsl
