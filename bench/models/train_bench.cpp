// Whole training steps and Hessian-vector products of networks.
#include <algorithm>
#include <cmath>
#include <memory>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/bench/support/bench.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/nets/resnet.hpp"
#include "tessera/models/optim/sgd.hpp"

namespace tessera {
namespace {

using autograd::Var;
using autograd::Vars;

// ResNet-20 on a batch of CIFAR-shaped noise.
struct ResNetWork {
  models::ResNet model;
  Tensor images, labels;
  models::Sgd optimizer{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 1e-4};
  Vars probe;
  Vars result;
  double loss = 0;

  explicit ResNetWork(int64_t batch) {
    Rng rng(1);
    model = models::ResNet::make(20, 10, rng);
    images = models::normal({batch, 3, 32, 32}, 1.0, rng);
    std::vector<int64_t> classes;
    for (int64_t i = 0; i < batch; ++i) classes.push_back(static_cast<int64_t>(rng.below(10)));
    labels = Tensor::from(classes, {batch}, Device::cpu());
    for (const Var& p : models::parameters(model))
      probe.push_back(autograd::rademacher_like(p, rng.take(p.numel())));
  }

  auto loss_of() {
    return [this](const models::ResNet& m) {
      return autograd::cross_entropy(m(images, {.training = true, .rng = Rng(0)}), labels);
    };
  }
  void gradient() {
    auto [value, gradients] = models::value_and_grad(model, loss_of());
    loss = value.item();
    result = std::move(gradients);
  }
  void step() {
    gradient();
    optimizer.step(model, result);
  }
  void hessian_product() { result = models::hvp(model, loss_of(), probe); }

  void check_gradient() const {
    TS_CHECK(std::isfinite(loss) && std::abs(loss - std::log(10.0)) < 1.5, "the first loss is ",
             loss);
  }
  // v'Hv by the tape and without one.
  void check_hessian_product() {
    double dot = 0;
    for (size_t i = 0; i < probe.size(); ++i) {
      const auto a = probe[i].value().values<float>(), b = result[i].value().values<float>();
      for (size_t k = 0; k < a.size(); ++k)
        dot += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    }
    const double direct = models::vhv(model, loss_of(), probe).item();
    TS_CHECK(std::abs(dot - direct) <= 1e-2 * std::abs(direct) + 1e-3, "v'Hv is ", dot,
             " by hvp and ", direct, " by vhv");
  }
};

template <class Run, class Check>
void add(const std::string& name, int64_t batch, Run run, Check check) {
  bench::add({.name = name, .size = std::to_string(batch), .prepare = [=] {
                auto work = std::make_shared<ResNetWork>(batch);
                return bench::Work{.run = [=] { run(*work); }, .check = [=] { check(*work); }};
              }});
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using Work = tessera::ResNetWork;
  const auto finite_loss = [](const Work& w) { w.check_gradient(); };
  tessera::add(
      "grad/resnet20", 128, [](Work& w) { w.gradient(); }, finite_loss);
  tessera::add(
      "train/resnet20_step", 128, [](Work& w) { w.step(); }, finite_loss);
  tessera::add(
      "hvp/resnet20", 128, [](Work& w) { w.hessian_product(); },
      [](Work& w) { w.check_hessian_product(); });
  return tessera::bench::main(argc, argv);
}
