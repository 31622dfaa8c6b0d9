#include "tessera/algorithms/trihom/learning.hpp"

#include <cmath>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/models/nets/gnn/gcn.hpp"
#include "tessera/models/nets/mlp.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/train.hpp"

namespace tessera::algorithms::trihom {
namespace {

constexpr std::string_view network_names[] = {"mlp", "gcn"};
using models::ForwardContext;
using models::Var;

/// Columns less their mean, over their deviation; constant ones become 0.
Tensor standardized(const Tensor& features) {
  Tensor x = features.clone();
  const auto values = x.host_mutable<float>();
  const auto width = static_cast<size_t>(x.size(1));
  const auto rows = static_cast<double>(x.size(0));
  for (size_t f = 0; f < width; ++f) {
    double mean = 0, squares = 0;
    for (size_t i = f; i < values.size(); i += width) mean += values[i] / rows;
    for (size_t i = f; i < values.size(); i += width)
      squares += (values[i] - mean) * (values[i] - mean);
    const double deviation = std::sqrt(squares / std::max(rows - 1, 1.0));
    for (size_t i = f; i < values.size(); i += width)
      values[i] = static_cast<float>(
          deviation > 1e-12 * std::abs(mean) ? (values[i] - mean) / deviation : 0);
  }
  return x;
}

/// Trains and selects; `logits` is the network's function of its parameters.
template <class Model, class Logits>
double best_accuracy(Model model, const Logits& logits, const Tensor& labels,
                     const models::Split& split, const LearningOptions& options, const Rng& rng) {
  const autograd::CrossEntropyOptions labelled{
      .rows =
          Tensor::from(split.train, {static_cast<int64_t>(split.train.size())}, labels.device())};
  models::Adam adam{.learning_rate = options.learning_rate, .weight_decay = options.weight_decay};
  const Tensor host_labels = labels.to(Device::cpu());
  double best_validation = -1, test = 0;
  models::TrainHooks hooks;
  hooks.evaluate_every = options.evaluate_every;
  hooks.evaluate = [&](int64_t) {
    ForwardContext inference;
    const Tensor now = logits(model, inference).value().to(Device::cpu());
    const double validation = models::accuracy(now, host_labels, split.validation);
    if (validation <= best_validation) return;
    best_validation = validation;
    test = models::accuracy(now, host_labels, split.test);
  };
  models::train(
      0, options.epochs,
      [&](int64_t step) {
        ForwardContext context{true, rng.split(static_cast<uint64_t>(step))};
        const auto [loss, gradients] = models::value_and_grad(model, [&](const Model& m) {
          return autograd::cross_entropy(logits(m, context), labels, labelled);
        });
        adam.step(model, gradients);
        return loss.value();
      },
      hooks);
  return test;
}

}  // namespace

std::string_view to_string(Network network) { return network_names[static_cast<int>(network)]; }

double test_accuracy(const models::GraphData& graph, const models::Split& split, Network network,
                     const LearningOptions& options, Device device, const Rng& rng) {
  const Tensor x = standardized(graph.features_as_dense()).to(device);
  const Tensor labels = graph.labels.to(device);
  const std::vector<int64_t> widths{graph.features(), options.hidden, graph.classes};
  Rng initial = rng.split(0);
  if (network == Network::mlp) {
    const auto model =
        models::Mlp::make(widths, initial, models::Activation::relu, options.dropout);
    return best_accuracy(
        models::to(model, device),
        [&](const models::Mlp& m, ForwardContext& context) { return m(Var(x), context); }, labels,
        split, options, rng.split(1));
  }
  const models::GraphOperators operators(graph.adjacency, device);
  const models::NodeFeatures features(x);
  models::Gcn model = models::Gcn::make(widths, options.dropout, initial);
  return best_accuracy(
      models::to(model, device),
      [&](const models::Gcn& m, ForwardContext& context) {
        return m(operators, features, context);
      },
      labels, split, options, rng.split(1));
}

}  // namespace tessera::algorithms::trihom
