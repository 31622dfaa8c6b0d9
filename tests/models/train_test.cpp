#include "tessera/models/train.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/checkpoint.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/models/nets/mlp.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/optim/schedule.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

Tensor scalar(double v) { return Tensor::from({v}, {}, Device::cpu()); }

TEST(Train, HooksSeeEveryStepInOrder) {
  std::vector<std::string> seen;
  TrainHooks hooks;
  hooks.on_loss = [&](int64_t s, std::span<const double> l) {
    seen.push_back(concat("loss ", s, " ", l[0]));
  };
  hooks.evaluate = [&](int64_t s) { seen.push_back(concat("evaluate ", s)); };
  hooks.evaluate_every = 2;
  hooks.checkpoint = [&](int64_t s) { seen.push_back(concat("checkpoint ", s)); };
  hooks.checkpoint_every = 3;
  const TrainResult r = train(
      1, 5, [](int64_t s) { return scalar(static_cast<double>(s) * 10); }, hooks);
  EXPECT_EQ(r.steps_done, 5);
  EXPECT_EQ(r.last_loss, 40);
  EXPECT_FALSE(r.interrupted);
  EXPECT_EQ(seen, (std::vector<std::string>{"loss 1 10", "evaluate 1", "loss 2 20", "checkpoint 3",
                                            "loss 3 30", "evaluate 3", "loss 4 40", "evaluate 4",
                                            "checkpoint 5"}));
}

TEST(Train, StopsEarlyAndCheckpointsWhereItStopped) {
  TrainHooks hooks;
  int64_t saved = -1;
  hooks.checkpoint = [&](int64_t done) { saved = done; };
  hooks.stop_early = [](int64_t step) { return step == 3; };
  EXPECT_EQ(train(
                0, 100, [](int64_t) { return scalar(1); }, hooks)
                .steps_done,
            4);
  EXPECT_EQ(saved, 4);
}

TEST(Train, InterruptFinishesTheStepAndCheckpoints) {
  TrainHooks hooks;
  int64_t saved = -1;
  hooks.checkpoint = [&](int64_t done) { saved = done; };
  const TrainResult r = train(
      0, 100,
      [](int64_t step) {
        if (step == 6) request_stop();
        return scalar(1);
      },
      hooks);
  clear_stop_request();
  EXPECT_TRUE(r.interrupted);
  EXPECT_EQ(r.steps_done, 7);
  EXPECT_EQ(saved, 7);
}

TEST(Train, RefusesALossThatIsNotFinite) {
  TrainHooks hooks;
  bool saved = false;
  hooks.checkpoint = [&](int64_t) { saved = true; };
  hooks.checkpoint_every = 1;
  const auto body = [](int64_t step) {
    return scalar(step == 0 ? std::numeric_limits<double>::quiet_NaN() : 1.0);
  };
  EXPECT_THROW(train(0, 3, body, hooks), Error);
  EXPECT_FALSE(saved);
  EXPECT_THROW(train(0, 3, [](int64_t) { return Tensor(); }), Error);
}

TEST(Train, LossesOfRunsComeTogether) {
  TrainHooks hooks;
  std::vector<std::vector<double>> seen;
  hooks.on_loss = [&](int64_t, std::span<const double> l) {
    seen.emplace_back(l.begin(), l.end());
  };
  const auto body = [](int64_t s) {
    return Tensor::from({1.0 + static_cast<double>(s), 3.0}, {2, 1}, Device::cpu());
  };
  EXPECT_EQ(train(0, 2, body, hooks).last_loss, 2.5);
  EXPECT_EQ(seen, (std::vector<std::vector<double>>{{1, 3}, {2, 3}}));
  test::expect_error(
      [] {
        train(0, 1, [](int64_t) { return Tensor::from({1.0, std::nan("")}, {2}, Device::cpu()); });
      },
      {"step 0", "run 1"}, ErrorKind::invalid_argument);
}

// A run that can be cut anywhere: each step is a function of (parameters, optimizer state, step).
struct TrainingRun {
  Mlp model;
  Adam optimizer{.learning_rate = 1e-2, .weight_decay = 1e-3};
  std::vector<double> losses;

  TrainingRun() {
    Rng rng(11);
    model = Mlp::make({6, 16, 4}, rng, Activation::gelu, 0.3);
  }
  TrainResult go(int64_t first, int64_t steps, const TrainHooks& hooks = {}) {
    TrainHooks all = hooks;
    all.on_loss = [&](int64_t, std::span<const double> l) { losses.push_back(l[0]); };
    return train(
        first, steps,
        [&](int64_t step) {
          Rng data = Rng(21).split(static_cast<uint64_t>(step));
          const Tensor x = normal({32, 6}, 1.0, data);
          std::vector<int64_t> labels;
          for (int i = 0; i < 32; ++i) labels.push_back(static_cast<int64_t>(data.below(4)));
          const Tensor y = Tensor::from(labels, {32}, Device::cpu());
          ForwardContext context{true, Rng(31).split(static_cast<uint64_t>(step))};
          auto [loss, gradients] = value_and_grad(
              model, [&](const Mlp& m) { return autograd::cross_entropy(m(x, context), y); });
          optimizer.step(model, gradients);
          return loss.value();
        },
        all);
  }
};

TEST(Train, ResumesBitForBit) {
  const std::string path = testing::TempDir() + "/resume.safetensors";
  TrainingRun whole;
  whole.go(0, 20);

  TrainingRun before;
  TrainHooks hooks;
  hooks.checkpoint = [&](int64_t done) {
    make_checkpoint(before.model, before.optimizer, done).save(path);
  };
  hooks.checkpoint_every = 7;
  hooks.stop_early = [](int64_t step) {
    return step == 8;
  };  // killed after step 8: the file holds step 9's start
  before.go(0, 20, hooks);

  TrainingRun after;
  const Checkpoint checkpoint = Checkpoint::load(path);
  restore(checkpoint, after.model, after.optimizer);
  EXPECT_EQ(checkpoint.steps_done, 9);
  after.go(checkpoint.steps_done, 20);

  std::vector<double> joined = before.losses;
  joined.insert(joined.end(), after.losses.begin(), after.losses.end());
  EXPECT_EQ(joined, whole.losses);  // exact
  const auto a = state(whole.model), b = state(after.model);
  for (const auto& [name, tensor] : a)
    EXPECT_EQ(tensor.values<float>(), b.at(name).values<float>()) << name;
}

TEST(Checkpoint, RefusesOtherFiles) {
  const std::string path = testing::TempDir() + "/not_a_checkpoint.safetensors";
  TrainingRun run;
  Checkpoint c = make_checkpoint(run.model, run.optimizer, 3);
  std::filesystem::remove(path);
  EXPECT_THROW(Checkpoint::load(path), Error);
  std::ofstream(path) << "something else entirely";
  EXPECT_THROW(Checkpoint::load(path), Error);
  c.save(path);
  EXPECT_EQ(Checkpoint::load(path).steps_done, 3);
  // Into a model of other sizes: an error that names the parameter, and the model stays as it was.
  Rng rng(1);
  Mlp other = Mlp::make({6, 8, 4}, rng);
  const auto before = state(clone(other));
  Adam adam;
  EXPECT_THROW(restore(Checkpoint::load(path), other, adam), Error);
  for (const auto& [name, tensor] : state(other))
    EXPECT_EQ(tensor.values<float>(), before.at(name).values<float>());
}

TEST(Schedule, HaveTheirClosedForms) {
  const Schedule steps = step_schedule({10, 20}, 0.1);
  EXPECT_DOUBLE_EQ(steps(9), 1.0);
  EXPECT_DOUBLE_EQ(steps(10), 0.1);
  EXPECT_NEAR(steps(25), 0.01, 1e-15);
  const Schedule cosine = with_warmup(4, cosine_schedule(10, 0.2));
  EXPECT_DOUBLE_EQ(cosine(0), 0.25);
  EXPECT_DOUBLE_EQ(cosine(3), 1.0);
  EXPECT_DOUBLE_EQ(cosine(4), 1.0);
  EXPECT_NEAR(cosine(9), 0.6, 1e-12);
  EXPECT_NEAR(cosine(14), 0.2, 1e-12);
  EXPECT_NEAR(cosine(1000), 0.2, 1e-12);
  EXPECT_NEAR(linear_schedule(10, 0.5)(5), 0.75, 1e-12);
  const Schedule noam = inverse_square_root_schedule(100);
  EXPECT_DOUBLE_EQ(noam(99), 1.0);
  EXPECT_NEAR(noam(399), 0.5, 1e-12);
  EXPECT_NEAR(noam(49), 0.5, 1e-12);
}

TEST(Metrics, AccuracyAndRocAuc) {
  const Tensor logits = Tensor::from<float>({1, 2, 5, 0, 3, 3}, {3, 2}, Device::cpu());
  const Tensor labels = Tensor::from<int64_t>({1, 0, 1}, {3}, Device::cpu());
  EXPECT_DOUBLE_EQ(accuracy(logits, labels), 2.0 / 3.0);  // the tie goes to class 0
  EXPECT_DOUBLE_EQ(accuracy(logits, labels, std::vector<int64_t>{0, 1}), 1.0);
  EXPECT_THROW(accuracy(logits, labels, std::vector<int64_t>{3}), Error);
  EXPECT_THROW(accuracy(logits, labels, std::vector<int64_t>{}), Error);

  // Against the definition: the share of (positive, negative) pairs in the right order, ties half.
  Rng rng(9);
  std::vector<double> scores;
  std::vector<uint8_t> positive;
  for (int i = 0; i < 200; ++i) {
    scores.push_back(static_cast<double>(rng.below(20)));
    positive.push_back(rng.below(3) == 0);
  }
  double right = 0, pairs = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (size_t j = 0; j < scores.size(); ++j) {
      if (!positive[i] || positive[j]) continue;
      pairs += 1;
      right += scores[i] > scores[j] ? 1.0 : scores[i] == scores[j] ? 0.5 : 0.0;
    }
  }
  EXPECT_NEAR(roc_auc(scores, positive), right / pairs, 1e-12);
  EXPECT_THROW(roc_auc(std::vector<double>{1, 2}, std::vector<uint8_t>{1, 1}), Error);
  const MeanStd m = mean_std(std::vector<double>{1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(m.mean, 2.5);
  EXPECT_DOUBLE_EQ(m.std, std::sqrt(5.0 / 3.0));
}

}  // namespace
}  // namespace tessera::models
