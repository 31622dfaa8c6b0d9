#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "tessera/algorithms/eigensr/network.hpp"
#include "tessera/algorithms/eigensr/samples.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/train.hpp"

/// Training of a network of one channel by Adam on the mean absolute difference.
namespace tessera::algorithms::eigensr {

/// The learning rate over the steps of a training: as it is, half a cosine to 0, a line to 0.
enum class RateSchedule : uint8_t { constant, cosine, linear };
std::string_view to_string(RateSchedule schedule);
void parse(std::string_view text, RateSchedule& schedule);

struct TrainingOptions {
  int64_t batch = 16, patch = 24;  // patch: side of the small picture of a pair
  double learning_rate = 1e-3;
  RateSchedule schedule = RateSchedule::cosine;
  int64_t validate_every = 0;

  static void visit(auto& self, auto&& f) {
    f("batch", self.batch, "pairs of patches in a step", Bounds::between(1, 1 << 16));
    f("patch", self.patch, "side of the small patch of a pair", Bounds::between(2, 1024));
    f("lr", self.learning_rate, "of Adam", Bounds::at_least(0));
    f("schedule", self.schedule, "of the learning rate: constant, cosine or linear");
    f("validate_every", self.validate_every, "steps, to keep the best network; 0: keep the last",
      Bounds::at_least(0));
  }
};

/// Where a training stands.
struct Training {
  models::Part<Network> trained;  // of which the rest is frozen
  models::Adam adam;
  int64_t steps_done = 0;
  std::vector<double> loss;        // of every step
  std::vector<double> validation;  // after every validate_every-th step
  Network best;                    // with the greatest of them

  const Network& network() const { return trained.whole; }
  /// The one to use: the best where there was validation.
  const Network& result() const { return validation.empty() ? network() : best; }
};

/// From `network`, on its device, over `steps`. What is trained: all, or, with a frozen body, head,
/// tail and low-rank updates.
enum class Trained : uint8_t { all, fine };
Training start(const Network& network, Trained what, const TrainingOptions& options, int64_t steps);

struct TrainingHooks {
  std::function<double(const Network&)> validate;  // greater is better
  std::function<void(const Training&)> on_step;
  std::function<void(const Training&)> checkpoint;
  int64_t checkpoint_every = 0;
};
/// Goes on from where it stands until `steps` are done. Batches, and so all numbers, are a function
/// of (data, options, rng): a training that was stopped and goes on has the same bits. False when
/// interrupted.
bool train(Training& training, const PatchDataset& data, int64_t steps,
           const TrainingOptions& options, const Rng& rng, const TrainingHooks& hooks = {});

}  // namespace tessera::algorithms::eigensr
