#pragma once

#include "tessera/algorithms/experiment.hpp"
#include "tessera/algorithms/node_classification/node_classification.hpp"
#include "tessera/models/data/synthetic.hpp"

namespace tessera::algorithms::node_classification {

/// Settings of the experiment; config.json holds the same defaults.
struct Config : Options {
  int64_t runs = 10;  // trainings, each with its own seed (and split where there are several)
  int64_t together = 10;
  models::SplitKind split = models::SplitKind::public_;
  models::FeatureScaling features = models::FeatureScaling::row;
  int64_t checkpoint_every = 100;
  models::SyntheticGraphOptions graph;  // used when no --data is given

  static void visit(auto& self, auto&& f) {
    Options::visit(self, f);
    f("runs", self.runs, "trainings with different seeds", Bounds::at_least(1));
    f("together", self.together, "how many of them train side by side", Bounds::at_least(1));
    f("split", self.split, "public, fixed (number run % splits) or random (60/20/20 per class)");
    f("features", self.features, "raw, row (divided by their sums) or column (z-scores)");
    f("checkpoint_every", self.checkpoint_every, "epochs, with --out; 0: only the last",
      Bounds::at_least(0));
    f("graph", self.graph);
  }
};

/// Trains `config.runs` networks on the graph file `context.data`, or on a synthetic graph, and
/// reports train, validation and test accuracy or AUC, seconds per training (its share where
/// several train side by side), and mean curves.
Report run(const Config& config, Context& context);

}  // namespace tessera::algorithms::node_classification
