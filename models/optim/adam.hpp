#pragma once

#include "tessera/models/optim/optimizer.hpp"

namespace tessera::models {

/// Adam (Kingma and Ba 2015) and, with `decoupled`, AdamW (Loshchilov and Hutter 2019); formulas in
/// kernels/optimizer.hpp.
struct Adam {
  double learning_rate = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;
  Schedule schedule = {};  // of the learning rate; constant when empty
  DecayFilter decays = {};
  OptimizerState state = {};

  void prepare(Inputs parameters) { state.prepare(parameters, true, true); }

  /// One step with gradients in visiting order. While a step is being recorded
  /// (runtime/recording.hpp) the optimizer must stay where it is as long as there are replays: each
  /// makes the step that is due then.
  template <class M>
  void step(M& model, Inputs gradients) {
    update(parameters(model), parameter_names(model), gradients);
  }
  void update(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients);

  static void visit(auto& self, auto&& f) {
    f("first", self.state.first);
    f("second", self.state.second);
    f("master", self.state.master);
  }
};

}  // namespace tessera::models
