#pragma once

#include <functional>
#include <span>
#include <vector>

#include "tessera/algorithms/gfs/network.hpp"
#include "tessera/runtime/config.hpp"

/// Trains the networks of several splits side by side (models/runs.hpp), each as it would alone.
namespace tessera::algorithms::gfs {

/// Defaults are the authors'.
struct TrainingOptions {
  int64_t layers = 2;
  int64_t mlp_layers = 3;
  int64_t hidden = 512;
  int64_t heads = 8;
  double dropout = 0.2;
  double learning_rate = 3e-5;
  double weight_decay = 0;
  int64_t epochs = 1000;
  int64_t evaluate_every = 1;

  static void visit(auto& self, auto&& f) {
    f("layers", self.layers, "of the trunk with edges", Bounds::at_least(1));
    f("mlp_layers", self.mlp_layers, "of the trunk without", Bounds::at_least(1));
    f("hidden", self.hidden, "width of both", Bounds::at_least(1));
    f("heads", self.heads, "of gat and gt", Bounds::at_least(1));
    f("dropout", self.dropout, "", Bounds::up_to_below(0, 1));
    f("lr", self.learning_rate, "learning rate of AdamW, constant", Bounds::at_least(0));
    f("weight_decay", self.weight_decay, "not of biases and normalisations", Bounds::at_least(0));
    f("epochs", self.epochs, "full-batch steps", Bounds::at_least(1));
    f("evaluate_every", self.evaluate_every, "epochs between evaluations", Bounds::at_least(1));
  }
};

/// A graph made ready for training on one device.
struct Problem {
  models::GraphOperators graph;
  StandardFeatures::Input features;
  Tensor labels;  // i32 [nodes] on the host
  int64_t classes;

  Device device() const { return graph.device(); }
  /// Two classes have one output, the logit of class 1.
  int64_t outputs() const { return classes == 2 ? 1 : classes; }
};
Problem prepare(const models::GraphData& graph, const StandardFeatures& features, Device device);

/// Accuracy, or ROC AUC with two classes, at the first evaluation that is best on validation nodes.
struct Outcome {
  double validation = 0, test = 0;
  int64_t epoch = 0;
};

/// Called after each epoch with the number of those done and the mean loss.
using OnEpoch = std::function<void(int64_t done, double loss)>;

/// One network for each split: run r has the r-th split, selection and Rng. The loss is the mean
/// cross-entropy over training nodes (of a logit with two classes). An empty result when
/// interrupted. Selections must agree in how many features have which trunk. Throws where AUC is
/// asked of a split with a part whose nodes are of one class.
std::vector<Outcome> train_runs(const Problem& problem, std::span<const models::Split> splits,
                                std::span<const Selection> selections, models::TrunkModule module,
                                const TrainingOptions& options, std::span<const Rng> rngs,
                                const OnEpoch& on_epoch = {});

}  // namespace tessera::algorithms::gfs
