#pragma once

#include "tessera/algorithms/eigensr/experiment_data.hpp"
#include "tessera/algorithms/eigensr/super_resolution.hpp"
#include "tessera/algorithms/eigensr/training.hpp"
#include "tessera/algorithms/experiment.hpp"

namespace tessera::algorithms::eigensr {

enum class Task : uint8_t {
  train,    // networks, and what they make of test scenes
  infer,    // enlarge cubes with a network from `weights`
  degrade,  // what a worse sensor would have seen of cubes
  metrics,  // how near a cube is to `reference`
};
std::string_view to_string(Task task);
void parse(std::string_view text, Task& task);

/// What a network has learnt from.
enum class Stage : uint8_t {
  eigen,      // eigenimages of the training scenes
  rgb,        // single channels of pictures
  rgb_eigen,  // pictures, then eigenimages
};
std::string_view to_string(Stage stage);  // "eigen", "rgb", "rgb+eigen"
void parse(std::string_view text, Stage& stage);

/// Settings of the experiment; config.json holds the same defaults.
struct Config {
  Task task = Task::train;
  int64_t scale = 2;
  std::vector<Stage> stages{Stage::eigen, Stage::rgb, Stage::rgb_eigen};
  int64_t rgb_steps = 400, fine_steps = 400, eigen_steps = 800;
  bool freeze_body = false;
  int64_t low_rank = 4;
  double share = 0.97;
  NetworkOptions network;
  TrainingOptions training;
  Regularisation regularisation;
  Tiling tiling;
  DataOptions data;
  int64_t checkpoint_every = 200;
  std::string weights, foreign_body, reference;

  static void visit(auto& self, auto&& f) {
    f("task", self.task, "train, infer, degrade or metrics");
    f("scale", self.scale, "2, 4 or 8", Bounds::between(1, 8));
    f("stages", self.stages, "networks to compare: eigen, rgb, rgb+eigen");
    f("rgb_steps", self.rgb_steps, "of training on single channels of pictures",
      Bounds::at_least(0));
    f("fine_steps", self.fine_steps, "of training on eigenimages after that", Bounds::at_least(0));
    f("eigen_steps", self.eigen_steps, "of training on eigenimages alone", Bounds::at_least(0));
    f("freeze_body", self.freeze_body, "after pre-training, train head, tail and LoRA only");
    f("low_rank", self.low_rank, "of LoRA in a frozen transformer's attention; 0: none",
      Bounds::between(0, 1024));
    f("share", self.share, "of the sum of singular values, in the eigenimages trained on",
      Bounds::between(0, 1));
    NetworkOptions::visit(self.network, f);
    TrainingOptions::visit(self.training, f);
    Regularisation::visit(self.regularisation, f);
    Tiling::visit(self.tiling, f);
    DataOptions::visit(self.data, f);
    f("checkpoint_every", self.checkpoint_every, "steps", Bounds::at_least(1));
    f("weights", self.weights, "file of a network: what to infer with, or to start from");
    f("foreign_body", self.foreign_body,
      "EDSR, IPT or SwinIR checkpoint (safetensors) whose body pre-training begins with");
    f("reference", self.reference, "metrics: the cube that is right");
  }
};

/// Of the updates that a network of this stage has.
int64_t low_rank_of(const Config& config, Stage stage);

/// Trains the networks of `stages` on the training scenes of `context.data` and compares what they
/// make of the test scenes with bicubic interpolation, with one pass and with `iterations`. Metrics
/// are called "psnr METHOD" and so on, a run for each scene; the table "quality" has a row for each
/// scene and method. The output folder gets STAGE.safetensors, and for each scene a folder with
/// the best of EigenSR's cubes (ENVI, f32) and pictures. The other tasks write cubes or report
/// metrics of `context.data`.
Report run(const Config& config, Context& context);

}  // namespace tessera::algorithms::eigensr
