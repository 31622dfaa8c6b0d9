#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "tessera/models/data/graph.hpp"
#include "tessera/models/layers/graph.hpp"
#include "tessera/models/nets/gnn/gcn.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/train.hpp"
#include "tessera/runtime/config.hpp"

/// Semi-supervised classification of the nodes of a graph (Kipf and Welling 2017): a graph network
/// is trained on the whole graph with the loss of a few labelled nodes.
namespace tessera::algorithms::node_classification {

enum class Network : uint8_t {
  mlp,  // sees each node alone: the GCN of a graph without edges
  gcn,  // A_hat relu(A_hat X W0 + b0) W1 + b1
};
std::string_view to_string(Network network);
void parse(std::string_view text, Network& network);

/// Which epoch's test accuracy is reported.
enum class Selection : uint8_t {
  last,
  validation
};  // validation: the first best on validation nodes
std::string_view to_string(Selection selection);
void parse(std::string_view text, Selection& selection);

/// The defaults are Kipf and Welling's.
struct Options {
  Network model = Network::gcn;
  int64_t layers = 2;
  int64_t hidden = 16;
  double dropout = 0.5;  // on the input of every layer
  int64_t epochs = 200;
  double learning_rate = 0.01;
  double weight_decay = 5e-4;  // L2 in the gradient, on the first layer only
  int64_t evaluate_every = 10;
  Selection select = Selection::last;
  bool record = false;  // an epoch's work on the device, to replay it

  static void visit(auto& self, auto&& f) {
    f("model", self.model, "mlp or gcn");
    f("layers", self.layers, "", Bounds::at_least(1));
    f("hidden", self.hidden, "width of the hidden layers", Bounds::at_least(1));
    f("dropout", self.dropout, "on the input of every layer", Bounds::up_to_below(0, 1));
    f("epochs", self.epochs, "full-batch Adam steps", Bounds::at_least(1));
    f("lr", self.learning_rate, "learning rate", Bounds::at_least(0));
    f("weight_decay", self.weight_decay, "L2 penalty of the first layer", Bounds::at_least(0));
    f("evaluate_every", self.evaluate_every, "epochs between evaluations, 0: only the last",
      Bounds::at_least(0));
    f("select", self.select, "report the epoch that is last, or best on validation");
    f("record", self.record, "record the device's work of an epoch once and replay it");
  }
};

/// A graph made ready for training on one device.
struct Problem {
  autograd::SparseMatrix adjacency;  // what the network multiplies with
  models::NodeFeatures features;
  Tensor labels;
  int64_t classes;
};
/// Rows of the features are divided by their sums when `normalize_features`. Throws when there are
/// none.
Problem prepare(models::GraphData graph, Network model, bool normalize_features, Device device);

/// What a training showed, in the order of epochs.
struct History {
  std::vector<double> loss;                     // of every epoch
  std::vector<double> epoch;                    // evaluated after this many epochs:
  std::vector<double> train, validation, test;  // accuracies

  static void visit(auto& self, auto&& f) {
    f("loss", self.loss);
    f("epoch", self.epoch);
    f("train", self.train);
    f("validation", self.validation);
    f("test", self.test);
  }
};

/// A training that can be stopped and resumed.
struct Training {
  models::Gcn model;
  models::Adam optimizer;
  History history;
  int64_t epochs_done = 0;
};
/// Fresh parameters, drawn from `rng`.
Training start(const Problem& problem, const Options& options, const Rng& rng);

struct Hooks {
  std::function<void(const Training&, double loss)> on_epoch;
  std::function<void(const Training&)>
      checkpoint;  // after every `checkpoint_every`, the last, the interrupted
  int64_t checkpoint_every = 0;
};
/// Trains until `options.epochs` or an interruption. An epoch is a function of the parameters, its
/// number and `rng`: a training that was stopped and resumed has the same numbers, bit for bit.
models::TrainResult resume(Training& training, const Problem& problem, const models::Split& split,
                           const Options& options, const Rng& rng, const Hooks& hooks = {});

struct Accuracies {
  double train = 0, validation = 0, test = 0;
};
/// Of the current parameters.
Accuracies evaluate(const Training& training, const Problem& problem, const models::Split& split);
/// Of the evaluation that `selection` means.
Accuracies selected(const History& history, Selection selection);

}  // namespace tessera::algorithms::node_classification
