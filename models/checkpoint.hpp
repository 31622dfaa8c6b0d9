#pragma once

#include "tessera/models/module.hpp"

namespace tessera::models {

/// What training needs to go on exactly where it stopped. On disk: one safetensors file with the
/// tensors under "model." and "optimizer." and the rest as metadata, written to a temporary name
/// and renamed.
struct Checkpoint {
  int64_t steps_done = 0;
  int64_t optimizer_steps = 0;
  NamedTensors tensors;
  std::map<std::string, std::string> metadata;  // config, history, whatever the experiment adds

  void save(const std::string& path) const;
  /// Throws an `io` Error naming the file when it is not a checkpoint.
  static Checkpoint load(const std::string& path);
};

template <class M, class O>
Checkpoint make_checkpoint(const M& model, const O& optimizer, int64_t steps_done) {
  Checkpoint c;
  c.steps_done = steps_done;
  c.optimizer_steps = optimizer.state.steps;
  c.tensors = state(model, "model.");
  c.tensors.merge(state(optimizer, "optimizer."));
  return c;
}

/// Puts model and optimizer (made for this model) into the checkpoint's state.
template <class M, class O>
void restore(const Checkpoint& checkpoint, M& model, O& optimizer) {
  load_state(model, checkpoint.tensors, "model.");
  optimizer.prepare(parameters(model));
  load_state(optimizer, checkpoint.tensors, "optimizer.");
  optimizer.state.steps = checkpoint.optimizer_steps;
}

}  // namespace tessera::models
