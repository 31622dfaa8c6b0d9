#include "tessera/algorithms/trihom/experiment.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tessera/algorithms/graph_files.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/atomic_file.hpp"

namespace tessera::algorithms::trihom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view generator_names[] = {"csbm_3h", "csbm_h"};
constexpr Network networks[] = {Network::mlp, Network::gcn};

void write_picture(const Context& context, const Table& table, HeatScale scale) {
  if (!context.out.empty()) write_file(context.file(table.name + ".svg"), heat_map(table, scale));
}

void write_parts(const Context& context, const GraphMetrics& graph) {
  if (context.out.empty()) return;
  for (const Table& table : {class_table(graph), feature_table(graph)})
    write_file(context.file(table.name + ".csv"), to_csv(table));
}

void add_metrics(Report& report, const GraphMetrics& graph) {
  GraphMetrics::visit(
      graph, [&](std::string_view name, double value) { report.add(std::string(name), value); });
  report.add("spectral_radius", graph.spectral_radius);
  report.add("metric_seconds", graph.seconds);
}

void compare(const Config& config, const Context& context, const Table& metrics, Report& report) {
  if (!config.accuracies.empty()) {
    report.tables.push_back(correlations(metrics, read_csv(config.accuracies)));
    write_picture(context, report.tables.back(), HeatScale::columns);
  }
  if (!config.published.empty())
    report.tables.push_back(deviations(metrics, read_csv(config.published)));
}

Report run_files(const Config& config, const Context& context) {
  Report report;
  const std::vector<std::string> files = graph_files(context.data, report.notes);
  const Table published = config.published.empty() ? Table{} : read_csv(config.published);
  const auto known = published.column("h_F");
  const Rng rng(context.seed);
  std::vector<GraphMetrics> graphs;
  context.progress->begin("graphs", static_cast<int64_t>(files.size()));
  for (const std::string& file : files) {
    if (stop_requested()) break;
    const models::GraphData graph = models::load_graph(file);
    std::optional<double> h_f;
    if (const auto row = published.row(graph.name); row && known)
      h_f = published.values[*row][*known];
    graphs.push_back(graph_metrics(graph, config, rng, h_f));
    add_metrics(report, graphs.back());
    write_parts(context, graphs.back());
    context.progress->update(static_cast<int64_t>(graphs.size()), graph.name);
  }
  report.tables.push_back(metric_table(graphs));
  write_picture(context, report.tables.back(), HeatScale::columns);
  compare(config, context, metric_table(graphs), report);
  return report;
}

/// One graph of the grid.
struct Cell {
  std::string name, row, column;
  int64_t run;
  models::Csbm3hOptions options;
};

std::string short_number(double value) { return concat(std::round(1000 * value) / 1000); }

std::vector<Cell> cells_of(const Grid& grid) {
  const bool three = grid.generator == Generator::csbm_3h;
  std::vector<Cell> cells;
  for (const double h_s : three ? grid.structural_homophily : std::vector<double>{1})
    for (const double h_f : three ? grid.feature_homophily : std::vector<double>{0})
      for (const double h_l : grid.label_homophily)
        for (int64_t run = 0; run < grid.runs; ++run) {
          const std::string column = concat("L", short_number(h_l)),
                            row = three ? concat("S", short_number(h_s), " F", short_number(h_f))
                                        : std::string("csbm_h");
          std::string name = concat(row, " ", column, " ", run);
          std::replace(name.begin(), name.end(), ' ', '_');
          cells.push_back({name,
                           row,
                           column,
                           run,
                           {.nodes = grid.nodes,
                            .classes = grid.classes,
                            .features = grid.features,
                            .degree_low = grid.degree_low,
                            .degree_high = grid.degree_high,
                            .label_homophily = h_l,
                            .structural_homophily = h_s,
                            .feature_homophily = h_f}});
        }
  return cells;
}

models::GraphData generated(const Grid& grid, const Cell& cell, const Rng& rng) {
  const models::Csbm3hOptions& o = cell.options;
  const double degree = 0.5 * static_cast<double>(o.degree_low + o.degree_high);
  models::GraphData graph = grid.generator == Generator::csbm_3h
                                ? models::csbm_3h(o, rng)
                                : models::csbm_h({.nodes0 = o.nodes / 2,
                                                  .nodes1 = o.nodes - o.nodes / 2,
                                                  .degree0 = degree,
                                                  .degree1 = degree,
                                                  .homophily = o.label_homophily},
                                                 rng);
  graph.name = cell.name;
  return graph;
}

/// Means over the runs of each combination, in the order of the grid.
Table mean_table(const std::string& name, const std::vector<Cell>& cells,
                 const std::vector<double>& values) {
  Table table{.name = name, .corner = "csbm", .rows = {}, .columns = {}, .values = {}};
  for (size_t i = 0; i < values.size(); ++i)
    if (!table.column(cells[i].column)) table.columns.push_back(cells[i].column);
  Table counts = table;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!table.row(cells[i].row))
      for (Table* each : {&table, &counts})
        each->add(cells[i].row, std::vector<double>(table.columns.size()));
    const size_t r = *table.row(cells[i].row), c = *table.column(cells[i].column);
    table.values[r][c] += values[i];
    ++counts.values[r][c];
  }
  for (size_t r = 0; r < table.rows.size(); ++r)
    for (size_t c = 0; c < table.columns.size(); ++c) table.values[r][c] /= counts.values[r][c];
  return table;
}

Report run_grid(const Config& config, const Context& context) {
  TS_CHECK(config.accuracies.empty() && config.published.empty(),
           "trihom: 'accuracies' and 'published' belong to --data; generated graphs have none");
  Report report;
  const std::vector<Cell> cells = cells_of(config.grid);
  TS_CHECK(!cells.empty(), "trihom: the grid has no graph; expected a value in each of its lists");
  const Rng rng(context.seed);
  MetricOptions options = config;
  options.classifiers.trials = config.grid.classifier_trials;
  std::vector<GraphMetrics> graphs;
  Table accuracies{.name = "accuracies",
                   .corner = "dataset",
                   .rows = {},
                   .columns = {"MLP", "GCN"},
                   .values = {}};
  context.progress->begin("generated graphs", static_cast<int64_t>(cells.size()));
  for (size_t i = 0; i < cells.size() && !stop_requested(); ++i) {
    // Runs share their random numbers, so that cells differ by their homophilies alone.
    const Rng own = rng.split(static_cast<uint64_t>(cells[i].run));
    const models::GraphData graph = generated(config.grid, cells[i], own.split(0));
    std::vector<double> found;
    for (const Network network : networks)
      found.push_back(test_accuracy(graph, graph.fixed_splits.at(0), network, config.learning,
                                    context.device, own.split(1)));
    if (stop_requested()) break;  // those are of trainings cut short
    for (size_t k = 0; k < found.size(); ++k)
      report.add(concat("test_accuracy_", to_string(networks[k])), found[k]);
    accuracies.add(graph.name, std::move(found));
    graphs.push_back(graph_metrics(graph, options, own.split(2)));
    add_metrics(report, graphs.back());
    write_parts(context, graphs.back());
    context.progress->update(static_cast<int64_t>(graphs.size()), graph.name);
  }
  const Table metrics = metric_table(graphs);
  const auto means_of = [&](const std::string& name, auto&& value) {
    std::vector<double> values;
    values.reserve(graphs.size());
    for (size_t i = 0; i < graphs.size(); ++i) values.push_back(value(i));
    report.tables.push_back(mean_table(name, cells, values));
    write_picture(context, report.tables.back(), HeatScale::whole);
  };
  means_of("accuracy_mlp", [&](size_t i) { return accuracies.values[i][0]; });
  means_of("accuracy_gcn", [&](size_t i) { return accuracies.values[i][1]; });
  means_of("J_notG", [&](size_t i) { return graphs[i].tri_hom.without_graph; });
  means_of("J_G", [&](size_t i) { return graphs[i].tri_hom.with_graph; });
  report.tables.push_back(correlations(metrics, accuracies));
  write_picture(context, report.tables.back(), HeatScale::columns);
  if (!context.out.empty()) {
    for (const Table& table : {metrics, accuracies})
      write_file(context.file(table.name + ".csv"), to_csv(table));
    write_picture(context, metrics, HeatScale::columns);
  }
  return report;
}

}  // namespace

std::string_view to_string(Generator generator) {
  return generator_names[static_cast<int>(generator)];
}
void parse(std::string_view text, Generator& generator) {
  parse_enum(text, generator_names, generator);
}

Report run(const Config& config, Context& context) {
  if (context.data.empty()) return run_grid(config, context);
  if (fs::path(context.data).extension() != ".csv") return run_files(config, context);
  TS_CHECK(!config.accuracies.empty(), "trihom: ", context.data,
           " is a table of metrics; expected --set accuracies=FILE to correlate them with");
  Report report;
  compare(config, context, read_csv(context.data), report);
  const Table& found = report.tables.front();
  for (size_t c = 0; c < found.columns.size(); ++c)
    for (size_t r = 0; r < found.rows.size(); ++r)
      if (std::isfinite(found.values[r][c]))
        report.add(concat("correlations ", found.columns[c]), found.values[r][c]);
  return report;
}

}  // namespace tessera::algorithms::trihom
