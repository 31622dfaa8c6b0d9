#include <cmath>

#include "tessera/algorithms/gsl/learners.hpp"
#include "tessera/algorithms/gsl/weighted_graph.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/layers/norm.hpp"
#include "tessera/models/similarity_graph.hpp"

namespace tessera::algorithms::gsl {
namespace {

constexpr double tiny = 1e-6;

struct Nodeformer {
  struct Layer {
    models::GraphLinear query, key, value, output;
    Var gate;  // [1]
    models::LayerNorm norm;

    static void visit(auto& self, auto&& f) {
      f("query", self.query);
      f("key", self.key);
      f("value", self.value);
      f("output", self.output);
      f("gate", self.gate);
      f("norm", self.norm);
    }
  };
  models::GraphLinear input, output;
  models::LayerNorm norm;
  std::vector<Layer> layers;

  static Nodeformer make(int64_t width, int64_t hidden, int64_t classes, int64_t layers, Rng& rng) {
    Nodeformer net;
    net.input = models::GraphLinear::make(width, hidden, rng);
    net.norm = models::LayerNorm::make(hidden);
    for (int64_t i = 0; i < layers; ++i)
      net.layers.push_back({models::GraphLinear::make(hidden, hidden, rng),
                            models::GraphLinear::make(hidden, hidden, rng),
                            models::GraphLinear::make(hidden, hidden, rng),
                            models::GraphLinear::make(hidden, hidden, rng),
                            models::constant({1}, 0.1), models::LayerNorm::make(hidden)});
    net.output = models::GraphLinear::make(hidden, classes, rng);
    return net;
  }

  static void visit(auto& self, auto&& f) {
    f("input", self.input);
    f("norm", self.norm);
    f("layers", self.layers);
    f("output", self.output);
  }
};

/// exp(x' w_f - |x|^2 / 2 - stabilizer) / sqrt(features) + a little: phi(q) . phi(k) estimates
/// exp(q . k) up to a factor of the row of q. projection [features, width].
Var random_features(const Var& x, const Tensor& projection, bool of_query) {
  const Var scaled = x / std::pow(static_cast<double>(x.size(-1)), 0.25);
  const Var products = autograd::matmul(scaled, autograd::transpose(Var(projection), 0, 1));
  const Var half = autograd::sum(autograd::square(scaled), {-1}, true) * 0.5;
  const Var largest = autograd::stop_gradient(of_query ? autograd::max(products, -1, true)
                                                       : autograd::max(products));
  return (autograd::exp(products - half - largest) + tiny) /
         std::sqrt(static_cast<double>(projection.size(0)));
}

struct Attention {
  Var result;   // [nodes, hidden]
  Var entries;  // log of the attention along A's entries, [entries]
};

/// Every node's mean of the values of all nodes.
Attention attend_to_all(const Nodeformer::Layer& layer, const Problem& problem, const Var& x,
                        const NodeformerOptions& o, ForwardContext& context, Rng& projections) {
  const int64_t n = x.size(0);
  const double root = std::sqrt(o.tau);
  const Tensor projection =
      autograd::normal({o.features, x.size(-1)}, 0, 1, projections.take(o.features * x.size(-1)),
                       DType::f32, x.device());
  const Var query = random_features(layer.query(x) / root, projection, true);
  const Var key = random_features(layer.key(x) / root, projection, false);
  const Var value = layer.value(x);
  const auto average = [&](const Var& keys) {
    const Var weighted = autograd::matmul(autograd::transpose(keys, 0, 1), value);
    const Var total =
        autograd::matmul(query, autograd::transpose(autograd::sum(keys, {0}, true), 0, 1));
    return autograd::matmul(query, weighted) / total;
  };
  Attention attention;
  if (context.training) {
    for (int64_t s = 0; s < o.samples; ++s) {
      const Var u = autograd::uniform({n, 1}, 0, 1, context.rng.take(n), DType::f32, x.device());
      // exp(Gumbel / tau) = (-log u)^(-1 / tau); the least of them stands for the rest.
      const Var noise = autograd::exp(
          autograd::log(autograd::clamp(-autograd::log(u), 1e-7, 1e30)) * (-1 / o.tau));
      const Var share = noise / autograd::max(noise);
      const Var one = average(key * share);
      attention.result = attention.result.defined() ? attention.result + one : one;
    }
    attention.result = attention.result / static_cast<double>(o.samples);
  } else {
    attention.result = average(key);
  }
  const Var total =
      autograd::matmul(query, autograd::transpose(autograd::sum(key, {0}, true), 0, 1));
  const autograd::SparseMatrix& pattern = problem.graph.pattern(false);
  if (pattern.entries() > 0)
    attention.entries = autograd::log(autograd::sddmm(pattern, query / total, key) + 1e-20);
  attention.result = attention.result + autograd::sigmoid(layer.gate) *
                                            autograd::spmm(problem.graph.symmetric(true), value);
  return attention;
}

}  // namespace

Learned nodeformer(const Problem& problem, const models::Split& split, const NodeformerOptions& o,
                   const Rng& rng) {
  const NodeTask task(problem, std::span(&split, 1));
  const Device device = problem.device();
  Rng initial = rng.split(0);
  Nodeformer model = models::to(
      Nodeformer::make(problem.features.width(), o.task.hidden, problem.classes, o.layers, initial),
      device);
  models::Adam adam{.learning_rate = o.task.learning_rate, .weight_decay = o.task.weight_decay};
  std::vector<float> inverse;
  for (const int64_t degree : models::degrees(problem.adjacency))
    inverse.insert(inverse.end(), static_cast<size_t>(degree), 1 / static_cast<float>(degree));
  const Tensor inverse_degrees =
      Tensor::from(inverse, {static_cast<int64_t>(inverse.size())}, device);

  const auto pass = [&](const Nodeformer& m, ForwardContext& context, Var& edges) {
    // Projections are new in every step; in inference always the same.
    Rng projections = context.training ? context.rng.split(1) : rng.split(2);
    Var x = models::drop(autograd::relu(m.norm(m.input(problem.features, o.task.dropout, context))),
                         o.task.dropout, context);
    for (const Nodeformer::Layer& layer : m.layers) {
      const Attention attention = attend_to_all(layer, problem, x, o, context, projections);
      x = models::drop(autograd::relu(layer.norm((layer.output(attention.result) + x) * 0.5)),
                       o.task.dropout, context);
      if (!attention.entries.defined()) continue;
      const Var mean = autograd::mean(attention.entries * Var(inverse_degrees));
      edges = edges.defined() ? edges + mean : mean;
    }
    return m.output(x);
  };
  Learned learned{.scores = {}, .homophily = std::nan("")};  // all pairs have weight
  learned.scores = fit(
                       model, adam, task, o.task.epochs, o.task.evaluate_every, std::span(&rng, 1),
                       [&](const Nodeformer& m, ForwardContext& context) {
                         Var edges;
                         const Var loss = autograd::sum(task.loss(pass(m, context, edges)));
                         return edges.defined()
                                    ? loss - edges * (o.edge / static_cast<double>(m.layers.size()))
                                    : loss;
                       },
                       [&](const Nodeformer& m, ForwardContext& context) {
                         Var unused;
                         return pass(m, context, unused);
                       },
                       [](int64_t) {})
                       .front();
  return learned;
}

}  // namespace tessera::algorithms::gsl
