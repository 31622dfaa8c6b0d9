#include "tessera/algorithms/trihom/trihom.hpp"

#include <chrono>
#include <cmath>
#include <limits>

#include "tessera/models/data/spectrum.hpp"
#include "tessera/models/statistics.hpp"

namespace tessera::algorithms::trihom {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

CsrMatrix matrix_of(const Neighbours& neighbours) {
  const int64_t n = neighbours.nodes();
  return CsrMatrix::from_parts(n, n, Tensor::from(neighbours.first, {n + 1}, Device::cpu()),
                               Tensor::from(neighbours.node, {neighbours.ends()}, Device::cpu()));
}

/// Pairs of finite numbers from two columns, over the rows that both tables have.
struct Pairs {
  std::vector<double> first, second;

  Pairs(const Table& a, size_t column_a, const Table& b, size_t column_b) {
    for (size_t r = 0; r < a.rows.size(); ++r) {
      const auto other = b.row(a.rows[r]);
      if (!other) continue;
      const double x = a.values[r][column_a], y = b.values[*other][column_b];
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      first.push_back(x);
      second.push_back(y);
    }
  }
};

}  // namespace

TriHom tri_hom(double h_l, double h_s, double h_f, double classes, double spectral_radius) {
  if (!(classes >= 2)) return {nan, nan};
  const double w = h_f == 0 ? 0 : h_f / spectral_radius;
  const double m = (h_l * classes - 1) / (classes - 1), b = (1 - h_l) / (classes - 1);
  const double s = classes * b * b + classes * (1 - h_s) * (1 - h_s) / (classes - 1) + m * m;
  const double j = (1 - w * w * s) / ((1 - w * m) * (1 - w * m));
  return {j, m * m / s * j};
}

GraphMetrics graph_metrics(const models::GraphData& data, const MetricOptions& options,
                           const Rng& rng, std::optional<double> known_h_f) {
  const auto start = std::chrono::steady_clock::now();
  const LabelledGraph graph = labelled_graph(data, options.mode);
  GraphMetrics out;
  out.name = data.name;
  out.nodes = graph.nodes();
  out.edges = graph.neighbours.ends() / 2;
  out.class_id = graph.class_id;
  out.label = label_homophily(graph, options.mode, rng.split(0));
  out.spectral_radius = models::spectral_radius(matrix_of(graph.neighbours));
  FeatureRows rows;
  if (data.has_features()) {
    rows = feature_rows(data, graph);
    out.features = rows.features;
    out.feature = feature_homophily(graph, rows, options.mode);
    out.filter = feature_filter_homophily(graph, rows, out.spectral_radius, options.mode);
  }
  const bool compat = options.mode == Mode::compat;
  out.tri_hom = tri_hom(out.label.edge_without_loops, out.label.graph.structural,
                        known_h_f.value_or(out.filter.mean),
                        compat ? options.compat_classes : static_cast<double>(graph.classes()),
                        compat ? options.compat_radius : out.spectral_radius);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (data.has_features())
    out.classifiers =
        classifier_metrics(graph, rows, options.classifiers, options.mode, rng.split(1));
  return out;
}

Table metric_table(const std::vector<GraphMetrics>& graphs) {
  Table table{.name = "metrics", .corner = "dataset", .rows = {}, .columns = {}, .values = {}};
  GraphMetrics names;
  GraphMetrics::visit(names,
                      [&](std::string_view name, double) { table.columns.emplace_back(name); });
  for (const GraphMetrics& graph : graphs) {
    std::vector<double> row;
    GraphMetrics::visit(graph, [&](std::string_view, double value) { row.push_back(value); });
    table.add(graph.name, std::move(row));
  }
  return table;
}

Table class_table(const GraphMetrics& graph) {
  Table table{
      .name = graph.name + ".classes", .corner = "class", .rows = {}, .columns = {}, .values = {}};
  std::vector<const std::vector<double>*> columns;
  const auto take = [&](std::string_view name, const std::vector<double>& values) {
    if (values.size() != graph.class_id.size()) return;  // of features that the graph has not
    table.columns.emplace_back(name);
    columns.push_back(&values);
  };
  ClassHomophily::visit(graph.label.classes, take);
  take("h_LS_cos", graph.feature.local_cosine);
  take("h_LS_euc", graph.feature.local_euclidean);
  for (size_t c = 0; c < graph.class_id.size(); ++c) {
    std::vector<double> row;
    row.reserve(columns.size());
    for (const auto* values : columns) row.push_back((*values)[c]);
    table.add(std::to_string(graph.class_id[c]), std::move(row));
  }
  return table;
}

Table feature_table(const GraphMetrics& graph) {
  Table table{.name = graph.name + ".features",
              .corner = "feature",
              .rows = {},
              .columns = {"h_attr", "h_F"},
              .values = {}};
  for (size_t f = 0; f < graph.filter.by_feature.size(); ++f)
    table.add(std::to_string(f), {graph.feature.attribute[f], graph.filter.by_feature[f]});
  return table;
}

Table correlations(const Table& metrics, const Table& accuracies) {
  Table table{.name = "correlations", .corner = "metric", .rows = {}, .columns = {}, .values = {}};
  std::vector<std::vector<double>> rows(metrics.columns.size());
  std::vector<double> rank(metrics.columns.size());
  for (size_t model = 0; model < accuracies.columns.size(); ++model) {
    table.columns.push_back(accuracies.columns[model]);
    table.columns.push_back(accuracies.columns[model] + " p");
    std::vector<double> descending;
    for (size_t m = 0; m < metrics.columns.size(); ++m) {
      const Pairs pairs(metrics, m, accuracies, model);
      const models::Correlation found = models::pearson(pairs.first, pairs.second);
      rows[m].push_back(found.coefficient);
      rows[m].push_back(found.p_value);
      descending.push_back(std::isnan(found.coefficient) ? 2 : -found.coefficient);
    }
    const std::vector<double> places = models::ranks(descending);
    for (size_t m = 0; m < rank.size(); ++m)
      rank[m] += places[m] / static_cast<double>(accuracies.columns.size());
  }
  table.columns.emplace_back("rank");
  for (size_t m = 0; m < rows.size(); ++m) {
    rows[m].push_back(rank[m]);
    table.add(metrics.columns[m], std::move(rows[m]));
  }
  return table;
}

Table deviations(const Table& metrics, const Table& published) {
  Table table{.name = "deviations",
              .corner = "metric",
              .rows = {},
              .columns = {"largest", "mean", "graphs"},
              .values = {}};
  for (size_t m = 0; m < metrics.columns.size(); ++m) {
    const auto other = published.column(metrics.columns[m]);
    if (!other) continue;
    const Pairs pairs(metrics, m, published, *other);
    double largest = 0, sum = 0;
    for (size_t i = 0; i < pairs.first.size(); ++i) {
      const double deviation = std::abs(pairs.first[i] - pairs.second[i]);
      largest = std::max(largest, deviation);
      sum += deviation;
    }
    const auto count = static_cast<double>(pairs.first.size());
    table.add(metrics.columns[m], {count > 0 ? largest : nan, sum / count, count});
  }
  return table;
}

}  // namespace tessera::algorithms::trihom
