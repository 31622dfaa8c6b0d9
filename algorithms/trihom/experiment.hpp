#pragma once

#include "tessera/algorithms/experiment.hpp"
#include "tessera/algorithms/trihom/learning.hpp"
#include "tessera/algorithms/trihom/trihom.hpp"
#include "tessera/models/data/csbm.hpp"

namespace tessera::algorithms::trihom {

/// What is computed on when no --data is given.
enum class Generator : uint8_t { csbm_3h, csbm_h };
std::string_view to_string(Generator generator);
void parse(std::string_view text, Generator& generator);

/// Generated graphs: every combination of the listed homophilies, `runs` times.
struct Grid {
  Generator generator = Generator::csbm_3h;
  std::vector<double> label_homophily{0, 0.2, 0.33333333, 0.5, 0.8, 1};
  std::vector<double> structural_homophily{0.2, 0.8};
  std::vector<double> feature_homophily{-0.8, 0, 0.8};
  int64_t runs = 3;
  int64_t classifier_trials = 0;  // in place of classifiers.trials: a second or more per graph
  int64_t nodes = 1000, classes = 3, features = 10, degree_low = 5, degree_high = 5;

  static void visit(auto& self, auto&& f) {
    f("generator", self.generator, "csbm_3h, or csbm_h, which has label_homophily alone");
    f("label_homophily", self.label_homophily, "h_L", Bounds::between(0, 1));
    f("structural_homophily", self.structural_homophily, "h_S", Bounds::between(0, 1));
    f("feature_homophily", self.feature_homophily, "h_F, above -1", Bounds::up_to_below(-1, 1));
    f("runs", self.runs, "graphs of every combination", Bounds::at_least(1));
    f("classifier_trials", self.classifier_trials, "here in place of classifiers.trials",
      Bounds::at_least(0));
    f("nodes", self.nodes, "of a graph", Bounds::between(4, 30000));
    f("classes", self.classes, "csbm_3h", Bounds::between(2, 1000));
    f("features", self.features, "csbm_3h: of a node", Bounds::at_least(1));
    f("degree_low", self.degree_low, "least expected degree", Bounds::at_least(0));
    f("degree_high", self.degree_high, "greatest expected degree", Bounds::at_least(0));
  }
};

/// Settings of the experiment; config.json holds the same defaults.
struct Config : MetricOptions {
  std::string accuracies;  // CSV file: rows are graphs, columns models
  std::string published;   // CSV file: rows are graphs, columns metrics
  LearningOptions learning;
  Grid grid;

  static void visit(auto& self, auto&& f) {
    MetricOptions::visit(self, f);
    f("accuracies", self.accuracies, "CSV of graphs by models, for correlations with --data");
    f("published", self.published, "CSV of graphs by metrics to compare with and take h_F from");
    f("learning", self.learning);
    f("grid", self.grid);
  }
};

/// `context.data` is a graph file, a folder of them (archives without graphs are named and passed
/// over), a CSV table of metrics, or empty: then graphs are generated, and an MLP and a GCN trained
/// on each. The report has the table of metrics, correlations with accuracies where those are known
/// and deviations from published values where those are given; the output folder also pictures of
/// the tables, and the classes and features of every graph as CSV.
Report run(const Config& config, Context& context);

}  // namespace tessera::algorithms::trihom
