#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/algorithms/hignn/network.hpp"
#include "tessera/models/data/graph.hpp"

/// Learn from Heterophily (Zheng, Luan, Chen 2024): a first model predicts the class of every node;
/// nodes with like classes around them are linked in a new graph A'; a second model convolves on
/// the old graph and on the new one.
namespace tessera::algorithms::hignn {

/// Which epoch is the best of a training.
enum class Selection : uint8_t {
  accuracy,  // on validation nodes, the first of the largest: HiGNN
  loss,      // on validation nodes, the first of the least: ACM-GCN
};
std::string_view to_string(Selection selection);
void parse(std::string_view text, Selection& selection);

/// One training.
struct StageOptions : NetworkOptions {
  int64_t epochs = 2000;
  int64_t patience = 40;
  double learning_rate = 0.01;
  double weight_decay = 1e-3;
  bool decoupled = true;
  Selection select = Selection::accuracy;

  static void visit(auto& self, auto&& f) {
    NetworkOptions::visit(self, f);
    f("epochs", self.epochs, "full-batch Adam steps at most", Bounds::at_least(1));
    f("patience", self.patience,
      "stop when the validation loss is above the mean of so many before, 0: do not",
      Bounds::at_least(0));
    f("lr", self.learning_rate, "learning rate", Bounds::at_least(0));
    f("weight_decay", self.weight_decay, "of all parameters", Bounds::at_least(0));
    f("decoupled", self.decoupled, "weight decay apart from the gradient: AdamW");
    f("select", self.select, "best epoch by validation accuracy, or by validation loss");
  }
};

/// A graph made ready for training on one device.
struct Problem {
  const models::GraphData* graph;  // outlives it
  Filters filters;
  models::NodeFeatures features;
  Tensor labels;  // [nodes]
  Device device;
};
/// Rows of the features are divided by their sums when `normalize_features`. Throws when there are
/// none.
Problem prepare(const models::GraphData& graph, bool normalize_features, Device device);

/// What a run showed at its best epoch.
struct Outcome {
  double train = 0, validation = 0, test = 0;  // accuracies
  double validation_loss = 0;
  int64_t epoch = 0;                      // that was the best, from 1
  int64_t epochs = 0;                     // until it stopped
  Tensor probabilities;                   // f32 [nodes, classes] on the host
  std::vector<double> validation_losses;  // of every epoch
};

struct TrainingProgress {
  int64_t epochs_done = 0, running = 0;  // runs that have not stopped
};

/// Trains runs side by side, each with a split and an Rng of its own, on the graph, on new graphs
/// (one for all runs, or one for each) or on both. A run stops after epoch t (from 0) > patience
/// whose validation loss is above the mean of the `patience` before; what it found does not depend
/// on the others, up to the order of long sums.
std::vector<Outcome> train(const Problem& problem, const StageOptions& options, Graphs graphs,
                           std::span<const NewGraph> new_graphs,
                           std::span<const models::Split> splits, std::span<const Rng> rngs,
                           const std::function<void(const TrainingProgress&)>& on_epoch = {});

/// The new graph of each run, from what the first model predicts.
std::vector<NewGraph> new_graphs_of(const Problem& problem, std::span<const Outcome> first,
                                    const NewGraphOptions& options, Backbone backbone,
                                    std::span<const Rng> rngs);

}  // namespace tessera::algorithms::hignn
