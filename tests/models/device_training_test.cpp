// Networks train on a device as they do on the host: ten steps each, the losses side by side. The
// graph network is in tests/algorithms/node_classification_test.cpp.
#include <gtest/gtest.h>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/nets/resnet.hpp"
#include "tessera/models/nets/vit.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/optim/sgd.hpp"
#include "tessera/tests/support/values.hpp"

namespace tessera::models {
namespace {

class DeviceTraining : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    std::string reason;
    if (!available(GetParam(), &reason)) GTEST_SKIP() << reason;
  }

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

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTraining, testing::Values(Device::cuda(), Device::simt()),
                         [](const auto& tested) {
                           return std::string(tested.param == Device::simt() ? "simt" : "cuda");
                         });

}  // namespace
}  // namespace tessera::models
