#include "tessera/algorithms/eigensr/training.hpp"

#include <algorithm>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/data/batches.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::algorithms::eigensr {
namespace {

constexpr std::string_view schedule_names[] = {"constant", "cosine", "linear"};

models::Schedule schedule_of(RateSchedule schedule, int64_t steps) {
  switch (schedule) {
    case RateSchedule::cosine:
      return models::cosine_schedule(steps);
    case RateSchedule::linear:
      return models::linear_schedule(steps);
    default:
      return {};
  }
}

}  // namespace

std::string_view to_string(RateSchedule s) { return schedule_names[static_cast<int>(s)]; }
void parse(std::string_view text, RateSchedule& s) { parse_enum(text, schedule_names, s); }

Training start(const Network& network, Trained what, const TrainingOptions& options,
               int64_t steps) {
  Training training;
  training.trained.whole = models::clone(network);
  training.trained.chosen = what == Trained::fine ? models::PathFilter(models::is_fine_tuned)
                                                  : [](std::string_view) { return true; };
  training.adam.learning_rate = options.learning_rate;
  training.adam.schedule = schedule_of(options.schedule, steps);
  return training;
}

bool train(Training& training, const PatchDataset& data, int64_t steps,
           const TrainingOptions& options, const Rng& rng, const TrainingHooks& hooks) {
  const Device device = device_of(training.network());
  models::PrefetchLoader batches(
      models::Batches(data, options.batch, rng, {.shuffle = true, .drop_last = true}),
      training.steps_done);
  models::DeviceLoader loader(batches, device);
  Tensor small, large;  // where the body, which may be a recording, finds its batch
  models::TrainHooks around;
  around.record = device;
  around.prepare = [&](int64_t) {
    const models::Sample batch = loader.next();
    if (!small.defined()) {
      small = batch[0].clone();
      large = batch[1].clone();
    } else {
      small.copy_from(batch[0]);
      large.copy_from(batch[1]);
    }
  };
  around.on_loss = [&](int64_t step, std::span<const double> losses) {
    training.loss.push_back(losses[0]);
    training.steps_done = step + 1;
    if (hooks.on_step) hooks.on_step(training);
  };
  if (hooks.validate && options.validate_every > 0) {
    around.evaluate_every = options.validate_every;
    around.evaluate = [&](int64_t) {
      const double value = hooks.validate(training.network());
      if (training.validation.empty() ||
          value > *std::max_element(training.validation.begin(), training.validation.end()))
        training.best = models::clone(training.network());
      training.validation.push_back(value);
    };
  }
  if (hooks.checkpoint) {
    around.checkpoint_every = hooks.checkpoint_every;
    around.checkpoint = [&](int64_t) { hooks.checkpoint(training); };
  }
  const auto body = [&](int64_t) {
    const auto [loss, gradients] =
        models::value_and_grad(training.trained, [&](const models::Part<Network>& part) {
          return autograd::l1_loss(part.whole(models::Var(small)), models::Var(large));
        });
    training.adam.step(training.trained, gradients);
    return loss.value();
  };
  return !models::train(training.steps_done, steps, body, around).interrupted;
}

}  // namespace tessera::algorithms::eigensr
