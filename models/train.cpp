#include "tessera/models/train.hpp"

#include <cmath>

#include "tessera/autograd/launch.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/profile.hpp"
#include "tessera/runtime/recording.hpp"

namespace tessera::models {

StepRng::StepRng(Device device, int64_t runs)
    : states_(Tensor::empty({runs, sizeof(RngState)}, DType::u8, device)) {
  begin(std::vector<Rng>(static_cast<size_t>(runs)));
}

void StepRng::begin(std::span<const Rng> rngs) {
  const auto runs = static_cast<int64_t>(rngs.size());
  TS_CHECK(runs == states_.size(0), "StepRng: ", runs, " positions for ", states_.size(0), " runs");
  std::vector<RngState> states;
  for (const Rng& rng : rngs) states.push_back(rng.state());
  current_stream(states_.device())
      .copy_from_host(states_.view().data, states.data(), states.size() * sizeof(RngState));
}

Rng StepRng::rng() const {
  return Rng(RngState{.origin = static_cast<const RngState*>(states_.data())});
}

TrainResult train(int64_t first, int64_t steps, const std::function<Tensor(int64_t)>& body,
                  const TrainHooks& hooks) {
  TS_CHECK(first >= 0, "train: the first step is ", first);
  TrainResult result;
  result.steps_done = first;
  Tensor pending;
  const auto settle = [&](int64_t step) {
    if (!pending.defined()) return;
    const std::vector<double> losses =
        autograd::convert(pending.to(Device::cpu()), DType::f64).values<double>();
    pending = Tensor();
    double sum = 0;
    for (size_t run = 0; run < losses.size(); ++run) {
      TS_CHECK(std::isfinite(losses[run]), "train: the loss of step ", step,
               losses.size() > 1 ? concat(" in run ", run) : "", " is ", losses[run]);
      sum += losses[run];
    }
    result.last_loss = sum / static_cast<double>(losses.size());
    if (hooks.on_loss) hooks.on_loss(step, losses);
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
      TS_CHECK(loss.defined() && loss.numel() >= 1, "train: the loss of step ", step,
               " must have an element for each run, is ", loss);
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
