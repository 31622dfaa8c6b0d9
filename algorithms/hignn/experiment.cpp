#include "tessera/algorithms/hignn/experiment.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "tessera/algorithms/graph_files.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/atomic_file.hpp"

namespace tessera::algorithms::hignn {
namespace {

/// One way to train, with what its runs showed.
struct Method {
  std::string name;
  std::vector<double> train, validation, test, epochs, seconds, homophily, ratio;

  void add(const Outcome& outcome, double share_of_seconds) {
    train.push_back(outcome.train);
    validation.push_back(outcome.validation);
    test.push_back(outcome.test);
    epochs.push_back(static_cast<double>(outcome.epochs));
    seconds.push_back(share_of_seconds);
  }
  void add(const LinkStatistics& links) {
    homophily.push_back(links.homophily);
    ratio.push_back(links.ratio);
  }
};

double mean(const std::vector<double>& values) {
  return values.empty() ? std::nan("") : models::mean_std(values).mean;
}

std::string short_number(double value) { return concat(static_cast<float>(value)); }

/// A second stage to be trained.
struct Variant {
  std::string name;
  Graphs graphs;
  NewGraphOptions new_graph;
  double lambda;
};

std::vector<Variant> variants_of(const Config& config) {
  std::vector<Variant> all;
  if (!config.second_stage) return all;
  const std::string backbone(to_string(config.second.backbone));
  for (const double threshold : config.thresholds)
    for (const double lambda : config.lambdas) {
      NewGraphOptions options = config.new_graph;
      options.threshold = threshold;
      all.push_back({concat(backbone, "+Hi delta ", short_number(threshold), " lambda ",
                            short_number(lambda)),
                     Graphs::both, options, lambda});
    }
  if (!config.ablations) return all;
  NewGraphOptions options = config.new_graph;
  options.threshold = config.thresholds.front();
  const double lambda = config.lambdas.front();
  all.push_back({"new graph alone", Graphs::new_graph, options, 1});
  all.push_back({"old graph alone", Graphs::old_graph, options, 1});
  for (const NewGraphKind kind :
       {NewGraphKind::degree, NewGraphKind::feature_cosine, NewGraphKind::k_means,
        NewGraphKind::label, NewGraphKind::soft_label}) {
    options.kind = kind;
    all.push_back({concat("+ ", to_string(kind)), Graphs::both, options, lambda});
  }
  options.kind = NewGraphKind::histogram_rank;
  options.rank_span = 0.1;
  for (int decile = 0; decile < 10; ++decile) {
    options.rank_from = 0.1 * decile;
    all.push_back({concat("+ decile ", decile + 1), Graphs::both, options, lambda});
  }
  return all;
}

class Trial {
 public:
  Trial(const Config& config, Context& context, const models::GraphData& graph, Rng rng)
      : config_(config),
        context_(context),
        graph_(graph),
        rng_(rng),
        labels_(graph.labels.values<int32_t>()),
        variants_(variants_of(config)) {}

  /// Leaves the rows of the tables of all graphs.
  void run(Report& report, Table& accuracies, Table& homophilies) {
    for (const Variant& v : variants_)  // before the first stage, not after
      TS_CHECK(v.new_graph.kind != NewGraphKind::k_means || v.new_graph.clusters <= graph_.nodes,
               "hignn: ", v.new_graph.clusters, " clusters of the ", graph_.nodes,
               " nodes of graph ", graph_.name);
    add_true_homophily(homophilies);
    methods_.emplace_back().name = to_string(config_.first.backbone);
    for (const Variant& v : variants_) methods_.emplace_back().name = v.name;
    const Problem problem = prepare(graph_, config_.normalize_features, context_.device);
    for (int64_t first = 0; first < config_.runs && !stop_requested(); first += together())
      train_runs(problem, first);
    if (stop_requested()) return;
    finish(report, accuracies, homophilies);
  }

 private:
  int64_t together() const {
    // Attention on new graphs of several runs has no common pattern.
    const bool attention = config_.second_stage && config_.second.backbone == Backbone::gat;
    return attention ? 1 : config_.together;
  }

  /// Homophily of A' with true classes, at every threshold; then the same with the predictions of a
  /// model and the node itself in its histogram.
  std::vector<double> homophily_at(const Tensor& histograms) {
    std::vector<double> found;
    for (const double threshold : config_.homophily_at) {
      const NewGraph links{
          autograd::SimilarityGraph(histograms, {.least = threshold, .diagonal = 0}, Device::cpu()),
          {}};
      const LinkStatistics s =
          link_statistics(links, labels_, graph_.classes, graph_.adjacency.nnz());
      found.push_back(s.homophily);
      ratios_.push_back(s.ratio);
    }
    return found;
  }
  void add_true_homophily(Table& homophilies) {
    const Tensor histograms = class_histograms(graph_.adjacency, labels_, graph_.classes, false);
    original_ = link_statistics(graph_.adjacency, labels_, graph_.classes);
    std::vector<double> row{mean_class_deviation(histograms, labels_, graph_.classes),
                            original_.homophily};
    ratios_.clear();
    true_homophily_ = homophily_at(histograms);
    row.insert(row.end(), true_homophily_.begin(), true_homophily_.end());
    row.insert(row.end(), ratios_.begin(), ratios_.end());
    homophilies.add(graph_.name, std::move(row));
  }

  template <class Work>
  std::vector<Outcome> timed(Method& method, Work&& work) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<Outcome> outcomes = work();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    for (const Outcome& outcome : outcomes)
      method.add(outcome, seconds / static_cast<double>(outcomes.size()));
    return outcomes;
  }

  void train_runs(const Problem& problem, int64_t first) {
    const int64_t count = std::min(together(), config_.runs - first);
    std::vector<models::Split> splits;
    std::vector<Rng> rngs, of_graphs;
    const Rng split_rng = rng_.split(0);
    for (int64_t run = first; run < first + count; ++run) {
      splits.push_back(models::choose_split(graph_, config_.split, run, split_rng));
      rngs.push_back(rng_.split(1).split(static_cast<uint64_t>(run)));
      of_graphs.push_back(rng_.split(2).split(static_cast<uint64_t>(run)));
    }
    const auto reporter = [&](const std::string& name) {
      return [this, name](const TrainingProgress& p) {
        if (p.epochs_done % 10 == 0)
          context_.progress->update(done_, concat(graph_.name, ", ", name, ", epoch ",
                                                  p.epochs_done, ", ", p.running, " runs"));
      };
    };
    const std::vector<Outcome> outcomes = timed(methods_[0], [&] {
      return train(problem, config_.first, Graphs::old_graph, {}, splits, rngs,
                   reporter(methods_[0].name));
    });
    context_.progress->update(done_ += count, graph_.name);
    for (const Outcome& outcome : outcomes) {
      const Tensor histograms = class_histograms(
          graph_.adjacency, predicted_classes(outcome.probabilities), graph_.classes, true);
      const std::vector<double> found = homophily_at(histograms);
      predicted_homophily_.resize(found.size());
      for (size_t i = 0; i < found.size(); ++i)
        predicted_homophily_[i] += found[i] / static_cast<double>(config_.runs);
    }
    for (size_t v = 0; v < variants_.size() && !stop_requested(); ++v) {
      const Variant& variant = variants_[v];
      const std::vector<NewGraph> graphs =
          new_graphs_of(problem, outcomes, variant.new_graph, config_.second.backbone, of_graphs);
      StageOptions options = config_.second;
      options.lambda = variant.lambda;
      std::vector<Rng> own;
      own.reserve(rngs.size());
      for (const Rng& rng : rngs) own.push_back(rng.split(2 + v));
      timed(methods_[v + 1], [&] {
        return train(problem, options, variant.graphs, graphs, splits, own, reporter(variant.name));
      });
      for (const NewGraph& g : graphs) {
        const LinkStatistics s =
            link_statistics(g, labels_, graph_.classes, graph_.adjacency.nnz());
        if (variant.graphs != Graphs::old_graph) methods_[v + 1].add(s);
        if (v == 0 && blocks_.empty()) blocks_ = s.block_share;
      }
      context_.progress->update(done_ += count, graph_.name);
    }
  }

  void finish(Report& report, Table& accuracies, Table& homophilies) {
    std::vector<double> predicted(2, std::nan(""));
    predicted.insert(predicted.end(), predicted_homophily_.begin(), predicted_homophily_.end());
    predicted.insert(predicted.end(), config_.homophily_at.size(), std::nan(""));
    homophilies.add(graph_.name + ": predicted", std::move(predicted));

    const auto add = [&](const std::string& name, const Method& m) {
      const models::MeanStd test = models::mean_std(m.test),
                            validation = models::mean_std(m.validation);
      accuracies.add(concat(graph_.name, ": ", name),
                     {100 * test.mean, 100 * test.std, 100 * validation.mean, 100 * validation.std,
                      mean(m.epochs), mean(m.seconds), mean(m.homophily), mean(m.ratio)});
    };
    for (const Method& m : methods_) add(m.name, m);
    for (const double value : methods_[0].test)
      report.add(concat(graph_.name, " first_test_accuracy"), value);
    if (config_.second_stage) {
      const auto end = methods_.begin() + 1 +
                       static_cast<int64_t>(config_.thresholds.size() * config_.lambdas.size());
      const auto best = std::max_element(
          methods_.begin() + 1, end,
          [](const auto& a, const auto& b) { return mean(a.validation) < mean(b.validation); });
      add("chosen by validation", *best);
      report.notes.push_back(concat(graph_.name, ": validation chooses ", best->name));
      for (const double value : best->test)
        report.add(concat(graph_.name, " second_test_accuracy"), value);
    }
    report.plots.push_back(
        {concat(graph_.name, ": homophily of A'"),
         "threshold",
         "share of links within a class",
         {{"true classes", config_.homophily_at, true_homophily_},
          {"predicted classes", config_.homophily_at, predicted_homophily_},
          {"A", config_.homophily_at,
           std::vector<double>(config_.homophily_at.size(), original_.homophily)}}});
    write_blocks("A", original_.block_share);
    if (!blocks_.empty()) write_blocks("A_new", blocks_);
  }

  /// The share of linked pairs between classes, as numbers and as a picture.
  void write_blocks(const std::string& which, const std::vector<double>& share) {
    if (context_.out.empty()) return;
    Table table{concat(graph_.name, "_", which), "class", {}, {}, {}};
    const auto classes = static_cast<size_t>(graph_.classes);
    for (size_t c = 0; c < classes; ++c) table.columns.push_back(std::to_string(c));
    for (size_t c = 0; c < classes; ++c) {
      const auto begin = share.begin() + static_cast<int64_t>(c * classes);
      table.add(std::to_string(c), {begin, begin + static_cast<int64_t>(classes)});
    }
    write_file(context_.file(table.name + ".csv"), to_csv(table));
    write_file(context_.file(table.name + ".svg"), heat_map(table, HeatScale::whole));
  }

  const Config& config_;
  Context& context_;
  const models::GraphData& graph_;
  Rng rng_;
  std::vector<int32_t> labels_;
  std::vector<Variant> variants_;
  std::vector<Method> methods_;  // the first stage, then the variants
  LinkStatistics original_;
  std::vector<double> true_homophily_, predicted_homophily_, ratios_, blocks_;
  int64_t done_ = 0;  // trainings
};

}  // namespace

Report run(const Config& config, Context& context) {
  TS_CHECK(!config.second_stage || (!config.thresholds.empty() && !config.lambdas.empty()),
           "hignn: a second stage needs a value in each of thresholds and lambdas");
  TS_CHECK(!context.resume, "hignn: a run cannot be resumed");
  Report report;
  Table accuracies{.name = "accuracies",
                   .corner = "graph: model",
                   .rows = {},
                   .columns = {"test", "std", "validation", "std_validation", "epochs", "seconds",
                               "homophily", "ratio"},
                   .values = {}};
  Table homophilies{.name = "homophily",
                    .corner = "graph",
                    .rows = {},
                    .columns = {"class_deviation", "A"},
                    .values = {}};
  for (const char* what : {"", "ratio "})
    for (const double threshold : config.homophily_at)
      homophilies.columns.push_back(concat(what, short_number(threshold)));
  const Rng rng(context.seed);
  const auto files =
      context.data.empty() ? std::vector<std::string>{""} : graph_files(context.data, report.notes);
  for (const std::string& file : files) {
    if (stop_requested()) break;
    const models::GraphData graph = file.empty()
                                        ? models::synthetic_graph(config.graph, rng.split(0))
                                        : models::load_graph(file);
    context.progress->begin(concat("hignn on ", graph.name),
                            config.runs * (1 + static_cast<int64_t>(variants_of(config).size())));
    Trial(config, context, graph, rng.split(1)).run(report, accuracies, homophilies);
  }
  report.tables = {accuracies, homophilies};
  if (!context.out.empty())
    write_file(context.file("homophily.svg"), heat_map(homophilies, HeatScale::columns));
  return report;
}

}  // namespace tessera::algorithms::hignn
