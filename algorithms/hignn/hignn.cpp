#include "tessera/algorithms/hignn/hignn.hpp"

#include <algorithm>
#include <cmath>

#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/node_loss.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/models/train.hpp"

namespace tessera::algorithms::hignn {
namespace {

constexpr std::string_view selection_names[] = {"accuracy", "loss"};

/// Softmax, losses and accuracies of one run's logits, on the host.
class Evaluation {
 public:
  Evaluation(std::vector<float> logits, std::span<const int32_t> labels, int64_t classes)
      : values_(std::move(logits)), labels_(labels), classes_(static_cast<size_t>(classes)) {}

  double accuracy(const std::vector<int64_t>& rows) const {
    int64_t right = 0;
    for (const int64_t i : rows) {
      const auto row = of(i);
      right += std::max_element(row.begin(), row.end()) - row.begin() == label(i);
    }
    return static_cast<double>(right) / static_cast<double>(rows.size());
  }
  double loss(const std::vector<int64_t>& rows) const {
    double total = 0;
    for (const int64_t i : rows) total += log_sum(of(i)) - of(i)[static_cast<size_t>(label(i))];
    return total / static_cast<double>(rows.size());
  }
  Tensor probabilities() const {
    std::vector<float> p;
    const auto nodes = static_cast<int64_t>(labels_.size());
    for (int64_t i = 0; i < nodes; ++i) {
      const double normalizer = log_sum(of(i));
      for (const float x : of(i)) p.push_back(static_cast<float>(std::exp(x - normalizer)));
    }
    return Tensor::from(p, {nodes, static_cast<int64_t>(classes_)}, Device::cpu());
  }

 private:
  std::span<const float> of(int64_t node) const {
    return std::span(values_).subspan(static_cast<size_t>(node) * classes_, classes_);
  }
  int32_t label(int64_t node) const { return labels_[static_cast<size_t>(node)]; }
  static double log_sum(std::span<const float> row) {
    const double top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float x : row) sum += std::exp(x - top);
    return top + std::log(sum);
  }

  std::vector<float> values_;
  std::span<const int32_t> labels_;
  size_t classes_;
};

/// A run as it goes.
struct Run {
  Outcome best;
  bool stopped = false;

  void observe(const Evaluation& now, const models::Split& split, const StageOptions& options) {
    const double loss = now.loss(split.validation), accuracy = now.accuracy(split.validation);
    std::vector<double>& losses = best.validation_losses;
    const auto epoch = static_cast<int64_t>(losses.size());
    const bool better = options.select == Selection::accuracy ? accuracy > best.validation
                                                              : loss < best.validation_loss;
    best.epochs = epoch + 1;
    if (epoch == 0 || better) {
      best.train = now.accuracy(split.train);
      best.validation = accuracy;
      best.test = now.accuracy(split.test);
      best.validation_loss = loss;
      best.epoch = best.epochs;
      best.probabilities = now.probabilities();
    }
    if (options.patience > 0 && epoch > options.patience) {
      double mean = 0;
      for (int64_t e = epoch - options.patience; e < epoch; ++e)
        mean += losses[static_cast<size_t>(e)] / static_cast<double>(options.patience);
      stopped = loss > mean;
    }
    losses.push_back(loss);
  }
};

}  // namespace

std::string_view to_string(Selection selection) {
  return selection_names[static_cast<int>(selection)];
}
void parse(std::string_view text, Selection& selection) {
  parse_enum(text, selection_names, selection);
}

Problem prepare(const models::GraphData& graph, bool normalize_features, Device device) {
  TS_CHECK(
      graph.has_features(), "graph ", graph.name,
      " has no node features: expected an array 'x', or 'x_shape', 'x_indptr' and 'x_indices'");
  models::GraphData copy = graph;
  if (normalize_features) models::normalize_feature_rows(copy);
  return {&graph, filters_of(models::GraphOperators(graph.adjacency, device)),
          copy.sparse_features.col.defined() ? models::NodeFeatures(copy.sparse_features.to(device))
                                             : models::NodeFeatures(copy.dense_features.to(device)),
          graph.labels.to(device), device};
}

std::vector<Outcome> train(const Problem& problem, const StageOptions& options, Graphs graphs,
                           std::span<const NewGraph> new_graphs,
                           std::span<const models::Split> splits, std::span<const Rng> rngs,
                           const std::function<void(const TrainingProgress&)>& on_epoch) {
  const auto runs = static_cast<int64_t>(splits.size());
  TS_CHECK(runs >= 1 && rngs.size() == splits.size(), "hignn: ", splits.size(), " splits and ",
           rngs.size(), " generators of random numbers");
  TS_CHECK(
      graphs == Graphs::old_graph || new_graphs.size() == 1 || new_graphs.size() == splits.size(),
      "hignn: ", new_graphs.size(), " new graphs for ", runs, " runs");
  const models::GraphData& graph = *problem.graph;
  for (const models::Split& split : splits)
    TS_CHECK(!split.train.empty() && !split.validation.empty() && !split.test.empty(),
             "hignn: a split of graph ", graph.name, " has ", split.train.size(), ", ",
             split.validation.size(), " and ", split.test.size(),
             " nodes to train, to validate and to test on; expected some of each");
  const Filters added =
      graphs == Graphs::old_graph ? Filters{} : filters_of(new_graphs, problem.device);
  std::vector<HiNetwork> networks;
  std::vector<Rng> of_epochs;
  for (const Rng& rng : rngs) {
    Rng initial = rng.split(0);
    networks.push_back(
        HiNetwork::make(problem.features.width(), graph.classes, options, graphs, initial));
    of_epochs.push_back(rng.split(1));
  }
  HiNetwork model = models::to(models::stack_runs(networks), problem.device);
  models::Adam adam{.learning_rate = options.learning_rate,
                    .weight_decay = options.weight_decay,
                    .decoupled = options.decoupled};
  const models::NodeLoss losses(problem.labels, splits);
  models::StepRng numbers(problem.device, runs);
  const std::vector<int32_t> labels = graph.labels.values<int32_t>();
  std::vector<Run> state(splits.size());

  const auto step = [&](int64_t) {
    models::ForwardContext context{true, numbers.rng(), runs};
    Tensor of_runs;
    const auto [total, gradients] = models::value_and_grad(model, [&](const HiNetwork& m) {
      const models::Var loss = losses(m(problem.filters, added, problem.features, context));
      of_runs = loss.value();
      return autograd::sum(loss);
    });
    adam.step(model, gradients);
    return of_runs;
  };
  models::TrainHooks hooks;
  hooks.prepare = [&](int64_t epoch) {
    std::vector<Rng> now;
    now.reserve(of_epochs.size());
    for (const Rng& rng : of_epochs) now.push_back(rng.split(static_cast<uint64_t>(epoch)));
    numbers.begin(now);
  };
  hooks.evaluate_every = 1;
  hooks.evaluate = [&](int64_t epoch) {
    models::ForwardContext inference{.runs = runs};
    const Tensor logits =
        model(problem.filters, added, problem.features, inference).value().to(Device::cpu());
    TrainingProgress progress{epoch + 1, 0};
    for (size_t r = 0; r < state.size(); ++r) {
      if (state[r].stopped) continue;
      const Tensor own = logits.select(1, static_cast<int64_t>(r)).clone();
      state[r].observe(Evaluation(own.values<float>(), labels, graph.classes), splits[r], options);
      progress.running += !state[r].stopped;
    }
    if (on_epoch) on_epoch(progress);
  };
  hooks.stop_early = [&](int64_t) {
    return std::all_of(state.begin(), state.end(), [](const Run& run) { return run.stopped; });
  };
  models::train(0, options.epochs, step, hooks);

  std::vector<Outcome> outcomes;
  outcomes.reserve(state.size());
  for (const Run& run : state) outcomes.push_back(run.best);
  return outcomes;
}

std::vector<NewGraph> new_graphs_of(const Problem& problem, std::span<const Outcome> first,
                                    const NewGraphOptions& options, Backbone backbone,
                                    std::span<const Rng> rngs) {
  TS_CHECK(first.size() == rngs.size(), "hignn: ", first.size(), " first models and ", rngs.size(),
           " generators of random numbers");
  // What does not look at predictions or random numbers is one graph for all runs.
  const bool same = options.kind == NewGraphKind::degree ||
                    (options.kind == NewGraphKind::feature_cosine && options.links_per_node == 0);
  std::vector<NewGraph> graphs;
  graphs.reserve(same ? 1 : first.size());
  for (size_t r = 0; r < (same ? 1 : first.size()); ++r)
    graphs.push_back(make_new_graph(*problem.graph, first[r].probabilities, options,
                                    diagonal_weight(backbone), problem.device, rngs[r]));
  return graphs;
}

}  // namespace tessera::algorithms::hignn
