#pragma once

#include <string>
#include <vector>

#include "tessera/algorithms/experiment.hpp"
#include "tessera/algorithms/gfs/comparison.hpp"
#include "tessera/algorithms/gfs/mixed_features.hpp"
#include "tessera/algorithms/gfs/training.hpp"

namespace tessera::algorithms::gfs {

/// What stands in for the settings of the same names when no --data is given.
struct Synthetic {
  MixedGraphOptions graph;
  std::vector<double> ratios{0, 0.25, 0.5, 0.75, 1};
  TrainingOptions training{.hidden = 32, .learning_rate = 0.01, .epochs = 60, .evaluate_every = 5};

  static void visit(auto& self, auto&& f) {
    f("graph", self.graph);
    f("ratios", self.ratios, "in place of `ratios`", Bounds::between(0, 1));
    f("training", self.training);
  }
};

/// Settings of the experiment; config.json holds the same defaults.
struct Config {
  std::vector<models::TrunkModule> models{models::TrunkModule::gcn,     models::TrunkModule::gat,
                                          models::TrunkModule::sage,    models::TrunkModule::gt,
                                          models::TrunkModule::sgc,     models::TrunkModule::appnp,
                                          models::TrunkModule::acm_gcn, models::TrunkModule::fagcn};
  std::vector<double> ratios{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
  Metric metric = Metric::tfi;
  int64_t runs = 10;
  int64_t together = 10;
  models::SplitKind split = models::SplitKind::fixed;
  int64_t train_per_class = 0;
  TrainingOptions training;
  std::string tuned;      // CSV file: rows are graphs, columns settings
  std::string published;  // .npz file: scores of every split and feature, by graph
  Synthetic synthetic;

  static void visit(auto& self, auto&& f) {
    f("models", self.models, "modules of the trunk with edges; none: scores of features alone");
    f("ratios", self.ratios, "shares r of features that it sees; 0 is an MLP, 1 the plain network",
      Bounds::between(0, 1));
    f("metric", self.metric, "tfi, tfi_high, h_GE, h_attr, h_sim_cos, h_sim_euc or h_CTF");
    f("runs", self.runs, "trainings, each with its own seed and split", Bounds::at_least(1));
    f("together", self.together, "how many of them train side by side", Bounds::at_least(1));
    f("split", self.split, "public, fixed (number run % splits) or random (60/20/20 per class)");
    f("train_per_class", self.train_per_class,
      "in place of `split`: so many training nodes of each class, 500 for validation and 1000 for "
      "test, or a third and two thirds of the rest; 0: as `split` says",
      Bounds::at_least(0));
    f("training", self.training);
    f("tuned", self.tuned,
      "CSV of graphs by layers, hidden, lr, weight_decay, dropout and r, each optional");
    f("published", self.published, ".npz of [splits, features] scores to compare with, by graph");
    f("synthetic", self.synthetic);
  }
};

/// `context.data` is a graph file, a folder of them (archives without a graph or without features
/// are named and passed over), or empty: then a graph with features of both kinds is generated. For
/// each graph features are scored on the training nodes of every split, and for each model and
/// ratio a network is trained on every split. The report has the scores' means, the comparison with
/// its win counts, and curves over r; with `published` how far the scores agree.
Report run(const Config& config, Context& context);

}  // namespace tessera::algorithms::gfs
