#include "tessera/models/optim/adam.hpp"

namespace tessera::models {

void Adam::update(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients,
                  double rate_factor) {
  prepare(parameters);
  const detail::StepGroups groups = detail::group(parameters, names, gradients, state, decays);
  Stream& stream = current_stream(groups.device);
  ++state.steps;
  const auto run = [&](const std::vector<kernels::OptimizerTensor>& tensors, double decay) {
    if (tensors.empty()) return;
    kernels::adam(stream, tensors,
                  {.learning_rate = learning_rate * rate_factor,
                   .beta1 = beta1,
                   .beta2 = beta2,
                   .epsilon = epsilon,
                   .weight_decay = decay,
                   .decoupled = decoupled,
                   .step = state.steps});
  };
  run(groups.decayed, weight_decay);
  run(groups.plain, 0.0);
}

}  // namespace tessera::models
