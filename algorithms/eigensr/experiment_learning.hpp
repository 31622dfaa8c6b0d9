#pragma once

#include <map>

#include "tessera/algorithms/eigensr/experiment.hpp"

/// The trainings of a run, one after another, with a checkpoint between any two steps.
namespace tessera::algorithms::eigensr {

/// How a training went.
struct History {
  std::vector<double> loss, validation;

  static void visit(auto& self, auto&& f) {
    f("loss", self.loss);
    f("validation", self.validation);
  }
};
/// What the trainings of a run made.
struct Learnt {
  std::map<Stage, Network> networks;
  std::map<Stage, History> histories;
};

/// Trains what `config.stages` asks for, on `context.device`: pictures first, whose network
/// "rgb+eigen" begins with unless `config.weights` gives it one. Saves checkpoints where there is
/// an output folder, and goes on from there with `context.resume`; throws where the checkpoint is
/// of another config, seed or data. What is trained is incomplete when interrupted.
Learnt learn(const Config& config, const Scenes& scenes, Context& context);

/// A network on planes, in tiles.
Upscaler upscaler_of(const Network& network, const Config& config);

}  // namespace tessera::algorithms::eigensr
