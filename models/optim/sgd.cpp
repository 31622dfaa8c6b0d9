#include "tessera/models/optim/sgd.hpp"

namespace tessera::models {

void Sgd::update(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients,
                 double rate_factor) {
  prepare(parameters);
  const detail::StepGroups groups = detail::group(parameters, names, gradients, state, decays);
  Stream& stream = current_stream(groups.device);
  const auto run = [&](const std::vector<kernels::OptimizerTensor>& tensors, double decay) {
    if (tensors.empty()) return;
    kernels::sgd(stream, tensors,
                 {.learning_rate = learning_rate * rate_factor,
                  .momentum = momentum,
                  .dampening = state.steps == 0 ? 0.0 : dampening,
                  .weight_decay = decay,
                  .nesterov = nesterov});
  };
  run(groups.decayed, weight_decay);
  run(groups.plain, 0.0);
  ++state.steps;
}

}  // namespace tessera::models
