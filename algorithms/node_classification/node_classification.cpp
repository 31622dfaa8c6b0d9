#include "tessera/algorithms/node_classification/node_classification.hpp"

#include <algorithm>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/node_loss.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::algorithms::node_classification {
namespace {

constexpr std::string_view selection_names[] = {"last", "validation"};
constexpr std::string_view decay_names[] = {"first_layer", "weights", "all"};

models::DecayFilter filter_of(Decay decay, const models::GraphNetwork& model) {
  if (decay == Decay::all) return {};
  if (decay == Decay::weights) return models::decays_weights_only;
  const std::vector<std::string> names = models::parameter_names(model);
  const bool has_input = std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name.starts_with("input.");
  });
  return [has_input](std::string_view path) {
    for (const char* reads_features :
         {"features.", "first.", "linear.", "residual_first.", "soft_first."})
      if (path.starts_with(reads_features)) return true;
    return path.starts_with(has_input ? "input." : "layers.0.");
  };
}

void check_runs(const Training& training, std::span<const models::Split> splits) {
  TS_CHECK(static_cast<int64_t>(splits.size()) == training.runs(),
           "node_classification: ", splits.size(), " splits for ", training.runs(), " runs");
}

bool all_ended(const Training& training, int64_t patience) {
  return std::all_of(training.histories.begin(), training.histories.end(), [&](const History& h) {
    return end_of_run(h, training.evaluated, patience).has_value();
  });
}

}  // namespace

std::string_view to_string(Selection selection) {
  return selection_names[static_cast<int>(selection)];
}
void parse(std::string_view text, Selection& selection) {
  parse_enum(text, selection_names, selection);
}
std::string_view to_string(Decay decay) { return decay_names[static_cast<int>(decay)]; }
void parse(std::string_view text, Decay& decay) { parse_enum(text, decay_names, decay); }

Problem prepare(const models::GraphData& graph, models::FeatureScaling features, Device device) {
  return {models::GraphOperators(graph.adjacency, device),
          models::node_features(graph, features, device), graph.labels.to(device), graph.classes};
}

Training start(const Problem& problem, const Options& options, std::span<const Rng> rngs) {
  TS_CHECK(!rngs.empty(), "node_classification: no runs");
  const auto metric = models::metric_for(options.metric, problem.classes);
  const bool one_logit =
      options.model == models::GraphNetworkKind::trunk && metric == models::NodeMetric::auc;
  std::vector<models::GraphNetwork> networks;
  for (const Rng& rng : rngs) {
    Rng initial = rng.split(0);
    networks.push_back(models::GraphNetwork::make(problem.graph, problem.features.width(),
                                                  one_logit ? 1 : problem.classes, options,
                                                  initial));
  }
  Training training;
  training.model = models::to(models::stack_runs(networks), problem.labels.device());
  training.optimizer = {.learning_rate = options.learning_rate,
                        .weight_decay = options.weight_decay,
                        .decoupled = options.decoupled,
                        .decays = filter_of(options.decay, training.model)};
  training.metric = metric;
  training.histories.resize(rngs.size());
  return training;
}

models::TrainResult resume(Training& training, const Problem& problem,
                           std::span<const models::Split> splits, const Options& options,
                           std::span<const Rng> rngs, const Hooks& hooks) {
  check_runs(training, splits);
  for (size_t r = 0; r < splits.size(); ++r)
    models::check_split(training.metric, problem.labels, splits[r], r);
  TS_CHECK(options.patience == 0 || options.evaluate_every > 0, "node_classification: patience ",
           options.patience, " needs evaluations: set evaluate_every");
  if (all_ended(training, options.patience)) return {.steps_done = training.epochs_done};
  const int64_t runs = training.runs();
  std::vector<Rng> per_epoch;
  per_epoch.reserve(rngs.size());
  for (const Rng& rng : rngs) per_epoch.push_back(rng.split(1));
  const models::NodeLoss losses(problem.labels, splits);
  models::StepRng numbers(problem.labels.device(), runs);

  const auto epoch = [&](int64_t) {
    models::ForwardContext context{true, numbers.rng(), runs};
    Tensor of_runs;
    const auto [total, gradients] =
        models::value_and_grad(training.model, [&](const models::GraphNetwork& m) {
          models::Vars auxiliary;
          models::Var loss = losses(m(problem.graph, problem.features, context, &auxiliary));
          for (const models::Var& logits : auxiliary)
            loss = loss + losses(logits) * options.auxiliary;
          of_runs = loss.value();
          return autograd::sum(loss);
        });
    training.optimizer.step(training.model, gradients);
    return of_runs;
  };

  models::TrainHooks around;
  around.prepare = [&](int64_t number) {
    std::vector<Rng> of_epoch;
    of_epoch.reserve(per_epoch.size());
    for (const Rng& rng : per_epoch) of_epoch.push_back(rng.split(static_cast<uint64_t>(number)));
    numbers.begin(of_epoch);
  };
  around.on_loss = [&](int64_t number, std::span<const double> of_runs) {
    for (size_t r = 0; r < of_runs.size(); ++r) training.histories[r].loss.push_back(of_runs[r]);
    training.epochs_done = number + 1;
    if (hooks.on_epoch) hooks.on_epoch(training);
  };
  around.evaluate = [&](int64_t number) {
    training.evaluated.push_back(static_cast<double>(number + 1));
    const std::vector<Scores> now = evaluate(training, problem, splits);
    for (size_t r = 0; r < now.size(); ++r) {
      training.histories[r].train.push_back(now[r].train);
      training.histories[r].validation.push_back(now[r].validation);
      training.histories[r].test.push_back(now[r].test);
    }
  };
  around.evaluate_every = options.evaluate_every;
  around.stop_early = [&](int64_t) { return all_ended(training, options.patience); };
  if (hooks.checkpoint) around.checkpoint = [&](int64_t) { hooks.checkpoint(training); };
  around.checkpoint_every = hooks.checkpoint_every;
  if (options.record) around.record = problem.labels.device();
  return models::train(training.epochs_done, options.epochs, epoch, around);
}

std::vector<Scores> evaluate(const Training& training, const Problem& problem,
                             std::span<const models::Split> splits) {
  check_runs(training, splits);
  models::ForwardContext inference{.runs = training.runs()};
  const Tensor logits =
      training.model(problem.graph, problem.features, inference).value().to(Device::cpu());
  const Tensor labels = problem.labels.to(Device::cpu());
  std::vector<Scores> result;
  for (size_t r = 0; r < splits.size(); ++r) {
    const Tensor of_run = logits.select(1, static_cast<int64_t>(r)).clone();
    const auto score = [&](std::span<const int64_t> nodes) {
      return models::node_score(training.metric, of_run, labels, nodes);
    };
    result.push_back({score(splits[r].train), score(splits[r].validation), score(splits[r].test)});
  }
  return result;
}

std::optional<size_t> end_of_run(const History& history, std::span<const double> evaluated,
                                 int64_t patience) {
  TS_CHECK(evaluated.size() >= history.validation.size(),
           "node_classification: ", history.validation.size(), " evaluations at ", evaluated.size(),
           " epochs");
  size_t best = 0;
  for (size_t i = 0; patience > 0 && i < history.validation.size(); ++i) {
    if (history.validation[i] > history.validation[best]) best = i;
    if (evaluated[i] - evaluated[best] >= static_cast<double>(patience)) return i;
  }
  return std::nullopt;
}

Scores selected(const History& history, Selection selection, size_t last) {
  TS_CHECK(last < history.test.size(), "node_classification: evaluation ", last, " of ",
           history.test.size(), " to select from");
  size_t at = last;
  if (selection == Selection::validation) {
    const auto best =
        std::max_element(history.validation.begin(),
                         history.validation.begin() + static_cast<std::ptrdiff_t>(last + 1));
    at = static_cast<size_t>(best - history.validation.begin());
  }
  return {history.train[at], history.validation[at], history.test[at]};
}

}  // namespace tessera::algorithms::node_classification
