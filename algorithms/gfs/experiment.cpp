#include "tessera/algorithms/gfs/experiment.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>

#include "tessera/algorithms/graph_files.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/models/statistics.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/atomic_file.hpp"
#include "tessera/runtime/io/npy.hpp"

namespace tessera::algorithms::gfs {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double mean(std::span<const double> values) { return models::mean_std(values).mean; }

/// Settings of one graph.
struct Plan {
  TrainingOptions training;
  std::vector<double> ratios;  // rising, each once
};

std::vector<double> sorted(std::vector<double> ratios) {
  std::sort(ratios.begin(), ratios.end());
  ratios.erase(std::unique(ratios.begin(), ratios.end()), ratios.end());
  return ratios;
}

/// The row of a graph replaces settings; a tuned r is trained beside 0 and 1 alone.
Plan tuned(Plan plan, const Table& table, const std::string& graph, const std::string& file) {
  const auto row = table.row(graph);
  if (!row) return plan;
  const auto value = [&](const char* column) -> std::optional<double> {
    const auto c = table.column(column);
    if (!c || !std::isfinite(table.values[*row][*c])) return std::nullopt;
    return table.values[*row][*c];
  };
  for (const auto& column : table.columns) {
    const std::string_view known[] = {"layers", "hidden", "lr", "weight_decay", "dropout", "r"};
    try {
      find_name(column, known);
    } catch (const Error& error) {
      throw Error(error.kind(), concat(file, ": column ", error.what()));
    }
  }
  TrainingOptions& t = plan.training;
  const auto whole = [&](const char* column, int64_t otherwise) {
    const double number = value(column).value_or(static_cast<double>(otherwise));
    TS_CHECK(number == std::floor(number) && number >= 1 && number <= 1e9, file, ": ", column,
             " of ", graph, " is ", number, "; expected a whole number from 1");
    return static_cast<int64_t>(number);
  };
  t.layers = whole("layers", t.layers);
  t.hidden = whole("hidden", t.hidden);
  t.learning_rate = value("lr").value_or(t.learning_rate);
  t.weight_decay = value("weight_decay").value_or(t.weight_decay);
  t.dropout = value("dropout").value_or(t.dropout);
  if (const auto r = value("r")) plan.ratios = sorted({0, *r, 1});
  TS_CHECK(t.learning_rate >= 0 && t.weight_decay >= 0 && t.dropout >= 0 && t.dropout < 1 &&
               plan.ratios.front() >= 0 && plan.ratios.back() <= 1,
           file, ": the settings of ", graph, " are out of range");
  return plan;
}

models::Split few_labels(const models::GraphData& graph, int64_t per_class, const Rng& rng) {
  const int64_t labelled = graph.nodes - static_cast<int64_t>(graph.unlabelled.size()),
                rest = labelled - std::min(labelled, per_class * graph.classes);
  const bool planetoid = rest >= 1500;
  return models::split_by_count(graph, per_class, planetoid ? 500 : std::max<int64_t>(1, rest / 3),
                                planetoid ? 1000 : std::max<int64_t>(1, rest - rest / 3), rng);
}

/// The whole work on one graph.
class GraphStudy {
 public:
  GraphStudy(const models::GraphData& graph, const Config& config, Plan plan,
             const Context& context)
      : graph_(graph),
        config_(config),
        plan_(std::move(plan)),
        context_(context),
        features_(graph) {
    const Rng rng(context.seed);
    for (int64_t run = 0; run < config.runs; ++run) {
      const auto number = static_cast<uint64_t>(run);
      splits_.push_back(config.train_per_class > 0
                            ? few_labels(graph, config.train_per_class, rng.split(0).split(number))
                            : models::choose_split(graph, config.split, run, rng.split(0)));
      rngs_.push_back(rng.split(1).split(number));
    }
  }

  void score_features(Report& report) {
    context_.progress->begin(concat(config_.metric, " of ", graph_.name), config_.runs);
    const auto start = Clock::now();
    for (size_t run = 0; run < splits_.size() && !stop_requested(); ++run) {
      scores_.push_back(feature_scores(graph_, features_, splits_[run].train, config_.metric,
                                       context_.seed, context_.device));
      context_.progress->update(static_cast<int64_t>(run) + 1);
    }
    if (!scores_.empty())
      report.add("scoring_seconds", since(start) / static_cast<double>(scores_.size()));
  }

  /// Mean score of all features, and of both halves by rank, over the splits.
  std::vector<double> score_row() const {
    double all = 0, upper = 0, lower = 0;
    for (const auto& scores : scores_) {
      const Selection halves = select_features(scores, 0.5);
      const auto part = [&](const std::vector<int64_t>& of) {
        std::vector<double> values;
        values.reserve(of.size());
        for (const int64_t f : of) values.push_back(scores[static_cast<size_t>(f)]);
        return values.empty() ? std::numeric_limits<double>::quiet_NaN() : mean(values);
      };
      const auto runs = static_cast<double>(scores_.size());
      all += mean(scores) / runs;
      upper += part(halves.with_graph) / runs;
      lower += part(halves.without_graph) / runs;
    }
    return {static_cast<double>(features_.features()), all, upper, lower};
  }

  /// Means and correlations of the splits that both have: ours, theirs, largest difference of the
  /// two in a split, mean and least correlation.
  std::vector<double> agreement_row(const Tensor& published, const std::string& file) const {
    TS_CHECK(published.rank() == 2 && published.size(0) >= 1 &&
                 published.size(1) == features_.features(),
             file, ": ", graph_.name, " is ", published, "; expected [splits, ",
             features_.features(), "] of at least one split");
    const auto theirs = autograd::convert(published, DType::f64).values<double>();
    const auto width = static_cast<size_t>(features_.features());
    const size_t count = std::min(scores_.size(), static_cast<size_t>(published.size(0)));
    std::vector<double> our_means, their_means, correlations;
    double furthest = 0;
    for (size_t s = 0; s < count; ++s) {
      const std::span<const double> row(theirs.data() + s * width, width);
      our_means.push_back(mean(scores_[s]));
      their_means.push_back(mean(row));
      furthest = std::max(furthest, std::abs(our_means.back() - their_means.back()));
      correlations.push_back(models::pearson(scores_[s], row).coefficient);
    }
    return {static_cast<double>(count),
            our_means.at(0),
            their_means.at(0),
            correlations.at(0),
            mean(our_means),
            mean(their_means),
            furthest,
            mean(correlations),
            *std::min_element(correlations.begin(), correlations.end())};
  }

  int64_t trainings() const {
    const auto all = static_cast<int64_t>(plan_.ratios.size());
    const bool mlp = plan_.ratios.front() == 0;  // one for all models
    return (all - mlp) * static_cast<int64_t>(config_.models.size()) + mlp;
  }

  /// What was finished before an interruption.
  std::vector<Pair> train(Report& report) {
    using Module = models::TrunkModule;
    const TrainingOptions& t = plan_.training;
    for (const Module module : config_.models)  // before hours of training, not after
      TS_CHECK((module != Module::gat && module != Module::gat_sep && module != Module::gt &&
                module != Module::gt_sep) ||
                   t.hidden % t.heads == 0,
               "gfs: hidden width ", t.hidden, " does not split into ", t.heads, " heads of ",
               to_string(module));
    std::vector<Pair> pairs;
    const Problem problem = prepare(graph_, features_, context_.device);
    context_.progress->begin(graph_.name, trainings() * config_.runs * plan_.training.epochs);
    std::optional<Scores> mlp;
    for (const models::TrunkModule module : config_.models) {
      Pair pair{graph_.name, module, plan_.ratios, {}};
      for (const double ratio : plan_.ratios) {
        if (ratio == 0 && mlp) {
          pair.scores.push_back(*mlp);
          continue;
        }
        const auto scores = scores_at(problem, module, ratio, report);
        if (!scores) return pairs;
        pair.scores.push_back(*scores);
        if (ratio == 0) mlp = scores;
      }
      pairs.push_back(std::move(pair));
    }
    return pairs;
  }

 private:
  std::optional<Scores> scores_at(const Problem& problem, models::TrunkModule module, double ratio,
                                  Report& report) {
    const auto start = Clock::now();
    Scores all;
    for (size_t first = 0; first < splits_.size(); first += static_cast<size_t>(config_.together)) {
      const size_t count = std::min(static_cast<size_t>(config_.together), splits_.size() - first);
      std::vector<Selection> selections;
      for (size_t r = first; r < first + count; ++r)
        selections.push_back(select_features(scores_[r], ratio));
      const auto outcomes = train_runs(
          problem, std::span(splits_).subspan(first, count), selections, module, plan_.training,
          std::span(rngs_).subspan(first, count), [&](int64_t done, double loss) {
            context_.progress->update(
                done_ + done * static_cast<int64_t>(count),
                concat(module, " r ", ratio, "  loss ", static_cast<float>(loss)));
          });
      if (outcomes.empty()) return std::nullopt;
      done_ += plan_.training.epochs * static_cast<int64_t>(count);
      for (const Outcome& outcome : outcomes) {
        all.validation.push_back(outcome.validation);
        all.test.push_back(outcome.test);
      }
    }
    report.add("training_seconds", since(start) / static_cast<double>(splits_.size()));
    return all;
  }

  const models::GraphData& graph_;
  const Config& config_;
  Plan plan_;
  const Context& context_;
  StandardFeatures features_;
  std::vector<models::Split> splits_;
  std::vector<Rng> rngs_;
  std::vector<std::vector<double>> scores_;  // [run][feature]
  int64_t done_ = 0;
};

/// Test scores over r, a curve for each module.
Plot curves_of(const std::string& graph, const std::vector<Pair>& pairs) {
  Plot plot{graph, "share r of features with the graph", "test score, %", {}};
  for (const Pair& pair : pairs) {
    Curve curve{std::string(to_string(pair.module)), pair.ratios, {}};
    for (const Scores& scores : pair.scores) curve.y.push_back(100 * mean(scores.test));
    plot.curves.push_back(std::move(curve));
  }
  return plot;
}

/// Every number behind the tables: a row for each graph, module and ratio, with a column for each
/// split.
Table all_scores(const std::vector<Pair>& pairs, int64_t runs) {
  Table table{
      .name = "scores", .corner = "graph module r", .rows = {}, .columns = {}, .values = {}};
  for (const char* kind : {"validation", "test"})
    for (int64_t run = 0; run < runs; ++run) table.columns.push_back(concat(kind, " ", run));
  for (const Pair& pair : pairs)
    for (size_t i = 0; i < pair.ratios.size(); ++i) {
      std::vector<double> row = pair.scores[i].validation;
      row.insert(row.end(), pair.scores[i].test.begin(), pair.scores[i].test.end());
      table.add(concat(pair.graph, " ", to_string(pair.module), " ", pair.ratios[i]),
                std::move(row));
    }
  return table;
}

}  // namespace

Report run(const Config& config, Context& context) {
  Report report;
  const bool synthetic = context.data.empty();
  const Plan plan{synthetic ? config.synthetic.training : config.training,
                  sorted(synthetic ? config.synthetic.ratios : config.ratios)};
  TS_CHECK(!plan.ratios.empty() || config.models.empty(),
           "gfs: no ratios; expected at least one share of features");
  TS_CHECK(!synthetic || (config.tuned.empty() && config.published.empty()),
           "gfs: 'tuned' and 'published' belong to --data; a generated graph has none");
  const auto files =
      synthetic ? std::vector<std::string>{""} : graph_files(context.data, report.notes);
  const Table settings = config.tuned.empty() ? Table{} : read_csv(config.tuned);
  std::optional<Npz> published;
  if (!config.published.empty()) published.emplace(config.published);

  Table means{.name = concat(config.metric),
              .corner = "graph",
              .rows = {},
              .columns = {"features", "mean", "upper half", "lower half"},
              .values = {}};
  Table agreement{.name = "agreement",
                  .corner = "graph",
                  .rows = {},
                  .columns = {"splits", "split 0", "published 0", "correlation 0", "mean",
                              "published", "furthest", "correlation", "least correlation"},
                  .values = {}};
  std::vector<Pair> pairs;
  for (const std::string& file : files) {
    if (stop_requested()) break;
    const models::GraphData graph =
        synthetic ? mixed_graph(config.synthetic.graph, Rng(context.seed).split(2))
                  : models::load_graph(file);
    if (!graph.has_features() && fs::is_directory(context.data)) {
      report.notes.push_back(concat(file, ": no features, it has neither 'x' nor 'x_shape'"));
      continue;
    }
    GraphStudy study(graph, config, tuned(plan, settings, graph.name, config.tuned), context);
    study.score_features(report);
    if (stop_requested()) break;
    means.add(graph.name, study.score_row());
    if (published && published->contains(graph.name))
      agreement.add(graph.name, study.agreement_row(published->load(graph.name), config.published));
    if (config.models.empty()) continue;
    const std::vector<Pair> found = study.train(report);
    if (found.empty()) break;
    report.plots.push_back(curves_of(graph.name, found));
    pairs.insert(pairs.end(), found.begin(), found.end());
  }
  report.tables.push_back(std::move(means));
  if (!agreement.rows.empty()) report.tables.push_back(std::move(agreement));
  if (pairs.empty()) return report;
  report.tables.push_back(comparison_table(pairs));
  report.tables.push_back(win_table(pairs));
  if (!context.out.empty())
    write_file(context.file("scores.csv"), to_csv(all_scores(pairs, config.runs)));
  return report;
}

}  // namespace tessera::algorithms::gfs
