// Networks train on a device as they do on the host: ten steps each, the losses side by side. The
// graph network is in tests/algorithms/node_classification_test.cpp.
#include <gtest/gtest.h>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/nets/mlp.hpp"
#include "tessera/models/nets/resnet.hpp"
#include "tessera/models/nets/sr/grayscale_sr.hpp"
#include "tessera/models/nets/vit.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/optim/sgd.hpp"
#include "tessera/models/part.hpp"
#include "tessera/models/train.hpp"
#include "tessera/runtime/recording.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/watched_device.hpp"

namespace tessera::models {
namespace {

class DeviceTraining : public test::WatchedDevice {
 protected:
  template <class M, class Optimizer>
  static std::vector<double> losses(const M& start, const Tensor& images, const Tensor& labels,
                                    Optimizer optimizer, Device device) {
    M model = to(clone(start), device);
    const Tensor x = images.to(device), target = labels.to(device);
    std::vector<double> values;
    for (int step = 0; step < 10; ++step) {
      const auto [loss, gradients] = value_and_grad(model, [&](const M& m) {
        if constexpr (std::is_same_v<M, ResNet>)
          return autograd::cross_entropy(m(x, ForwardContext{true, Rng(0)}), target);
        else
          return autograd::cross_entropy(m(x), target);
      });
      values.push_back(loss.item());
      optimizer.step(model, gradients);
    }
    return values;
  }

  /// In f64, and in f32 with `single` between the losses.
  template <class M, class Optimizer>
  static void expect_as_on_the_host(const M& model, const Shape& images,
                                    const std::vector<int32_t>& labels, const Optimizer& optimizer,
                                    double single) {
    const Tensor target =
        Tensor::from<int32_t>(labels, {static_cast<int64_t>(labels.size())}, Device::cpu());
    for (const auto& [dtype, allowed] :
         {std::pair{DType::f64, 1e-9}, std::pair{DType::f32, single}}) {
      const M start = cast(model, dtype);
      const Tensor x = test::uniform(images, dtype, 1);
      const auto host = losses(start, x, target, optimizer, Device::cpu()),
                 device = losses(start, x, target, optimizer, GetParam());
      for (size_t i = 0; i < host.size(); ++i)
        EXPECT_NEAR(device[i], host[i], allowed) << to_string(dtype) << ", step " << i;
      EXPECT_LT(device.back(), device.front()) << to_string(dtype);
    }
  }
};

TEST_P(DeviceTraining, ResNet20) {
  Rng rng(1);
  expect_as_on_the_host(ResNet::make(20, 4, rng), {4, 3, 8, 8}, {0, 1, 2, 3},
                        Sgd{.learning_rate = 0.02, .momentum = 0.9, .weight_decay = 1e-4}, 1e-4);
}

TEST_P(DeviceTraining, Vit) {
  Rng rng(2);
  const VitConfig config{
      .image_size = 16, .patch_size = 4, .width = 32, .depth = 2, .heads = 4, .classes = 5};
  expect_as_on_the_host(Vit::make(config, rng), {4, 3, 16, 16}, {0, 1, 2, 4},
                        Adam{.learning_rate = 1e-3, .weight_decay = 0.05, .decoupled = true}, 2e-5);
}

/// Steps that do everything a step may: a batch of its own, dropout, clipping, a schedule.
template <class Optimizer>
struct Steps {
  Mlp model;
  Optimizer optimizer;
  std::vector<double> losses;

  Steps(Optimizer start, Device device) : optimizer(std::move(start)) {
    Rng rng(11);
    model = to(Mlp::make({6, 16, 4}, rng, Activation::gelu, 0.3), device);
    optimizer.schedule = cosine_schedule(20);
  }
  void train(int64_t first, int64_t steps, Device device, bool record) {
    const Tensor x = Tensor::empty({32, 6}, DType::f32, device),
                 y = Tensor::empty({32}, DType::i64, device);
    StepRng numbers(device);
    TrainHooks hooks;
    hooks.prepare = [&, x = x, y = y](int64_t step) mutable {
      Rng data = Rng(21).split(static_cast<uint64_t>(step));
      x.copy_from(normal({32, 6}, 1.0, data));
      std::vector<int64_t> labels;
      for (int i = 0; i < 32; ++i) labels.push_back(static_cast<int64_t>(data.below(4)));
      y.copy_from(Tensor::from(labels, {32}, Device::cpu()));
      numbers.begin(Rng(31).split(static_cast<uint64_t>(step)));
    };
    hooks.on_loss = [&](int64_t, std::span<const double> l) { losses.push_back(l[0]); };
    if (record) hooks.record = device;
    models::train(
        first, steps,
        [&](int64_t) {
          ForwardContext context{true, numbers.rng()};
          auto [loss, gradients] = value_and_grad(
              model, [&](const Mlp& m) { return autograd::cross_entropy(m(x, context), y); });
          clip_global_norm(gradients, 0.5);
          optimizer.step(model, gradients);
          return loss.value();
        },
        hooks);
  }
};

template <class Optimizer>
void expect_same_when_recorded(const Optimizer& optimizer, Device device) {
  Steps<Optimizer> whole(optimizer, device), recorded(optimizer, device);
  whole.train(0, 12, device, false);
  recorded.train(0, 7, device, true);
  recorded.train(7, 12, device, true);  // stopped and resumed
  EXPECT_EQ(recorded.losses, whole.losses);
  EXPECT_EQ(recorded.optimizer.state.steps, 12);
  const auto a = state(whole.model), b = state(recorded.model);
  for (const auto& [path, tensor] : a)
    EXPECT_EQ(test::to_doubles(tensor), test::to_doubles(b.at(path))) << path;
  Steps<Optimizer> host(optimizer, Device::cpu());
  host.train(0, 12, Device::cpu(), true);
  for (size_t i = 0; i < whole.losses.size(); ++i)
    EXPECT_NEAR(whole.losses[i], host.losses[i], 2e-5) << "step " << i;
}

TEST_P(DeviceTraining, RecordedStepsHaveTheSameLosses) {
  expect_same_when_recorded(Adam{.learning_rate = 1e-2,
                                 .weight_decay = 1e-2,
                                 .decoupled = true,
                                 .decays = decays_weights_only},
                            GetParam());
  expect_same_when_recorded(
      Sgd{.learning_rate = 0.1, .momentum = 0.9, .dampening = 0.2, .nesterov = false}, GetParam());
}

TEST_P(DeviceTraining, RecordedResNet20) {
  Rng rng(1);
  const ResNet start = ResNet::make(20, 4, rng);
  const Tensor x = test::uniform({4, 3, 8, 8}, DType::f32, 1).to(GetParam());
  const Tensor y = Tensor::from<int32_t>({0, 1, 2, 3}, {4}, Device::cpu()).to(GetParam());
  std::vector<double> losses[2];
  std::map<std::string, std::vector<float>> buffers[2];
  for (const bool record : {false, true}) {
    ResNet model = to(clone(start), GetParam());
    Sgd optimizer{.learning_rate = 0.02, .momentum = 0.9};
    TrainHooks hooks;
    hooks.on_loss = [&](int64_t, std::span<const double> l) { losses[record].push_back(l[0]); };
    if (record) hooks.record = GetParam();
    train(
        0, 5,
        [&](int64_t) {
          const auto [loss, gradients] = value_and_grad(model, [&](const ResNet& m) {
            return autograd::cross_entropy(m(x, ForwardContext{true, Rng(0)}), y);
          });
          optimizer.step(model, gradients);
          return loss.value();
        },
        hooks);
    for (const auto& [path, tensor] : state(model)) buffers[record][path] = tensor.values<float>();
  }
  EXPECT_EQ(losses[1], losses[0]);
  EXPECT_EQ(buffers[1], buffers[0]) << "parameters and running statistics";
}

/// Adam on the head, the tail and the low-rank updates of a network for super-resolution, or on all
/// of one without.
std::vector<double> super_resolution_losses(const GrayscaleSr& start, Device device, bool record) {
  Part<GrayscaleSr> part{to(clone(start), device), is_fine_tuned};
  if (std::holds_alternative<SwinBody>(start.body)) part.chosen = [](auto) { return true; };
  const DType dtype = parameters(start)[0].dtype();
  const Tensor x = test::uniform({2, 1, 6, 6}, dtype, 1).to(device),
               target = test::uniform({2, 1, 12, 12}, dtype, 2).to(device);
  Adam adam{.learning_rate = 1e-2};
  std::vector<double> losses;
  TrainHooks hooks;
  hooks.on_loss = [&](int64_t, std::span<const double> l) { losses.push_back(l[0]); };
  if (record) hooks.record = device;
  train(
      0, 5,
      [&](int64_t) {
        const auto [loss, gradients] = value_and_grad(part, [&](const Part<GrayscaleSr>& p) {
          return autograd::l1_loss(p.whole(x), target);
        });
        adam.step(part, gradients);
        return loss.value();
      },
      hooks);
  return losses;
}

TEST_P(DeviceTraining, SuperResolution) {
  Rng rng(3);
  for (const GrayscaleSrConfig& config :
       {GrayscaleSrConfig{
            .channels = 2,
           .body =
                TransformerBodyConfig{
                    .size = 6, .layers = 1, .heads = 3, .hidden_ratio = 2, .rank = 2}},
        GrayscaleSrConfig{.channels = 4,
        .plain = true,
        .body = SwinBodyConfig{.window = 3, .groups = 1, .depth = 2, .heads = 2}}}) {
    const GrayscaleSr single = GrayscaleSr::make(config, rng), start = cast(single, DType::f64);
    const auto host = super_resolution_losses(start, Device::cpu(), false),
               device = super_resolution_losses(start, GetParam(), false);
    for (size_t i = 0; i < host.size(); ++i) EXPECT_NEAR(device[i], host[i], 1e-9) << i;
    EXPECT_LT(device.back(), device.front());
    EXPECT_EQ(super_resolution_losses(single, GetParam(), true),
              super_resolution_losses(single, GetParam(), false));
  }
}

TEST_P(DeviceTraining, AnOptimizerWithoutStateCannotBeRecorded) {
  Steps<Adam> steps({}, GetParam());
  test::expect_error(
      [&] {
        const Recording recording(current_stream(GetParam()), [&] {
          steps.optimizer.step(steps.model, parameters(steps.model));
        });
      },
      {"prepare"}, ErrorKind::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTraining, test::queueing_devices(), test::device_name);

}  // namespace
}  // namespace tessera::models
