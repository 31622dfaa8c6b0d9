#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/models/nets/gnn/network.hpp"
#include "tessera/models/node_metric.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/train.hpp"
#include "tessera/runtime/config.hpp"

/// Semi-supervised classification of the nodes of a graph (Kipf and Welling 2017): graph networks
/// are trained on the whole graph with the loss of a few labelled nodes. Runs, which differ in
/// their seed or split, train side by side (models/runs.hpp), each as it would alone.
namespace tessera::algorithms::node_classification {

/// Which epoch's scores are reported.
enum class Selection : uint8_t {
  last,
  validation
};  // validation: the first best on validation nodes
std::string_view to_string(Selection selection);
void parse(std::string_view text, Selection& selection);

/// Which parameters weight decay shrinks.
enum class Decay : uint8_t {
  first_layer,  // those of the layers that read the features
  weights,      // all but biases and normalisations
  all,
};
std::string_view to_string(Decay decay);
void parse(std::string_view text, Decay& decay);

/// The defaults are Kipf and Welling's.
struct Options : models::GraphNetworkOptions {
  int64_t epochs = 200;
  double learning_rate = 0.01;
  double weight_decay = 5e-4;
  bool decoupled = false;
  Decay decay = Decay::first_layer;
  int64_t evaluate_every = 10;
  models::NodeMetric metric = models::NodeMetric::automatic;
  Selection select = Selection::last;
  int64_t patience = 0;
  bool record = false;

  static void visit(auto& self, auto&& f) {
    GraphNetworkOptions::visit(self, f);
    f("epochs", self.epochs, "full-batch Adam steps", Bounds::at_least(1));
    f("lr", self.learning_rate, "learning rate", Bounds::at_least(0));
    f("weight_decay", self.weight_decay, "L2 penalty", Bounds::at_least(0));
    f("decoupled", self.decoupled, "weight decay apart from the gradient: AdamW");
    f("decay", self.decay, "weight decay of the first_layer, of weights or of all");
    f("evaluate_every", self.evaluate_every, "epochs between evaluations, 0: only the last",
      Bounds::at_least(0));
    f("metric", self.metric, "accuracy, auc (of two classes) or auto: auc where there are two");
    f("select", self.select, "report the epoch that is last, or best on validation");
    f("patience", self.patience,
      "a run ends after this many epochs without a new best on validation; 0: never",
      Bounds::at_least(0));
    f("record", self.record, "record the device's work of an epoch once and replay it");
  }
};

/// A graph made ready for training on one device.
struct Problem {
  models::GraphOperators graph;
  models::NodeFeatures features;
  Tensor labels;  // [nodes]
  int64_t classes;
};
Problem prepare(const models::GraphData& graph, models::FeatureScaling features, Device device);

/// What a run showed, in the order of epochs.
struct History {
  std::vector<double> loss;                     // of every epoch
  std::vector<double> train, validation, test;  // scores of the epochs evaluated

  static void visit(auto& self, auto&& f) {
    f("loss", self.loss);
    f("train", self.train);
    f("validation", self.validation);
    f("test", self.test);
  }
};

/// Runs side by side that can be stopped and resumed.
struct Training {
  models::GraphNetwork model;  // of all runs
  models::Adam optimizer;
  models::NodeMetric metric;       // what scores are
  std::vector<History> histories;  // of each
  std::vector<double> evaluated;   // after these many epochs
  int64_t epochs_done = 0;

  int64_t runs() const { return static_cast<int64_t>(histories.size()); }
};
/// Fresh parameters for a run of each Rng, drawn from it. A trunk that is measured by AUC has one
/// output, the logit of class 1 (Platonov et al. 2023).
Training start(const Problem& problem, const Options& options, std::span<const Rng> rngs);

struct Hooks {
  std::function<void(const Training&)> on_epoch;
  std::function<void(const Training&)>
      checkpoint;  // after every `checkpoint_every`, the last, the interrupted
  int64_t checkpoint_every = 0;
};
/// Trains until `options.epochs` or an interruption; run r has the r-th split and Rng. An epoch of
/// a run is a function of its parameters, its number and the run's Rng: a training that was stopped
/// and resumed has the same numbers, bit for bit; one with other runs beside it has them up to the
/// order of long sums.
models::TrainResult resume(Training& training, const Problem& problem,
                           std::span<const models::Split> splits, const Options& options,
                           std::span<const Rng> rngs, const Hooks& hooks = {});

/// By the training's metric.
struct Scores {
  double train = 0, validation = 0, test = 0;
};
/// Of the current parameters, for each run.
std::vector<Scores> evaluate(const Training& training, const Problem& problem,
                             std::span<const models::Split> splits);
/// The evaluation, of those made after the epochs `evaluated`, at which a run ends: the first with
/// `patience` epochs since the best on validation; none while there is no such, or with patience 0.
/// Runs side by side go on until all have ended, but what comes after a run's end is not looked at.
std::optional<size_t> end_of_run(const History& history, std::span<const double> evaluated,
                                 int64_t patience);
/// Of the evaluation that `selection` means among those up to the one with index `last`.
Scores selected(const History& history, Selection selection, size_t last);

}  // namespace tessera::algorithms::node_classification
