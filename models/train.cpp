#include "tessera/models/train.hpp"

#include <cmath>

#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/profile.hpp"
#include "tessera/runtime/recording.hpp"

namespace tessera::models {

StepRng::StepRng(Device device) : state_(Tensor::empty({sizeof(RngState)}, DType::u8, device)) {
  begin(Rng());
}

void StepRng::begin(const Rng& rng) {
  const RngState state = rng.state();
  current_stream(state_.device()).copy_from_host(state_.view().data, &state, sizeof state);
}

Rng StepRng::rng() const {
  return Rng(RngState{.origin = static_cast<const RngState*>(state_.data())});
}

TrainResult train(int64_t first, int64_t steps, const std::function<Tensor(int64_t)>& body,
                  const TrainHooks& hooks) {
  TS_CHECK(first >= 0, "train: the first step is ", first);
  TrainResult result;
  result.steps_done = first;
  Tensor pending;
  const auto settle = [&](int64_t step) {
    if (!pending.defined()) return;
    result.last_loss = pending.item();
    pending = Tensor();
    TS_CHECK(std::isfinite(result.last_loss), "train: the loss of step ", step, " is ",
             result.last_loss);
    if (hooks.on_loss) hooks.on_loss(step, result.last_loss);
  };
  const auto due = [](int64_t done, int64_t every) { return every > 0 && done % every == 0; };

  std::optional<Recording> recording;
  Tensor recorded_loss;
  const auto make_step = [&](int64_t step) -> Tensor {
    if (hooks.prepare) hooks.prepare(step);
    if (!hooks.record || step == first || *hooks.record == Device::cpu()) return body(step);
    if (!recording)
      recording.emplace(current_stream(*hooks.record), [&] { recorded_loss = body(step); });
    recording->replay();
    return recorded_loss.clone();  // the next replay writes another there
  };

  int64_t checkpointed = -1;
  for (int64_t step = first; step < steps; ++step) {
    {
      const ProfileRange range("train step");
      Tensor loss = make_step(step);
      TS_CHECK(loss.defined() && loss.numel() == 1, "train: the loss of step ", step,
               " must have one element, is ", loss);
      settle(step - 1);
      pending = std::move(loss);
    }
    const int64_t done = result.steps_done = step + 1;
    const bool last = done == steps;
    if (hooks.evaluate && (last || due(done, hooks.evaluate_every))) {
      settle(step);
      hooks.evaluate(step);
    }
    if (hooks.checkpoint && (last || due(done, hooks.checkpoint_every))) {
      settle(step);
      hooks.checkpoint(done);
      checkpointed = done;
    }
    if (hooks.stop_early && hooks.stop_early(step)) break;
    if (stop_requested()) {
      result.interrupted = true;
      break;
    }
  }
  settle(result.steps_done - 1);
  if (hooks.checkpoint && result.steps_done > first && checkpointed != result.steps_done)
    hooks.checkpoint(result.steps_done);
  return result;
}

}  // namespace tessera::models
