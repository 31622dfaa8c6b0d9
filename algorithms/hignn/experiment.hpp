#pragma once

#include <string>
#include <vector>

#include "tessera/algorithms/experiment.hpp"
#include "tessera/algorithms/hignn/hignn.hpp"
#include "tessera/models/data/synthetic.hpp"

namespace tessera::algorithms::hignn {

/// Settings of the experiment; config.json holds the same defaults.
struct Config {
  StageOptions first, second;
  NewGraphOptions new_graph;
  std::vector<double> thresholds{0.9};
  std::vector<double> lambdas{1, 0.1};
  bool second_stage = true;
  bool ablations = false;
  std::vector<double> homophily_at{0.3, 0.6, 0.8, 0.9, 1};
  int64_t runs = 10;
  int64_t together = 10;
  models::SplitKind split = models::SplitKind::fixed;
  bool normalize_features = true;
  models::SyntheticGraphOptions graph{.nodes = 300,
                                      .homophily = 0.05};  // used when no --data is given

  static void visit(auto& self, auto&& f) {
    f("first", self.first);
    f("second", self.second);
    f("new_graph", self.new_graph);
    f("thresholds", self.thresholds, "delta of the second stage; the best on validation is taken",
      Bounds::between(-1, 1));
    f("lambdas", self.lambdas, "weights of the new graph, likewise", Bounds::finite());
    f("second_stage", self.second_stage, "false: the first model and the homophilies alone");
    f("ablations", self.ablations, "also train on the new graph alone and on other new graphs");
    f("homophily_at", self.homophily_at, "thresholds at which the homophily of A' is reported",
      Bounds::between(-1, 1));
    f("runs", self.runs, "trainings with different seeds and splits", Bounds::at_least(1));
    f("together", self.together, "how many of them train side by side", Bounds::at_least(1));
    f("split", self.split, "fixed (number run % splits), random (60/20/20 per class) or public");
    f("normalize_features", self.normalize_features, "divide the rows by their sums");
    f("graph", self.graph);
  }
};

/// `context.data` is a graph file, a folder of them, or empty. For every graph: the homophily of A'
/// with true classes (the node itself left out of its histogram, as the paper's table has it) and
/// with those the first model predicts, the accuracies of both stages for every threshold and
/// weight, and which of them validation chooses. The output folder also gets pictures of the
/// homophilies and of the shares of linked pairs between classes in A and A'.
Report run(const Config& config, Context& context);

}  // namespace tessera::algorithms::hignn
