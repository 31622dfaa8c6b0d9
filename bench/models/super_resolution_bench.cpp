// Training steps of networks that enlarge images of one channel by two.
#include <cmath>
#include <memory>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/bench/support/bench.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/nets/sr/grayscale_sr.hpp"
#include "tessera/models/optim/adam.hpp"

namespace tessera {
namespace {

constexpr int64_t batch = 16, side = 24;

// Adam on the mean absolute difference, on noise.
struct Work {
  models::GrayscaleSr model;
  Tensor small, large;
  models::Adam adam{.learning_rate = 1e-3};
  double loss = 0;

  explicit Work(const models::GrayscaleSrConfig& config) {
    Rng rng(1);
    model = models::GrayscaleSr::make(config, rng);
    small = models::normal({batch, 1, side, side}, 1.0, rng);
    large = models::normal({batch, 1, 2 * side, 2 * side}, 1.0, rng);
  }
  void step() {
    const auto [value, gradients] = models::value_and_grad(
        model, [&](const models::GrayscaleSr& m) { return autograd::l1_loss(m(small), large); });
    loss = value.item();
    adam.step(model, gradients);
  }
  void check() const {
    TS_CHECK(std::isfinite(loss) && loss > 0.5 && loss < 2, "the first loss is ", loss);
  }
};

void add(const std::string& name, const models::GrayscaleSrConfig& config) {
  bench::add({.name = "train/" + name + "_step", .size = "16x24x24", .prepare = [=] {
                auto work = std::make_shared<Work>(config);
                return bench::Work{.run = [=] { work->step(); }, .check = [=] { work->check(); }};
              }});
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera::models;
  tessera::add("sr_plain", {.channels = 32, .plain = true, .body = ConvBodyConfig{4}});
  tessera::add("sr_residual", {.channels = 64, .body = ConvBodyConfig{4}});
  tessera::add(
      "sr_transformer",
      {.channels = 16, .plain = true, .body = TransformerBodyConfig{.size = 24, .layers = 2}});
  tessera::add("sr_swin",
               {.channels = 60, .plain = true, .body = SwinBodyConfig{.groups = 1, .depth = 2}});
  return tessera::bench::main(argc, argv);
}
