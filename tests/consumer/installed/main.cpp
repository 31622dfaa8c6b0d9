// A stranger's program on the installed package: trains a small network to tell a disc from its
// surroundings and asks for the curvature of the loss along one direction.
#include <cmath>
#include <cstdio>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/nets/mlp.hpp"
#include "tessera/models/optim/adam.hpp"

int main() {
  using namespace tessera;
  using models::Mlp;

  constexpr int64_t points = 256;
  Rng rng(1);
  std::vector<float> coordinates;
  std::vector<int64_t> inside;
  for (int64_t i = 0; i < points; ++i) {
    const double x = 2 * rng.uniform() - 1, y = 2 * rng.uniform() - 1;
    coordinates.insert(coordinates.end(), {static_cast<float>(x), static_cast<float>(y)});
    inside.push_back(x * x + y * y < 0.6);
  }
  const Tensor features = Tensor::from(coordinates, {points, 2}, Device::cpu());
  const Tensor labels = Tensor::from(inside, {points}, Device::cpu());
  const auto loss_of = [&](const Mlp& m) { return autograd::cross_entropy(m(features), labels); };

  Mlp model = Mlp::make({2, 16, 16, 2}, rng);
  models::Adam adam{.learning_rate = 0.02};
  double first = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    const auto [loss, gradients] = models::value_and_grad(model, loss_of);
    (step == 0 ? first : last) = loss.item();
    adam.step(model, gradients);
  }

  // H g for the gradient g, and g'Hg once more without a tape: two ways to one number.
  const auto [loss, gradient] = models::value_and_grad(model, loss_of);
  const autograd::Vars product = models::hvp(model, loss_of, gradient);
  double curvature = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const auto g = gradient[i].value().values<float>(), hg = product[i].value().values<float>();
    for (size_t j = 0; j < g.size(); ++j) curvature += double{g[j]} * hg[j];
  }
  const double again = models::vhv(model, loss_of, gradient).item();

  std::printf("loss %.3f -> %.3f, g'Hg %.6g and %.6g\n", first, last, curvature, again);
  const bool learned = last < 0.2 && last < first;
  const bool agree = std::abs(curvature - again) <= 1e-3 * std::abs(curvature) + 1e-9;
  return learned && agree ? 0 : 1;
}
