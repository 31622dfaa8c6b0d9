#pragma once

#include <functional>
#include <string_view>

#include "tessera/kernels/optimizer.hpp"
#include "tessera/models/module.hpp"
#include "tessera/models/optim/schedule.hpp"
#include "tessera/runtime/recording.hpp"

namespace tessera::models {

/// What every optimizer does the same way: one state tensor of a kind per parameter, in visiting
/// order, in f64 for f64 parameters and f32 otherwise; half parameters also have an f32 master
/// copy, of which they are the rounding. Steps change parameters in place and may only be made
/// while no transform is running.
struct OptimizerState {
  std::vector<Tensor> first, second,
      master;  // empty tensors where an optimizer or parameter needs none
  int64_t steps = 0;

  /// Makes the state for these parameters unless it is there; throws when it was made for others,
  /// and where it would be made anew at each replay of a recording.
  void prepare(Inputs parameters, bool first_moment, bool second_moment);
};

/// Which parameters weight decay applies to, by path; all when empty.
using DecayFilter = std::function<bool(std::string_view path)>;
/// Everything but biases and the scales and shifts of normalisation, told by "bias", "norm" or "bn"
/// in the path.
bool decays_weights_only(std::string_view path);

namespace detail {

/// Parameters whose step has the same settings, as one kernel call takes them.
struct StepGroups {
  std::vector<kernels::OptimizerTensor> decayed, plain;
  std::vector<Tensor> gradients;  // what those views look at
  Device device;
};
StepGroups group(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients,
                 const OptimizerState& state, const DecayFilter& decays);

/// Counts the step that is about to be made, or, while that is being recorded, each replay.
void count_step(Stream& stream, OptimizerState& state);

/// What `Schedule` says for the step that is made after `steps_done` others.
inline double rate_factor(const Schedule& schedule, int64_t steps_done) {
  return schedule ? schedule(steps_done) : 1.0;
}

/// Numbers in the memory of the stream's device that are `values()` in every replay of what is
/// being recorded; an undefined tensor where nothing is.
template <class Values>
Tensor in_replays(Stream& stream, Values values) {
  if (!stream.recording()) return {};
  const auto count = static_cast<int64_t>(std::tuple_size_v<decltype(values())>);
  const Tensor t = stream.recording()->lasting({count}, DType::f64);
  stream.recording()->at_replay([t, values, &stream] {
    const auto numbers = values();
    stream.copy_from_host(t.data(), numbers.data(), sizeof numbers);
  });
  return t;
}

}  // namespace detail

/// The Euclidean norm of all gradients together, in double; waits for the device.
double global_norm(Inputs gradients);
/// Scales the gradients in place so that their global norm is at most `limit`; nothing is waited
/// for.
void clip_global_norm(Vars& gradients, double limit);
/// False when any gradient has an infinite or NaN element; waits for the device.
bool all_finite(Inputs gradients);

}  // namespace tessera::models
