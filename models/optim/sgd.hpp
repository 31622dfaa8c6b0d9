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
  DecayFilter decays = {};
  OptimizerState state = {};

  void prepare(Inputs parameters) { state.prepare(parameters, momentum != 0, false); }

  /// One step with gradients in visiting order; `rate_factor` is the schedule's value.
  template <class M>
  void step(M& model, Inputs gradients, double rate_factor = 1.0) {
    update(parameters(model), parameter_names(model), gradients, rate_factor);
  }
  void update(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients,
              double rate_factor);

  static void visit(auto& self, auto&& f) {
    f("momentum", self.state.first);
    f("master", self.state.master);
  }
};

}  // namespace tessera::models
