#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/data/graph.hpp"
#include "tessera/models/layers/graph/features.hpp"
#include "tessera/models/layers/graph/operators.hpp"
#include "tessera/models/node_loss.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/train.hpp"
#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/config.hpp"

/// How every network of this folder is trained: full batch, by the labels of some nodes, and judged
/// at the first evaluation that is best on the validation nodes. Runs, which differ in split and
/// seed, train side by side where they have one graph and one input (models/runs.hpp).
namespace tessera::algorithms::gsl {

using models::ForwardContext;
using models::Var;

/// A graph made ready on one device.
struct Problem {
  std::string name;
  CsrMatrix adjacency;           // on the host
  models::GraphOperators graph;  // of it
  models::NodeFeatures features;
  Tensor x;       // the same dense, f32 [nodes, features]
  Tensor labels;  // i32 [nodes], on the host
  int64_t classes = 0;

  int64_t nodes() const { return x.size(0); }
  Device device() const { return x.device(); }
};
/// Rows of the features are divided by their sums when `normalize_features`. Throws when there are
/// none.
Problem prepare(models::GraphData graph, bool normalize_features, Device device);

/// A GCN or MLP of two layers.
struct TaskOptions {
  int64_t hidden = 64;
  double dropout = 0.5;
  int64_t epochs = 200;
  double learning_rate = 0.01;
  double weight_decay = 5e-4;  // L2 in the gradient, of all parameters
  int64_t evaluate_every = 5;

  static void visit(auto& self, auto&& f) {
    f("hidden", self.hidden, "width of the hidden layers", Bounds::at_least(1));
    f("dropout", self.dropout, "on the input of every layer", Bounds::up_to_below(0, 1));
    f("epochs", self.epochs, "full-batch Adam steps", Bounds::at_least(1));
    f("lr", self.learning_rate, "learning rate", Bounds::at_least(0));
    f("weight_decay", self.weight_decay, "L2 penalty", Bounds::at_least(0));
    f("evaluate_every", self.evaluate_every, "epochs between validations", Bounds::at_least(1));
  }
};

/// Any backbone.
struct LearningOptions {
  int64_t layers = 2;
  int64_t hidden = 64;
  int64_t heads = 8;
  int64_t steps = 2;
  double dropout = 0.5;
  int64_t epochs = 200;
  double learning_rate = 0.01;
  double weight_decay = 5e-4;
  int64_t evaluate_every = 5;

  static void visit(auto& self, auto&& f) {
    f("layers", self.layers, "of gcn, sage, gat and the mlp", Bounds::at_least(1));
    f("heads", self.heads, "of gat; they share the hidden width", Bounds::at_least(1));
    f("steps", self.steps, "of sgc", Bounds::at_least(1));
    TaskOptions::visit(self, f);
  }
};
/// The settings of either, of a network of two layers.
LearningOptions two_layers(const auto& settings) {
  return {.hidden = settings.hidden,
          .dropout = settings.dropout,
          .epochs = settings.epochs,
          .learning_rate = settings.learning_rate,
          .weight_decay = settings.weight_decay,
          .evaluate_every = settings.evaluate_every};
}

struct Scores {
  double train = 0, validation = -1, test = 0;
  int64_t epoch = 0;  // after so many
};

/// Which nodes of which run count.
class NodeTask {
 public:
  NodeTask(const Problem& problem, std::span<const models::Split> splits);

  int64_t runs() const { return static_cast<int64_t>(splits_.size()); }
  /// What a ForwardContext says: 0 for one run, whose model is plain.
  int64_t side_by_side() const { return runs() > 1 ? runs() : 0; }
  Device device() const { return device_; }
  const models::Split& split(int64_t run) const { return splits_[static_cast<size_t>(run)]; }

  /// Mean cross-entropy over the training nodes of each run: [runs, 1]. Logits [nodes, classes] or,
  /// of several runs, [nodes, runs, classes].
  Var loss(const Var& logits) const { return loss_(logits); }
  std::vector<Scores> scores(const Tensor& logits) const;

 private:
  std::vector<models::Split> splits_;
  Tensor labels_;
  Device device_;
  models::NodeLoss loss_;
};

/// Adam whose settings depend on where a parameter is: each belongs to the first group whose prefix
/// its path begins with.
class GroupedAdam {
 public:
  struct Group {
    std::string prefix;
    models::Adam adam;
  };
  explicit GroupedAdam(std::vector<Group> groups) : groups_(std::move(groups)) {}

  template <class M>
  void step(M& model, models::Inputs gradients) {
    update(models::parameters(model), models::parameter_names(model), gradients);
  }

 private:
  void update(const models::Vars& parameters, const std::vector<std::string>& names,
              models::Inputs gradients);

  std::vector<Group> groups_;
};

/// Trains `model`: loss(model, context) is [runs, 1] or has one element, logits(model, context)
/// what `NodeTask::scores` takes. Initial values should come from split 0 of a run's Rng; steps use
/// its split 1. Calls on_best(run) when an evaluation was better on validation nodes than all
/// before.
template <class Model, class Optimizer, class Loss, class Logits, class OnBest>
std::vector<Scores> fit(Model& model, Optimizer& optimizer, const NodeTask& task, int64_t epochs,
                        int64_t evaluate_every, std::span<const Rng> rngs, const Loss& loss,
                        const Logits& logits, const OnBest& on_best) {
  TS_CHECK(static_cast<int64_t>(rngs.size()) == task.runs(), "gsl: ", rngs.size(),
           " random sequences for ", task.runs(), " runs");
  std::vector<Rng> steps;
  for (const Rng& rng : rngs) steps.push_back(rng.split(1));
  models::StepRng numbers(task.device(), task.runs());
  std::vector<Scores> best(rngs.size());
  models::TrainHooks hooks;
  hooks.prepare = [&](int64_t step) {
    std::vector<Rng> now;
    now.reserve(steps.size());
    for (const Rng& rng : steps) now.push_back(rng.split(static_cast<uint64_t>(step)));
    numbers.begin(now);
  };
  hooks.evaluate_every = evaluate_every;
  hooks.evaluate = [&](int64_t step) {
    ForwardContext inference{.runs = task.side_by_side()};
    const std::vector<Scores> now = task.scores(logits(model, inference).value());
    for (size_t r = 0; r < now.size(); ++r) {
      if (now[r].validation <= best[r].validation) continue;
      best[r] = now[r];
      best[r].epoch = step + 1;
      on_best(static_cast<int64_t>(r));
    }
  };
  models::train(
      0, epochs,
      [&](int64_t step) {
        ForwardContext context{
            true,
            task.runs() > 1 ? numbers.rng() : steps.front().split(static_cast<uint64_t>(step)),
            task.side_by_side()};
        Tensor of_runs;
        const auto [total, gradients] = models::value_and_grad(model, [&](const Model& m) {
          const Var losses = loss(m, context);
          of_runs = losses.value();
          return autograd::sum(losses);
        });
        optimizer.step(model, gradients);
        return of_runs;
      },
      hooks);
  return best;
}

/// Time on the wall, and the most bytes of tensors on the device beside those that were there.
struct Cost {
  double seconds = 0;
  double peak_bytes = 0;
};
template <class Work>
Cost measured(Device device, Work&& work) {
  const auto tracking = std::make_shared<TrackingAllocator>(current_allocator(device.type));
  const AllocatorScope scope(device.type, tracking);
  const auto start = std::chrono::steady_clock::now();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          static_cast<double>(tracking->peak_bytes())};
}

}  // namespace tessera::algorithms::gsl
