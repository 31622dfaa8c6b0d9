#include <algorithm>

#include "tessera/algorithms/gsl/learners.hpp"
#include "tessera/algorithms/gsl/weighted_graph.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"

namespace tessera::algorithms::gsl {
namespace {

constexpr double tiny = 1e-12;

struct Idgl {
  Var of_features, of_hidden;  // [heads, width]: weights of the cosines
  models::Gcn task;

  static void visit(auto& self, auto&& f) {
    f("of_features", self.of_features);
    f("of_hidden", self.of_hidden);
    f("task", self.task);
  }
};

/// R [nodes, anchors] with its row sums [nodes, 1] and column sums [anchors, 1].
struct Affinity {
  Var r, rows, columns;
};

Affinity affinity(const Var& x, const Var& weights, const Tensor& anchors, double threshold) {
  Var sum;
  for (int64_t h = 0; h < weights.size(0); ++h) {
    const Var unit = unit_rows(x * autograd::select(weights, 0, h));
    const Var cosines =
        autograd::matmul(unit, autograd::transpose(autograd::gather_rows(unit, anchors), 0, 1));
    sum = sum.defined() ? sum + cosines : cosines;
  }
  const Var mean = sum / static_cast<double>(weights.size(0));
  const Var r = autograd::masked_fill(mean, autograd::less_equal(mean, threshold), 0);
  return {r, autograd::sum(r, {1}, true), autograd::transpose(autograd::sum(r, {0}, true), 0, 1)};
}

/// D^-1 R L^-1 R' x
Var through_anchors(const Affinity& a, const Var& x) {
  const Var at_anchors = autograd::matmul(autograd::transpose(a.r, 0, 1), x) / (a.columns + tiny);
  return autograd::matmul(a.r, at_anchors) / (a.rows + tiny);
}

/// tr(X' (D - R L^-1 R') X) / n^2
Var roughness(const Affinity& a, const Tensor& x) {
  const auto n = static_cast<double>(x.size(0));
  const Var squares = autograd::sum(autograd::square(Var(x)), {1}, true);
  const Var at_anchors = autograd::matmul(autograd::transpose(a.r, 0, 1), x);
  return (autograd::sum(a.rows * squares) -
          autograd::sum(autograd::square(at_anchors) / (a.columns + tiny))) /
         (n * n);
}

double squared_difference(const Var& a, const Var& b) {
  return autograd::sum(autograd::square(a.value() - Var(b.value()))).item();
}

/// Homophily of R L^-1 R' without its diagonal, from sums over classes.
double homophily_of(const Affinity& a, const Tensor& labels) {
  const auto r = a.r.value().values<float>(), columns = a.columns.value().values<float>();
  const auto label = labels.values<int32_t>();
  const auto anchors = columns.size();
  const auto classes = static_cast<size_t>(*std::max_element(label.begin(), label.end())) + 1;
  std::vector<double> of_class(classes * anchors);
  double diagonal = 0, same = 0, all = 0;
  for (size_t i = 0; i < label.size(); ++i)
    for (size_t s = 0; s < anchors; ++s) {
      const double value = r[i * anchors + s];
      of_class[static_cast<size_t>(label[i]) * anchors + s] += value;
      if (columns[s] > 0) diagonal += value * value / columns[s];
    }
  for (size_t s = 0; s < anchors; ++s) {
    if (columns[s] <= 0) continue;
    all += columns[s];
    for (size_t c = 0; c < classes; ++c)
      same += of_class[c * anchors + s] * of_class[c * anchors + s] / columns[s];
  }
  return (same - diagonal) / (all - diagonal);
}

}  // namespace

Learned idgl(const Problem& problem, const models::Split& split, const IdglOptions& o,
             const Rng& rng) {
  const NodeTask task(problem, std::span(&split, 1));
  const Device device = problem.device();
  Rng initial = rng.split(0);
  const int64_t width = problem.features.width(), count = std::min(o.anchors, problem.nodes());
  // As cosines start with weights of any sign, uniform ones do: Glorot's bound.
  Idgl model{models::glorot_uniform({o.heads, width}, width, o.heads, initial),
             models::glorot_uniform({o.heads, o.task.hidden}, o.task.hidden, o.heads, initial),
             models::Gcn::make({width, o.task.hidden, problem.classes}, o.task.dropout, initial)};
  model = models::to(model, device);
  std::vector<int64_t> nodes(static_cast<size_t>(problem.nodes()));
  for (size_t i = 0; i < nodes.size(); ++i) nodes[i] = static_cast<int64_t>(i);
  Rng anchor_rng = rng.split(2);
  shuffle(nodes.begin(), nodes.end(), anchor_rng);
  const Tensor anchors = Tensor::from(
      std::span<const int64_t>(nodes.data(), static_cast<size_t>(count)), {count}, device);
  models::Adam adam{.learning_rate = o.task.learning_rate, .weight_decay = o.task.weight_decay};

  Affinity last;
  struct Pass {
    Var logits, loss;  // of the last structure; of all
  };
  const auto pass = [&](const Idgl& m, ForwardContext& context) {
    const Affinity first = affinity(problem.x, m.of_features, anchors, o.threshold);
    const double size = squared_difference(first.r, autograd::zeros_like(first.r));
    Affinity now = first;
    Var hidden, own, others;
    int64_t iteration = 0;
    Pass result;
    while (true) {
      result.logits = gcn_on(
          m.task, problem.features, context,
          [&](const Var& x) {
            Var learned = through_anchors(now, x);
            if (iteration > 0)
              learned = learned * o.update + through_anchors(first, x) * (1 - o.update);
            return autograd::spmm(problem.graph.symmetric(true), x) * o.skip +
                   learned * (1 - o.skip);
          },
          &hidden);
      if (context.training) {
        const Var loss =
            autograd::sum(task.loss(result.logits)) + roughness(now, problem.x) * o.smoothness;
        (iteration == 0 ? own : others) = iteration > 1 ? others + loss : loss;
      }
      if (++iteration >= o.iterations) break;
      const Affinity next = affinity(hidden, m.of_hidden, anchors, o.threshold);
      // The first two are of different things: their difference says nothing.
      const bool settled = iteration > 1 && squared_difference(next.r, now.r) < o.tolerance * size;
      now = next;
      if (settled) break;
    }
    if (context.training)
      result.loss = others.defined() ? own + others / static_cast<double>(iteration - 1) : own;
    if (!context.training) last = std::move(now);
    return result;
  };
  Learned learned;
  learned.scores =
      fit(
          model, adam, task, o.task.epochs, o.task.evaluate_every, std::span(&rng, 1),
          [&](const Idgl& m, ForwardContext& context) { return pass(m, context).loss; },
          [&](const Idgl& m, ForwardContext& context) { return pass(m, context).logits; },
          [&](int64_t) { learned.homophily = homophily_of(last, problem.labels); })
          .front();
  return learned;
}

}  // namespace tessera::algorithms::gsl
