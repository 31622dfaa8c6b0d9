#include "tessera/algorithms/node_classification/node_classification.hpp"

#include <algorithm>
#include <numeric>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/metrics.hpp"

namespace tessera::algorithms::node_classification {
namespace {

constexpr std::string_view network_names[] = {"mlp", "gcn"};
constexpr std::string_view selection_names[] = {"last", "validation"};

CsrMatrix identity(int64_t n) {
  std::vector<int64_t> index(static_cast<size_t>(n));
  std::iota(index.begin(), index.end(), int64_t{0});
  CsrMatrix eye = CsrMatrix::from_edges(n, n, index, index);
  eye.symmetric = true;
  return eye;
}

models::NodeFeatures features_of(const models::GraphData& graph, Device device) {
  if (graph.sparse_features.col.defined())
    return models::NodeFeatures(graph.sparse_features.to(device));
  return models::NodeFeatures(graph.dense_features.to(device));
}

}  // namespace

std::string_view to_string(Network network) { return network_names[static_cast<int>(network)]; }
void parse(std::string_view text, Network& network) { parse_enum(text, network_names, network); }
std::string_view to_string(Selection selection) {
  return selection_names[static_cast<int>(selection)];
}
void parse(std::string_view text, Selection& selection) {
  parse_enum(text, selection_names, selection);
}

Problem prepare(models::GraphData graph, Network model, bool normalize_features, Device device) {
  TS_CHECK(
      graph.has_features(), "graph ", graph.name,
      " has no node features: expected an array 'x', or 'x_shape', 'x_indptr' and 'x_indices'");
  if (normalize_features) models::normalize_feature_rows(graph);
  const CsrMatrix neighbours =
      model == Network::gcn ? models::symmetric_normalized(graph.adjacency) : identity(graph.nodes);
  return {autograd::SparseMatrix(neighbours.to(device)), features_of(graph, device),
          graph.labels.to(device), graph.classes};
}

Training start(const Problem& problem, const Options& options, const Rng& rng) {
  TS_CHECK(options.layers >= 1 && options.hidden >= 1, "a network of ", options.layers,
           " layers of width ", options.hidden);
  TS_CHECK(options.dropout >= 0 && options.dropout < 1, "dropout ", options.dropout,
           " is not in [0, 1)");
  std::vector<int64_t> widths(static_cast<size_t>(options.layers) + 1, options.hidden);
  widths.front() = problem.features.width();
  widths.back() = problem.classes;
  Rng initial = rng.split(0);
  const models::Gcn model = models::Gcn::make(widths, options.dropout, initial);
  return {models::to(model, problem.labels.device()),
          {.learning_rate = options.learning_rate,
           .weight_decay = options.weight_decay,
           .decays = [](std::string_view path) { return path.starts_with("layers.0."); }},
          {},
          0};
}

models::TrainResult resume(Training& training, const Problem& problem, const models::Split& split,
                           const Options& options, const Rng& rng, const Hooks& hooks) {
  const Rng per_epoch = rng.split(1);
  const auto rows = static_cast<int64_t>(split.train.size());
  const autograd::CrossEntropyOptions labelled{
      .rows = Tensor::from(split.train, {rows}, problem.labels.device())};

  models::StepRng numbers(problem.labels.device());

  const auto epoch = [&](int64_t) {
    models::ForwardContext context{true, numbers.rng()};
    const auto [loss, gradients] =
        models::value_and_grad(training.model, [&](const models::Gcn& m) {
          return autograd::cross_entropy(m(problem.adjacency, problem.features, context),
                                         problem.labels, labelled);
        });
    training.optimizer.step(training.model, gradients);
    return loss.value();
  };

  models::TrainHooks around;
  around.prepare = [&](int64_t number) {
    numbers.begin(per_epoch.split(static_cast<uint64_t>(number)));
  };
  if (options.record) around.record = problem.labels.device();
  around.on_loss = [&](int64_t number, double loss) {
    training.history.loss.push_back(loss);
    training.epochs_done = number + 1;
    if (hooks.on_epoch) hooks.on_epoch(training, loss);
  };
  around.evaluate = [&](int64_t number) {
    const Accuracies now = evaluate(training, problem, split);
    training.history.epoch.push_back(static_cast<double>(number + 1));
    training.history.train.push_back(now.train);
    training.history.validation.push_back(now.validation);
    training.history.test.push_back(now.test);
  };
  around.evaluate_every = options.evaluate_every;
  if (hooks.checkpoint) around.checkpoint = [&](int64_t) { hooks.checkpoint(training); };
  around.checkpoint_every = hooks.checkpoint_every;
  return models::train(training.epochs_done, options.epochs, epoch, around);
}

Accuracies evaluate(const Training& training, const Problem& problem, const models::Split& split) {
  models::ForwardContext inference;
  const Tensor logits =
      training.model(problem.adjacency, problem.features, inference).value().to(Device::cpu());
  const Tensor labels = problem.labels.to(Device::cpu());
  return {models::accuracy(logits, labels, split.train),
          models::accuracy(logits, labels, split.validation),
          models::accuracy(logits, labels, split.test)};
}

Accuracies selected(const History& history, Selection selection) {
  TS_CHECK(!history.epoch.empty(), "no evaluation to select from");
  size_t at = history.epoch.size() - 1;
  if (selection == Selection::validation) {
    const auto best = std::max_element(history.validation.begin(), history.validation.end());
    at = static_cast<size_t>(best - history.validation.begin());
  }
  return {history.train[at], history.validation[at], history.test[at]};
}

}  // namespace tessera::algorithms::node_classification
