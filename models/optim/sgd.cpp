#include "tessera/models/optim/sgd.hpp"

namespace tessera::models {

void Sgd::update(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients) {
  prepare(parameters);
  const detail::StepGroups groups = detail::group(parameters, names, gradients, state, decays);
  Stream& stream = current_stream(groups.device);
  const auto params = [this](double decay) -> kernels::SgdParams {
    return {.learning_rate = learning_rate * detail::rate_factor(schedule, state.steps - 1),
            .momentum = momentum,
            .dampening = state.steps <= 1 ? 0.0 : dampening,
            .weight_decay = decay,
            .nesterov = nesterov};
  };
  detail::count_step(stream, state);
  const auto run = [&](const std::vector<kernels::OptimizerTensor>& tensors, double decay) {
    if (tensors.empty()) return;
    const Tensor varying =
        detail::in_replays(stream, [=] { return kernels::sgd_varying(params(decay)); });
    kernels::SgdParams now = params(decay);
    now.varying = autograd::view_or_none(varying);
    kernels::sgd(stream, tensors, now);
  };
  run(groups.decayed, weight_decay);
  run(groups.plain, 0.0);
}

}  // namespace tessera::models
