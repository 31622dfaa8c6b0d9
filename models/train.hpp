#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::models {

/// What happens around training steps. Every hook may be empty. Steps count from 0.
struct TrainHooks {
  /// Before each step: brings its batch, and what else is new, into the memory that the body reads.
  std::function<void(int64_t step)> prepare;
  /// After a step's losses are known, in order: one, or one for each of several runs side by side.
  /// Those of step t are read after step t + 1 was issued, so that the device is never waited for
  /// in between.
  std::function<void(int64_t step, std::span<const double> losses)> on_loss;
  /// After every `evaluate_every`-th step, and after the last.
  std::function<void(int64_t step)> evaluate;
  int64_t evaluate_every = 0;
  /// After every `checkpoint_every`-th step, after the last, and when interrupted. Gets the number
  /// of steps done, which is the `first` to resume with.
  std::function<void(int64_t steps_done)> checkpoint;
  int64_t checkpoint_every = 0;
  /// Asked after each step (and its evaluation): true ends training.
  std::function<bool(int64_t step)> stop_early;
  /// Steps after the first are work of this device recorded once and replayed
  /// (runtime/recording.hpp), a launch for each. The body then runs twice, for the first step and
  /// to be recorded, so what it does must not depend on the step but for what `prepare` brings, a
  /// StepRng and the optimizer's own count. Losses are the same, bit for bit. The cpu, which does
  /// work at once, runs the body for every step.
  std::optional<Device> record;
};

/// Random numbers for steps that may be recorded: the position is in the device's memory.
class StepRng {
 public:
  /// For `runs` side by side (models/runs.hpp) each has numbers of its own.
  explicit StepRng(Device device, int64_t runs = 1);
  /// From here on numbers are those that `rng`, or each of the runs' own, would give. Belongs into
  /// TrainHooks::prepare.
  void begin(const Rng& rng) { begin(std::span(&rng, 1)); }
  void begin(std::span<const Rng> rngs);
  /// For the body: `take` works, everything that draws on the host throws.
  Rng rng() const;

 private:
  Tensor states_;  // an RngState for each run
};

struct TrainResult {
  int64_t steps_done = 0;    // counted from step 0, whatever `first` was
  double last_loss = 0;      // the mean of runs
  bool interrupted = false;  // by request_stop (Ctrl-C)
};

/// Runs body(step) for first <= step < steps. The body makes one optimizer step and returns its
/// loss, a tensor of one element, or of one for each run. A loss that is not finite is an Error
/// naming the step; no checkpoint is written then.
TrainResult train(int64_t first, int64_t steps, const std::function<Tensor(int64_t step)>& body,
                  const TrainHooks& hooks = {});

}  // namespace tessera::models
