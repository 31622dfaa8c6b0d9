#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tessera/algorithms/table.hpp"
#include "tessera/algorithms/trihom/classifier_metrics.hpp"
#include "tessera/algorithms/trihom/feature_homophily.hpp"
#include "tessera/algorithms/trihom/label_homophily.hpp"

/// Tri-Hom (Zheng, Luan, Chen, "What Is Missing For Graph Homophily? Disentangling Graph Homophily
/// For Graph Neural Networks", NeurIPS 2024), and the whole row of metrics of a graph.
namespace tessera::algorithms::trihom {

/// How far classes lie apart, over how far they spread, without and with aggregation over edges.
struct TriHom {
  double without_graph = 0;  // J_notG = (1 - w^2 S) / (1 - w m)^2
  double with_graph = 0;     // J_G = m^2 / S J_notG
};
/// With w = h_F / rho, m = (h_L C - 1) / (C - 1), b = (1 - h_L) / (C - 1) and
/// S = C b^2 + C (1 - h_S)^2 / (C - 1) + m^2. NaN for fewer than two classes, and where an argument
/// is NaN.
TriHom tri_hom(double h_l, double h_s, double h_f, double classes, double spectral_radius);

struct MetricOptions {
  Mode mode = Mode::compat;
  double compat_classes = 3;  // C and rho of Tri-Hom in `compat`: those of the published table
  double compat_radius = 10;
  ClassifierOptions classifiers;

  static void visit(auto& self, auto&& f) {
    f("mode", self.mode, "correct: as defined; compat: as the published table was made");
    f("compat_classes", self.compat_classes, "C of Tri-Hom in compat", Bounds::at_least(2));
    f("compat_radius", self.compat_radius, "spectral radius of Tri-Hom in compat",
      Bounds::at_least(1e-300));
    f("classifiers", self.classifiers);
  }
};

/// One graph's row of the table, in its order, and what belongs to single classes and features.
struct GraphMetrics {
  std::string name;
  int64_t nodes = 0, edges = 0, features = 0;
  std::vector<int64_t> class_id;  // of the classes that have nodes
  double spectral_radius = 0;
  double seconds = 0;  // all but reading and classifiers
  LabelMetrics label;
  FeatureMetrics feature;  // NaN without features
  GraphFilter filter;      // h_F
  ClassifierMetrics classifiers;
  TriHom tri_hom;

  static void visit(auto& self, auto&& f) {
    LabelHomophily::visit(self.label.graph, f);
    FeatureHomophily::visit(self.feature.graph, f);
    f("h_F", self.filter.mean);
    ClassifierMetrics::visit(self.classifiers, f);
    f("J_notG", self.tri_hom.without_graph);
    f("J_G", self.tri_hom.with_graph);
  }
};

/// Tri-Hom takes h_F from `known_h_f` where that is given, else what is measured, and h_L without
/// self-loops.
GraphMetrics graph_metrics(const models::GraphData& graph, const MetricOptions& options,
                           const Rng& rng, std::optional<double> known_h_f = std::nullopt);

/// A row for every graph, a column for every metric.
Table metric_table(const std::vector<GraphMetrics>& graphs);
/// Rows are the classes of one graph, by their number in the file.
Table class_table(const GraphMetrics& graph);
/// Rows are the features of one graph: h_attr and h_F.
Table feature_table(const GraphMetrics& graph);

/// How metrics (columns of the first table) go with accuracies (columns of the second) over the
/// graphs (rows) that both have: for every model NAME the columns "NAME" (Pearson's correlation)
/// and "NAME p", then "rank", the mean over models of the metric's rank from 1 for the greatest
/// correlation. Graphs without one of the two numbers are left out of the pair. A metric without a
/// correlation ranks last.
Table correlations(const Table& metrics, const Table& accuracies);

/// Largest and mean deviation of every metric that both tables have, over the graphs that both
/// have, with their count.
Table deviations(const Table& metrics, const Table& published);

}  // namespace tessera::algorithms::trihom
