#include "tessera/models/optim/adam.hpp"

namespace tessera::models {

void Adam::update(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients) {
  prepare(parameters);
  const detail::StepGroups groups = detail::group(parameters, names, gradients, state, decays);
  Stream& stream = current_stream(groups.device);
  const auto params = [this](double decay) -> kernels::AdamParams {
    return {.learning_rate = learning_rate * detail::rate_factor(schedule, state.steps - 1),
            .beta1 = beta1,
            .beta2 = beta2,
            .epsilon = epsilon,
            .weight_decay = decay,
            .decoupled = decoupled,
            .step = std::max<int64_t>(state.steps, 1)};
  };
  detail::count_step(stream, state);
  const auto run = [&](const std::vector<kernels::OptimizerTensor>& tensors, double decay) {
    if (tensors.empty()) return;
    const Tensor varying =
        detail::in_replays(stream, [=] { return kernels::adam_varying(params(decay)); });
    kernels::AdamParams now = params(decay);
    now.varying = autograd::view_or_none(varying);
    kernels::adam(stream, tensors, now);
  };
  run(groups.decayed, weight_decay);
  run(groups.plain, 0.0);
}

}  // namespace tessera::models
