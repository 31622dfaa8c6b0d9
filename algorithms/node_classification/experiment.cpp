#include "tessera/algorithms/node_classification/experiment.hpp"

#include <chrono>
#include <numeric>
#include <utility>

#include "tessera/models/checkpoint.hpp"

namespace tessera::algorithms::node_classification {
namespace {

constexpr const char* checkpoint_name = "checkpoint.safetensors";

/// What the finished runs left: one number per run, and the sums of their curves.
struct Results {
  std::vector<double> train, validation, test, seconds;
  History curves;
  double current_seconds = 0;  // spent on the run after them

  static void visit(auto& self, auto&& f) {
    f("train", self.train);
    f("validation", self.validation);
    f("test", self.test);
    f("seconds", self.seconds);
    f("curves", self.curves);
    f("current_seconds", self.current_seconds);
  }
};

/// The whole experiment at one moment.
struct State {
  std::string graph;
  Results results;
  Training training;
};

void add(const std::vector<double>& values, std::vector<double>& sums) {
  sums.resize(std::max(sums.size(), values.size()));
  for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
}

std::vector<double> divided(std::vector<double> sums, double count) {
  for (double& value : sums) value /= count;
  return sums;
}

void finish_run(State& state, Selection selection) {
  const History& history = state.training.history;
  const Accuracies accuracies = selected(history, selection);
  Results& results = state.results;
  results.train.push_back(accuracies.train);
  results.validation.push_back(accuracies.validation);
  results.test.push_back(accuracies.test);
  results.seconds.push_back(std::exchange(results.current_seconds, 0));
  add(history.loss, results.curves.loss);
  add(history.train, results.curves.train);
  add(history.validation, results.curves.validation);
  add(history.test, results.curves.test);
  results.curves.epoch = history.epoch;
}

/// Enough to notice that a checkpoint belongs to other data.
std::string description(const models::GraphData& graph) {
  return concat(graph.name, ": ", graph.nodes, " nodes, ", graph.adjacency.nnz(),
                " directed edges, ", graph.features(), " features, ", graph.classes, " classes");
}

void save(const State& state, const Config& config, uint64_t seed, const std::string& path) {
  models::Checkpoint checkpoint = models::make_checkpoint(
      state.training.model, state.training.optimizer, state.training.epochs_done);
  checkpoint.metadata = {{"config", to_string(config_json(config))},
                         {"seed", std::to_string(seed)},
                         {"graph", state.graph},
                         {"history", to_string(config_json(state.training.history))},
                         {"results", to_string(config_json(state.results))}};
  checkpoint.save(path);
}

bool fits(const History& history, int64_t epochs) {
  const size_t evaluations = history.epoch.size();
  return static_cast<int64_t>(history.loss.size()) == epochs &&
         history.train.size() == evaluations && history.validation.size() == evaluations &&
         history.test.size() == evaluations;
}
bool fits(const Results& results) {
  const size_t runs = results.test.size();
  return results.train.size() == runs && results.validation.size() == runs &&
         results.seconds.size() == runs;
}

/// The number of the run that the checkpoint was written in is that of finished runs.
void load(State& state, const std::string& path, const Config& config, uint64_t seed,
          const std::function<Training(int64_t run)>& fresh) {
  const models::Checkpoint checkpoint = models::Checkpoint::load(path);
  const auto text = [&](const std::string& key) -> const std::string& {
    const auto found = checkpoint.metadata.find(key);
    if (found == checkpoint.metadata.end())
      throw Error(ErrorKind::io, concat(path, ": no '", key, "': not from this experiment"));
    return found->second;
  };
  const auto same = [&](const std::string& key, const std::string& wanted) {
    TS_CHECK(text(key) == wanted, path, " cannot be resumed with another ", key, ": it has ",
             text(key), ", now it is ", wanted);
  };
  same("seed", std::to_string(seed));
  same("graph", state.graph);
  Config before;
  parse_config(before, text("config"), path);
  const std::string difference = config_difference(before, config);
  TS_CHECK(difference.empty(), path, " cannot be resumed with another config: ", difference);
  parse_config(state.results, text("results"), path);
  state.training = fresh(static_cast<int64_t>(state.results.test.size()));
  parse_config(state.training.history, text("history"), path);
  if (!fits(state.training.history, checkpoint.steps_done) || !fits(state.results))
    throw Error(ErrorKind::io,
                concat(path, ": its history does not fit its ", checkpoint.steps_done,
                       " epochs: damaged or not from this experiment"));
  models::restore(checkpoint, state.training.model, state.training.optimizer);
  state.training.epochs_done = checkpoint.steps_done;
}

Report report_of(const Results& results) {
  Report report;
  for (const double value : results.test) report.add("test_accuracy", value);
  for (const double value : results.validation) report.add("validation_accuracy", value);
  for (const double value : results.train) report.add("train_accuracy", value);
  for (const double value : results.seconds) report.add("training_seconds", value);

  const auto count = static_cast<double>(results.test.size());
  std::vector<double> epochs(results.curves.loss.size());
  std::iota(epochs.begin(), epochs.end(), 1.0);
  report.plots.push_back({"loss",
                          "epoch",
                          "training loss, mean of runs",
                          {{"loss", epochs, divided(results.curves.loss, count)}}});
  const History& curves = results.curves;
  report.plots.push_back({"accuracy",
                          "epoch",
                          "accuracy, mean of runs",
                          {{"train", curves.epoch, divided(curves.train, count)},
                           {"validation", curves.epoch, divided(curves.validation, count)},
                           {"test", curves.epoch, divided(curves.test, count)}}});
  return report;
}

}  // namespace

Report run(const Config& config, Context& context) {
  TS_CHECK(config.runs >= 1 && config.epochs >= 1 && config.runs <= INT64_MAX / config.epochs,
           "node_classification: ", config.runs, " runs of ", config.epochs,
           " epochs; at least one of each is needed, and no more than i64 counts");
  const Rng rng(context.seed);
  const Rng split_rng = rng.split(0), training_rng = rng.split(1);
  const models::GraphData graph = context.data.empty()
                                      ? models::synthetic_graph(config.graph, rng.split(2))
                                      : models::load_graph(context.data);
  const Problem problem = prepare(graph, config.model, config.normalize_features, context.device);
  const auto rng_of = [&](int64_t run) { return training_rng.split(static_cast<uint64_t>(run)); };
  const auto fresh = [&](int64_t run) { return start(problem, config, rng_of(run)); };

  const std::string path = context.file(checkpoint_name);
  State state{.graph = description(graph), .results = {}, .training = {}};
  if (context.resume)
    load(state, path, config, context.seed, fresh);
  else
    state.training = fresh(0);

  context.progress->begin(concat(config.model, " on ", graph.name), config.runs * config.epochs);
  auto& results = state.results;
  while (static_cast<int64_t>(results.test.size()) < config.runs) {
    const auto number = static_cast<int64_t>(results.test.size());
    const models::Split split = models::choose_split(graph, config.split, number, split_rng);

    const double seconds_before = results.current_seconds;
    const auto begin = std::chrono::steady_clock::now();
    const auto clock = [&] {
      results.current_seconds =
          seconds_before +
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    Hooks hooks;
    hooks.on_epoch = [&](const Training& training, double loss) {
      context.progress->update(number * config.epochs + training.epochs_done,
                               concat("run ", number + 1, "  loss ", static_cast<float>(loss)));
    };
    if (!path.empty()) {
      hooks.checkpoint = [&](const Training&) {
        clock();
        save(state, config, context.seed, path);
      };
    }
    hooks.checkpoint_every = config.checkpoint_every;
    if (resume(state.training, problem, split, config, rng_of(number), hooks).interrupted) break;
    clock();
    finish_run(state, config.select);
    if (number + 1 < config.runs) state.training = fresh(number + 1);
  }
  return report_of(results);
}

}  // namespace tessera::algorithms::node_classification
