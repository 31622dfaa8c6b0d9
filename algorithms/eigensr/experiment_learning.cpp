#include "tessera/algorithms/eigensr/experiment_learning.hpp"

#include <algorithm>

#include "tessera/algorithms/eigensr/experiment_weights.hpp"
#include "tessera/algorithms/eigensr/quality.hpp"
#include "tessera/algorithms/run_checkpoint.hpp"
#include "tessera/models/nets/sr/foreign_weights.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::eigensr {
namespace {

constexpr const char* checkpoint_name = "checkpoint.safetensors";

/// All histories, as a checkpoint holds them.
struct Histories {
  History eigen, rgb, rgb_eigen;

  static void visit(auto& self, auto&& f) {
    f("eigen", self.eigen);
    f("rgb", self.rgb);
    f("rgb_eigen", self.rgb_eigen);
  }
  History& of(Stage stage) {
    return stage == Stage::eigen ? eigen : stage == Stage::rgb ? rgb : rgb_eigen;
  }
};

class Trainings {
 public:
  Trainings(const Config& config, const Scenes& scenes, Context& context)
      : config_(config), scenes_(scenes), context_(context), rng_(context.seed) {
    const auto wanted = [&](Stage stage) {
      return std::find(config.stages.begin(), config.stages.end(), stage) != config.stages.end();
    };
    const bool fine = wanted(Stage::rgb_eigen);
    if (wanted(Stage::rgb) || (fine && config.weights.empty())) order_.push_back(Stage::rgb);
    if (fine) order_.push_back(Stage::rgb_eigen);
    if (wanted(Stage::eigen)) order_.push_back(Stage::eigen);
    TS_CHECK(!order_.empty(), "eigensr: no stage to train; stages: eigen, rgb, rgb+eigen");
    TS_CHECK((!fine && !wanted(Stage::eigen)) || !scenes.train.empty(),
             "eigensr: no scene to train on, all are for the test or validation");
  }

  Learnt run() {
    if (context_.resume) load();
    while (finished_ < order_.size() && !stop_requested()) {
      const Stage stage = order_[finished_];
      if (!began_) training_ = begin(stage);
      began_ = true;
      if (!advance(stage)) break;
      learnt_.histories[stage] = {training_.loss, training_.validation};
      learnt_.networks.insert_or_assign(stage, training_.result());
      began_ = false;
      ++finished_;
      if (!context_.out.empty()) save();
    }
    return std::move(learnt_);
  }

 private:
  int64_t steps_of(Stage stage) const {
    return stage == Stage::rgb     ? config_.rgb_steps
           : stage == Stage::eigen ? config_.eigen_steps
                                   : config_.fine_steps;
  }

  Network initial(Stage stage) const {
    Rng numbers = rng_.split(0);
    return models::to(
        make_network(config_.network, config_.scale, low_rank_of(config_, stage), numbers),
        context_.device);
  }

  Training begin(Stage stage) const {
    const auto from = [&](const Network& network, Trained what) {
      return start(network, what, config_.training, steps_of(stage));
    };
    if (stage != Stage::rgb_eigen) {
      Network network = initial(stage);
      if (stage == Stage::rgb && !config_.foreign_body.empty())
        models::load_foreign_body(network, config_.foreign_body);
      return from(network, Trained::all);
    }
    Network network = models::clone(pre_trained());
    if (!config_.freeze_body) return from(network, Trained::all);
    if (const int64_t rank = low_rank_of(config_, stage); rank > 0) {
      Rng numbers = rng_.split(10);
      models::add_low_rank_updates(network, rank, numbers);
      network = models::to(network, context_.device);
    }
    return from(network, Trained::fine);
  }

  Network pre_trained() const {
    if (config_.weights.empty()) return learnt_.networks.at(Stage::rgb);
    const StoredNetwork stored = load_network(config_.weights);
    TS_CHECK(stored.scale == config_.scale, "eigensr: ", config_.weights, " is for scale ",
             stored.scale, ", this run for ", config_.scale);
    const std::string difference = config_difference(stored.options, config_.network);
    TS_CHECK(difference.empty(), "eigensr: ", config_.weights,
             " is another network than the settings: ", difference);
    TS_CHECK(stored.low_rank == 0, "eigensr: ", config_.weights,
             " has low-rank updates of an earlier fine-tuning");
    return models::to(stored.network, context_.device);
  }

  PatchDataset data_of(Stage stage) const {
    std::vector<Tensor> planes;
    if (stage == Stage::rgb)
      planes = load_pictures(config_.data, rng_.split(1));
    else
      for (const Scene& scene : scenes_.train)
        planes.push_back(training_planes(scene.reference, config_.share));
    return {std::move(planes), config_.scale, config_.training.patch, config_.training.batch};
  }

  /// False when interrupted.
  bool advance(Stage stage) {
    const PatchDataset data = data_of(stage);
    const int64_t steps = steps_of(stage);
    context_.progress->begin(concat("training on ", stage), steps);
    TrainingHooks hooks;
    hooks.on_step = [&](const Training& t) {
      context_.progress->update(t.steps_done, concat("loss ", static_cast<float>(t.loss.back())));
    };
    if (!scenes_.validation.empty())
      hooks.validate = [&](const Network& network) { return validation(network); };
    if (!context_.out.empty()) {
      hooks.checkpoint = [&](const Training&) { save(); };
      hooks.checkpoint_every = config_.checkpoint_every;
    }
    const bool done = train(training_, data, steps, config_.training,
                            rng_.split(2 + static_cast<uint64_t>(stage)), hooks);
    context_.progress->end();
    return done;
  }

  /// Mean PSNR of validation scenes, one pass.
  double validation(const Network& network) const {
    Regularisation once = config_.regularisation;
    once.iterations = 1;
    double sum = 0;
    for (const Scene& scene : scenes_.validation)
      sum += quality(scene.reference,
                     super_resolve(scene.small, config_.scale, once, upscaler_of(network, config_)),
                     static_cast<double>(config_.scale))
                 .psnr;
    return sum / static_cast<double>(scenes_.validation.size());
  }

  std::string description() const {
    std::string text;
    for (const auto* part : {&scenes_.train, &scenes_.validation, &scenes_.test})
      for (const Scene& scene : *part)
        text += concat(text.empty() ? "" : ", ", scene.name, " ", scene.reference.shape());
    return text;
  }

  void save() {
    models::Checkpoint checkpoint;
    Histories histories;
    if (began_) {
      checkpoint = models::make_checkpoint(training_.trained, training_.adam, training_.steps_done);
      histories.of(order_[finished_]) = {training_.loss, training_.validation};
      if (!training_.validation.empty())
        checkpoint.tensors.merge(models::state(training_.best, "best."));
    }
    for (const auto& [stage, network] : learnt_.networks) {
      checkpoint.tensors.merge(models::state(network, concat(stage, ".")));
      histories.of(stage) = learnt_.histories.at(stage);
    }
    checkpoint.metadata = {{"config", to_string(config_json(config_))},
                           {"seed", std::to_string(context_.seed)},
                           {"data", description()},
                           {"finished", std::to_string(finished_)},
                           {"histories", to_string(config_json(histories))}};
    checkpoint.save(context_.file(checkpoint_name));
  }

  void load() {
    const std::string path = context_.file(checkpoint_name);
    const RunCheckpoint run(path);
    run.expect("seed", std::to_string(context_.seed));
    run.expect("data", description());
    run.expect_config(config_);
    const models::Checkpoint& checkpoint = run.state();
    auto histories = run.parsed<Histories>("histories");
    finished_ =
        std::min<size_t>(order_.size(), std::strtoull(run.text("finished").c_str(), nullptr, 10));
    for (size_t k = 0; k < finished_; ++k) {
      Network network = initial(order_[k]);
      models::load_state(network, checkpoint.tensors, concat(order_[k], "."));
      learnt_.networks.insert_or_assign(order_[k], std::move(network));
      learnt_.histories[order_[k]] = histories.of(order_[k]);
    }
    if (finished_ == order_.size()) return;
    const Stage stage = order_[finished_];
    const History& history = histories.of(stage);
    if (history.loss.empty()) return;  // written between two trainings
    training_ = begin(stage);
    models::restore(checkpoint, training_.trained, training_.adam);
    training_.steps_done = checkpoint.steps_done;
    training_.loss = history.loss;
    training_.validation = history.validation;
    if (std::ssize(training_.loss) != training_.steps_done)
      throw Error(ErrorKind::io, concat(path, ": ", training_.loss.size(), " losses of ",
                                        training_.steps_done, " steps: damaged"));
    if (!training_.validation.empty()) {
      training_.best = training_.network();
      models::load_state(training_.best, checkpoint.tensors, "best.");
    }
    began_ = true;
  }

  const Config& config_;
  const Scenes& scenes_;
  Context& context_;
  Rng rng_;
  std::vector<Stage> order_;
  size_t finished_ = 0;  // trainings of `order_`
  bool began_ = false;   // whether `training_` is under way
  Training training_;
  Learnt learnt_;
};

}  // namespace

Learnt learn(const Config& config, const Scenes& scenes, Context& context) {
  return Trainings(config, scenes, context).run();
}

Upscaler upscaler_of(const Network& network, const Config& config) {
  const Device device = device_of(network);
  return tiled(
      [network, device](const Tensor& patches) {
        return network(models::Var(patches.to(device))).value().to(Device::cpu());
      },
      config.scale, config.tiling);
}

}  // namespace tessera::algorithms::eigensr
