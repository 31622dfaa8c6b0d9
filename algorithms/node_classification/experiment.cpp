#include "tessera/algorithms/node_classification/experiment.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "tessera/algorithms/run_checkpoint.hpp"

namespace tessera::algorithms::node_classification {
namespace {

constexpr const char* checkpoint_name = "checkpoint.safetensors";

/// What the finished runs left: one number per run, and the sums of their curves.
struct Results {
  std::vector<double> train, validation, test, seconds;
  History curves;
  std::vector<double> evaluated;                   // epochs of the curves' scores
  std::vector<double> loss_runs, evaluation_runs;  // how many runs each sum has: some end early
  double current_seconds = 0;                      // spent on the runs after them

  static void visit(auto& self, auto&& f) {
    f("train", self.train);
    f("validation", self.validation);
    f("test", self.test);
    f("seconds", self.seconds);
    f("curves", self.curves);
    f("evaluated", self.evaluated);
    f("loss_runs", self.loss_runs);
    f("evaluation_runs", self.evaluation_runs);
    f("current_seconds", self.current_seconds);
  }
};

/// The histories of runs side by side, as a checkpoint holds them: [run][epoch].
struct Histories {
  std::vector<std::vector<double>> loss, train, validation, test;
  std::vector<double> evaluated;

  static void visit(auto& self, auto&& f) {
    f("loss", self.loss);
    f("train", self.train);
    f("validation", self.validation);
    f("test", self.test);
    f("evaluated", self.evaluated);
  }
};

Histories histories_of(const Training& training) {
  Histories all;
  for (const History& h : training.histories) {
    all.loss.push_back(h.loss);
    all.train.push_back(h.train);
    all.validation.push_back(h.validation);
    all.test.push_back(h.test);
  }
  all.evaluated = training.evaluated;
  return all;
}

/// False when they are not those of `training` after `epochs`.
bool restore(const Histories& all, int64_t epochs, Training& training) {
  const size_t runs = training.histories.size(), evaluations = all.evaluated.size();
  const auto fits = [&](const std::vector<std::vector<double>>& of_runs, size_t count) {
    return of_runs.size() == runs &&
           std::all_of(of_runs.begin(), of_runs.end(),
                       [&](const auto& values) { return values.size() == count; });
  };
  if (!fits(all.loss, static_cast<size_t>(epochs)) || !fits(all.train, evaluations) ||
      !fits(all.validation, evaluations) || !fits(all.test, evaluations))
    return false;
  for (size_t r = 0; r < runs; ++r)
    training.histories[r] = {all.loss[r], all.train[r], all.validation[r], all.test[r]};
  training.evaluated = all.evaluated;
  training.epochs_done = epochs;
  return true;
}

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

std::vector<double> divided(std::vector<double> sums, const std::vector<double>& counts) {
  for (size_t i = 0; i < sums.size(); ++i) sums[i] /= counts[i];
  return sums;
}

void finish_runs(State& state, const Config& config) {
  Results& results = state.results;
  const double seconds = std::exchange(results.current_seconds, 0);
  for (const History& history : state.training.histories) {
    const size_t last = end_of_run(history, state.training.evaluated, config.patience)
                            .value_or(history.test.size() - 1);
    const Scores scores = selected(history, config.select, last);
    results.train.push_back(scores.train);
    results.validation.push_back(scores.validation);
    results.test.push_back(scores.test);
    results.seconds.push_back(seconds / static_cast<double>(state.training.runs()));
    add(history.loss, results.curves.loss);
    add(history.train, results.curves.train);
    add(history.validation, results.curves.validation);
    add(history.test, results.curves.test);
    add(std::vector<double>(history.loss.size(), 1.0), results.loss_runs);
    add(std::vector<double>(history.test.size(), 1.0), results.evaluation_runs);
  }
  if (state.training.evaluated.size() > results.evaluated.size())
    results.evaluated = state.training.evaluated;
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
                         {"history", to_string(config_json(histories_of(state.training)))},
                         {"results", to_string(config_json(state.results))}};
  checkpoint.save(path);
}

bool fits(const Results& results) {
  const size_t runs = results.test.size();
  return results.train.size() == runs && results.validation.size() == runs &&
         results.seconds.size() == runs;
}

/// The first of the runs that the checkpoint was written in has the number of finished ones.
void load(State& state, const std::string& path, const Config& config, uint64_t seed,
          const std::function<Training(int64_t first)>& fresh) {
  const RunCheckpoint checkpoint(path);
  checkpoint.expect("seed", std::to_string(seed));
  checkpoint.expect("graph", state.graph);
  checkpoint.expect_config(config);
  state.results = checkpoint.parsed<Results>("results");
  if (!fits(state.results))
    throw Error(ErrorKind::io, concat(path, ": its results do not fit each other: damaged"));
  state.training = fresh(static_cast<int64_t>(state.results.test.size()));
  const auto histories = checkpoint.parsed<Histories>("history");
  const int64_t epochs = checkpoint.state().steps_done;
  models::restore(checkpoint.state(), state.training.model, state.training.optimizer);
  if (!restore(histories, epochs, state.training))
    throw Error(ErrorKind::io, concat(path, ": its history does not fit its ", epochs,
                                      " epochs: damaged or not from this experiment"));
}

Report report_of(const Results& results, models::NodeMetric metric) {
  const std::string name(to_string(metric));
  Report report;
  for (const double value : results.test) report.add("test_" + name, value);
  for (const double value : results.validation) report.add("validation_" + name, value);
  for (const double value : results.train) report.add("train_" + name, value);
  for (const double value : results.seconds) report.add("training_seconds", value);

  std::vector<double> epochs(results.curves.loss.size());
  std::iota(epochs.begin(), epochs.end(), 1.0);
  report.plots.push_back({"loss",
                          "epoch",
                          "training loss, mean of runs",
                          {{"loss", epochs, divided(results.curves.loss, results.loss_runs)}}});
  const History& curves = results.curves;
  report.plots.push_back(
      {name,
       "epoch",
       name + ", mean of runs",
       {{"train", results.evaluated, divided(curves.train, results.evaluation_runs)},
        {"validation", results.evaluated, divided(curves.validation, results.evaluation_runs)},
        {"test", results.evaluated, divided(curves.test, results.evaluation_runs)}}});
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
  const Problem problem = prepare(graph, config.features, context.device);
  // The runs from number `first` on that train side by side.
  const auto together = [&](int64_t first) {
    return std::min(config.together, config.runs - first);
  };
  const auto rngs_of = [&](int64_t first) {
    std::vector<Rng> rngs;
    for (int64_t run = first; run < first + together(first); ++run)
      rngs.push_back(training_rng.split(static_cast<uint64_t>(run)));
    return rngs;
  };
  const auto fresh = [&](int64_t first) { return start(problem, config, rngs_of(first)); };

  const std::string path = context.file(checkpoint_name);
  State state{.graph = description(graph), .results = {}, .training = {}};
  if (context.resume)
    load(state, path, config, context.seed, fresh);
  else
    state.training = fresh(0);

  context.progress->begin(concat(config.model, " on ", graph.name), config.runs * config.epochs);
  auto& results = state.results;
  while (static_cast<int64_t>(results.test.size()) < config.runs) {
    const auto first = static_cast<int64_t>(results.test.size());
    const int64_t runs = state.training.runs();
    std::vector<models::Split> splits;
    for (int64_t run = first; run < first + runs; ++run)
      splits.push_back(models::choose_split(graph, config.split, run, split_rng));

    const double seconds_before = results.current_seconds;
    const auto begin = std::chrono::steady_clock::now();
    const auto clock = [&] {
      results.current_seconds =
          seconds_before +
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    Hooks hooks;
    hooks.on_epoch = [&](const Training& training) {
      const std::string which =
          runs > 1 ? concat("runs ", first + 1, " to ", first + runs) : concat("run ", first + 1);
      context.progress->update(
          first * config.epochs + training.epochs_done * runs,
          concat(which, "  loss ", static_cast<float>(training.histories[0].loss.back())));
    };
    if (!path.empty()) {
      hooks.checkpoint = [&](const Training&) {
        clock();
        save(state, config, context.seed, path);
      };
    }
    hooks.checkpoint_every = config.checkpoint_every;
    const std::vector<Rng> rngs = rngs_of(first);
    if (resume(state.training, problem, splits, config, rngs, hooks).interrupted) break;
    clock();
    finish_runs(state, config);
    if (first + runs < config.runs) state.training = fresh(first + runs);
  }
  return report_of(results, state.training.metric);
}

}  // namespace tessera::algorithms::node_classification
