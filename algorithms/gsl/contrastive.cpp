#include "tessera/algorithms/gsl/contrastive.hpp"

#include <limits>
#include <numeric>

#include "tessera/algorithms/gsl/weighted_graph.hpp"
#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/similarity_graph.hpp"

namespace tessera::algorithms::gsl {
namespace {

using autograd::relu;

struct Contrast {
  models::GraphLinear first, second;            // encoder
  models::GraphLinear project_hidden, project;  // head

  static void visit(auto& self, auto&& f) {
    f("first", self.first);
    f("second", self.second);
    f("project_hidden", self.project_hidden);
    f("project", self.project);
  }
};

/// Masked columns of features are rows of the first weight.
Var damaged_embedding(const Contrast& m, const Problem& problem, const Tensor& root,
                      double edge_drop, double feature_drop, Rng& rng) {
  const auto kept = [&](const Shape& shape, double drop) -> Var {
    const Var ones = autograd::full(shape, 1.0, DType::f32, problem.device());
    return drop > 0 ? autograd::dropout(ones, drop, rng.take(shape.numel())) : ones;
  };
  const autograd::SparseMatrix& pattern = problem.graph.pattern(true);
  const Var edges = kept({pattern.entries()}, edge_drop);
  const Var columns = kept({problem.features.width(), 1}, feature_drop) * (1 - feature_drop);
  const auto spread = [&](const Var& x) { return root * autograd::spmm(pattern, edges, root * x); };
  ForwardContext inference;
  const Var h =
      relu(spread(problem.features.times(m.first.weight * columns, 0, inference)) + m.first.bias);
  return relu(spread(models::times(h, m.second.weight)) + m.second.bias);
}

Var one_way(const Var& u, const Var& v, double temperature, const Tensor& own,
            const Tensor& diagonal) {
  const Var across = autograd::matmul(u, autograd::transpose(v, 0, 1)) / temperature;
  const Var within = autograd::masked_fill(
      autograd::matmul(u, autograd::transpose(u, 0, 1)) / temperature, diagonal, -1e9);
  const Var logits[] = {across, within};
  return autograd::cross_entropy(autograd::concat(logits, 1), own);
}

}  // namespace

Tensor contrastive_embedding(const Problem& problem, const ContrastiveOptions& o, const Rng& rng) {
  const Device device = problem.device();
  const int64_t n = problem.nodes(), batch = std::min(o.batch, n);
  Rng initial = rng.split(0);
  Contrast model{models::GraphLinear::glorot(problem.features.width(), o.hidden, initial),
                 models::GraphLinear::glorot(o.hidden, o.hidden, initial),
                 models::GraphLinear::glorot(o.hidden, o.hidden, initial),
                 models::GraphLinear::glorot(o.hidden, o.hidden, initial)};
  model = models::to(model, device);

  std::vector<float> root;
  for (const int64_t degree : models::degrees(problem.adjacency))
    root.push_back(1 / std::sqrt(static_cast<float>(degree + 1)));
  const Tensor roots = Tensor::from(root, {n, 1}, device);
  std::vector<int64_t> numbers(static_cast<size_t>(batch));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  const Tensor own = Tensor::from(numbers, {batch}, device);
  const Tensor diagonal = autograd::equal(autograd::one_hot(own, batch, DType::f32), 1.0);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});

  models::Adam adam{.learning_rate = o.learning_rate, .weight_decay = o.weight_decay};
  const Rng steps = rng.split(1);
  models::train(0, o.epochs, [&](int64_t step) {
    Rng own_rng = steps.split(static_cast<uint64_t>(step));
    Rng order_rng = own_rng.split(0);
    shuffle(order.begin(), order.end(), order_rng);
    const Tensor rows = Tensor::from(
        std::span<const int64_t>(order.data(), static_cast<size_t>(batch)), {batch}, device);
    const auto [loss, gradients] = models::value_and_grad(model, [&](const Contrast& m) {
      const auto view = [&](double edge_drop, double feature_drop) {
        const Var h = autograd::gather_rows(
            damaged_embedding(m, problem, roots, edge_drop, feature_drop, own_rng), rows);
        return unit_rows(m.project(autograd::elu(m.project_hidden(h))));
      };
      const Var u = view(o.edge_drop1, o.feature_drop1), v = view(o.edge_drop2, o.feature_drop2);
      return (one_way(u, v, o.temperature, own, diagonal) +
              one_way(v, u, o.temperature, own, diagonal)) /
             2;
    });
    adam.step(model, gradients);
    return loss.value();
  });
  Rng unused;
  return damaged_embedding(model, problem, roots, 0, 0, unused).value();
}

}  // namespace tessera::algorithms::gsl
