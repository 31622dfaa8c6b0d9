#pragma once

#include "tessera/models/optim/optimizer.hpp"

namespace tessera::models {

/// Stochastic gradient descent with optional (Nesterov) momentum, formulas in
/// kernels/optimizer.hpp; weight decay is added to the gradient. PyTorch's conventions: the first
/// momentum buffer is the gradient itself.
struct Sgd {
  double learning_rate = 0.1;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  Schedule schedule = {};  // of the learning rate; constant when empty
  DecayFilter decays = {};
  OptimizerState state = {};

  void prepare(Inputs parameters) { state.prepare(parameters, momentum != 0, false); }

  /// One step with gradients in visiting order. While a step is being recorded
  /// (runtime/recording.hpp) the optimizer must stay where it is as long as there are replays: each
  /// makes the step that is due then.
  template <class M>
  void step(M& model, Inputs gradients) {
    update(parameters(model), parameter_names(model), gradients);
  }
  void update(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients);

  static void visit(auto& self, auto&& f) {
    f("momentum", self.state.first);
    f("master", self.state.master);
  }
};

}  // namespace tessera::models
