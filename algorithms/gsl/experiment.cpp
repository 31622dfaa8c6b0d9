#include "tessera/algorithms/gsl/experiment.hpp"

#include <utility>

#include "tessera/algorithms/graph_files.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/atomic_file.hpp"

namespace tessera::algorithms::gsl {
namespace {

Report run_study(const Config& config, const Context& context) {
  Report report;
  context.progress->begin("csbm_h graphs",
                          static_cast<int64_t>(config.study.homophily.size()) * config.study.seeds);
  const Study study =
      information_study(config.study, context.device, Rng(context.seed),
                        [&](int64_t done, int64_t) { context.progress->update(done); });
  if (stop_requested()) return report;
  for (size_t s = 0; s < study.series.size(); ++s)
    for (const StudyPoint& point : study.points[s]) {
      for (const double value : point.accuracy)
        report.add("test_accuracy " + study.series[s], value);
      for (const double value : point.joint)
        report.add("mutual_information " + study.series[s], value);
    }
  const models::Correlation correlation = accuracy_correlation(study);
  report.add("correlation of accuracy and mutual information", correlation.coefficient);
  report.notes.push_back(concat("accuracy and joint mutual information correlate with ",
                                static_cast<float>(correlation.coefficient), " (p ",
                                static_cast<float>(correlation.p_value), ")"));
  report.plots = study_plots(study, config.study);
  report.tables = study_tables(study, config.study);
  return report;
}

constexpr int64_t most_predicted_nodes = 4096;  // whose cliques are drawn

void write_pictures(const Config& config, const Context& context, const Problem& problem,
                    const models::Split& split, const Comparison& comparison) {
  if (context.out.empty()) return;
  const auto write = [&](const std::string& name, const CsrMatrix& graph, double homophily) {
    write_file(
        context.file(concat(problem.name, ".", name, ".svg")),
        adjacency_picture(graph, problem.labels,
                          concat(problem.name, ", ", name, ": homophily ",
                                 static_cast<float>(homophily), ", ", graph.nnz() / 2, " edges")));
  };
  write("graph", problem.adjacency, comparison.homophily);
  for (const StructureCell& cell : comparison.structures)
    write(concat(to_string(cell.base), "_", to_string(cell.construction)), cell.graph,
          cell.homophily.front());
  if (problem.nodes() > most_predicted_nodes) return;
  const CsrMatrix predicted =
      predicted_graph(problem, split, config.learning, Rng(context.seed).split(3));
  if (stop_requested()) return;
  write("predicted", predicted, models::edge_homophily(predicted, problem.labels));
}

void add_comparison(Report& report, const Comparison& comparison,
                    const ComparisonOptions& options) {
  if (!comparison.structures.empty()) report.tables.push_back(homophily_table(comparison));
  for (Table& table : accuracy_tables(comparison, options))
    report.tables.push_back(std::move(table));
  for (const Backbone backbone : options.backbones)
    BestCells::visit(best_cells(comparison, backbone), [&](std::string_view name,
                                                           const ComparisonCell* cell) {
      if (!cell) return;
      for (const double value : cell->test)
        report.add(concat("test_accuracy ", comparison.name, " ", to_string(backbone), " ", name),
                   value);
    });
}

void add_learners(Report& report, const std::string& graph,
                  std::span<const LearnerResult> results) {
  report.tables.push_back(learner_table(graph, results));
  for (const LearnerResult& result : results) {
    const std::string name = concat("test_accuracy ", graph, " ", to_string(result.learner));
    for (const double value : result.with.test) report.add(name, value);
    for (const double value : result.on_graph.test) report.add(name + " on A", value);
    for (const double value : result.without_edges.test) report.add(name + " as MLP", value);
  }
}

Report run_files(const Config& config, const Context& context) {
  Report report;
  std::vector<Comparison> comparisons;
  const Rng rng(context.seed);
  for (const std::string& file : graph_files(context.data, report.notes)) {
    if (stop_requested()) break;
    const models::GraphData graph = models::load_graph(file);
    if (!graph.has_features()) {
      report.notes.push_back(concat(file, ": no node features to build a structure from"));
      continue;
    }
    std::vector<models::Split> splits;
    splits.reserve(static_cast<size_t>(config.runs));
    for (int64_t r = 0; r < config.runs; ++r)
      splits.push_back(models::split_by_share(graph, config.train_share, config.validation_share,
                                              rng.split(0).split(static_cast<uint64_t>(r))));
    const Problem problem = prepare(graph, config.normalize_features, context.device);
    bool begun = false;
    const auto told = [&](int64_t done, int64_t total, const std::string& what) {
      if (!std::exchange(begun, true)) context.progress->begin(problem.name, total);
      context.progress->update(done, what);
    };
    if (!config.comparison.fusions.empty()) {
      comparisons.push_back(compare(problem, splits, config.comparison, config.learning,
                                    config.contrastive, config.together, rng.split(1), told));
      if (stop_requested()) {  // its last numbers are of trainings cut short
        comparisons.pop_back();
        break;
      }
      add_comparison(report, comparisons.back(), config.comparison);
      write_pictures(config, context, problem, splits.front(), comparisons.back());
    }
    if (config.learners.methods.empty()) continue;
    begun = false;
    const auto results = compare_learners(problem, splits, config.learners, rng.split(2), told);
    if (stop_requested()) break;
    add_learners(report, problem.name, results);
  }
  if (!comparisons.empty()) report.tables.push_back(summary_table(comparisons, config.comparison));
  return report;
}

}  // namespace

Report run(const Config& config, Context& context) {
  return context.data.empty() ? run_study(config, context) : run_files(config, context);
}

}  // namespace tessera::algorithms::gsl
