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
  DecayFilter decays = {};
  OptimizerState state = {};

  void prepare(Inputs parameters) { state.prepare(parameters, true, true); }

  /// One step with gradients in visiting order; `rate_factor` is the schedule's value.
  template <class M>
  void step(M& model, Inputs gradients, double rate_factor = 1.0) {
    update(parameters(model), parameter_names(model), gradients, rate_factor);
  }
  void update(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients,
              double rate_factor);

  static void visit(auto& self, auto&& f) {
    f("first", self.state.first);
    f("second", self.state.second);
    f("master", self.state.master);
  }
};

}  // namespace tessera::models
