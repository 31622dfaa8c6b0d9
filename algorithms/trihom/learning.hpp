#pragma once

#include <string_view>

#include "tessera/models/data/graph.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"

/// What networks make of a graph: the accuracies that metrics are held against.
namespace tessera::algorithms::trihom {

enum class Network : uint8_t {
  mlp,  // sees no edges
  gcn,  // Kipf and Welling (2017), with self-loops
};
std::string_view to_string(Network network);

/// Two layers with relu between them, full-batch Adam, features with mean 0 and deviation 1 in each
/// column.
struct LearningOptions {
  int64_t hidden = 64;
  double dropout = 0;
  int64_t epochs = 100;
  double learning_rate = 0.01;
  double weight_decay = 5e-4;  // L2 in the gradient
  int64_t evaluate_every = 5;

  static void visit(auto& self, auto&& f) {
    f("hidden", self.hidden, "width of the hidden layer", Bounds::at_least(1));
    f("dropout", self.dropout, "on the hidden layer, and the features of the gcn",
      Bounds::up_to_below(0, 1));
    f("epochs", self.epochs, "full-batch Adam steps", Bounds::at_least(1));
    f("lr", self.learning_rate, "learning rate", Bounds::at_least(0));
    f("weight_decay", self.weight_decay, "L2 penalty", Bounds::at_least(0));
    f("evaluate_every", self.evaluate_every, "epochs between validations", Bounds::at_least(1));
  }
};

/// Accuracy on the split's test nodes after the first epoch of those evaluated that is best on its
/// validation nodes. Throws when the graph has no features.
double test_accuracy(const models::GraphData& graph, const models::Split& split, Network network,
                     const LearningOptions& options, Device device, const Rng& rng);

}  // namespace tessera::algorithms::trihom
