// Networks for super-resolution: against PyTorch's values and gradients, their sizes, what is
// frozen.
#include <gtest/gtest.h>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/pool.hpp"
#include "tessera/models/nets/sr/grayscale_sr.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/part.hpp"
#include "tessera/tests/support/golden.hpp"

namespace tessera::models {
namespace {

using test::Golden;

GrayscaleSr network(const GrayscaleSrConfig& config) {
  Rng rng(5);
  return GrayscaleSr::make(config, rng);
}

int64_t parameters_below(const GrayscaleSr& net, std::string_view prefix) {
  int64_t n = 0;
  for_each_parameter(net, [&](const std::string& path, const Var& p) {
    if (path.starts_with(prefix)) n += p.numel();
  });
  return n;
}

struct GoldenNetwork {
  std::string name;
  GrayscaleSrConfig config;
};

class GoldenSr : public testing::TestWithParam<GoldenNetwork> {};

TEST_P(GoldenSr, AgreesWithPyTorch) {
  const Golden data("super_resolution"), golden("super_resolution", GetParam().name + ".");
  GrayscaleSr net = network(GetParam().config);
  golden.initialize(net);
  const Var x = data.tensor("x", DType::f64), target = data.tensor("target", DType::f64);
  test::expect_golden(net(x).value().values<double>(), golden.values("y"), 1e-12, "y");
  const auto [loss, gradients] =
      value_and_grad(net, [&](const GrayscaleSr& m) { return autograd::l1_loss(m(x), target); });
  EXPECT_NEAR(loss.item(), golden.values("loss")[0], 1e-12);
  for (const std::string& path : parameter_names(net)) EXPECT_TRUE(golden.has("grad." + path));
  test::expect_family(golden, "grad", net, gradients, 1e-10);

  // In single precision, as it is used.
  const GrayscaleSr single = cast(net, DType::f32);
  const auto y = autograd::convert(single(data.tensor("x")).value(), DType::f64).values<double>();
  test::expect_golden(y, golden.values("y"), 1e-5, "y in f32");
}

INSTANTIATE_TEST_SUITE_P(
    Bodies, GoldenSr,
    testing::Values(GoldenNetwork{"conv", {.channels = 4, .body = {.blocks = 2}}},
                    GoldenNetwork{"conv_plain",
                                  {.channels = 4, .plain = true, .body = {.blocks = 2}}}),
    [](const auto& of) { return of.param.name; });

TEST(GrayscaleSr, HasTheParametersOfThePaper) {
  for (int64_t doublings = 1; doublings <= 3; ++doublings) {
    const GrayscaleSr net = network({.scale = int64_t{1} << doublings, .body = {.blocks = 0}});
    EXPECT_EQ(parameters_below(net, "head.") + parameters_below(net, "tail."),
              482764 + (doublings - 1) * 296064);
  }
  EXPECT_EQ(parameters_below(network({.body = {.blocks = 0}}), "head."), 186048);
  EXPECT_EQ(parameters_below(network({}), "body."), 33 * (64 * 64 * 9 + 64));  // EDSR's
  EXPECT_EQ(count_parameters(network({.channels = 32, .plain = true, .body = {.blocks = 4}})),
            84708);
}

TEST(GrayscaleSr, EnlargesAnySize) {
  const Tensor x = Tensor::zeros({2, 1, 5, 7}, DType::f32, Device::cpu());
  for (const int64_t scale : {2, 4, 8})
    EXPECT_EQ(network({.scale = scale, .channels = 2, .body = {.blocks = 1}})(x).shape(),
              (Shape{2, 1, 5 * scale, 7 * scale}));
  EXPECT_EQ(network({.scale = 3, .channels = 2, .plain = true, .body = {.blocks = 1}})(x).shape(),
            (Shape{2, 1, 15, 21}));
}

TEST(GrayscaleSr, RefusesWhatDoesNotFit) {
  EXPECT_THROW(network({.scale = 3}), Error);
  EXPECT_THROW(network({.channels = 0}), Error);
  const GrayscaleSr net = network({.channels = 2, .body = {.blocks = 1}});
  EXPECT_THROW(net(Tensor::zeros({1, 3, 4, 4}, DType::f32, Device::cpu())), Error);
}

// With a tail of zeros what remains is the interpolation.
TEST(GrayscaleSr, PlainNetworkAddsToBicubic) {
  GrayscaleSr net = network({.channels = 3, .plain = true, .body = {.blocks = 1}});
  for_each_parameter(net, [](const std::string& path, Var& p) {
    if (path.starts_with("tail.")) p = Tensor::zeros(p.shape(), DType::f32, Device::cpu());
  });
  const Var x = autograd::convert(test::formula_tensor("image", {2, 1, 6, 5}, 0, 1), DType::f32);
  const Var wanted = autograd::resample2d(x, 12, 10, {.mode = autograd::ResampleMode::imresize});
  EXPECT_EQ(net(x).value().values<float>(), wanted.value().values<float>());
}

Tensor image(const char* name, const Shape& shape) {
  return autograd::convert(test::formula_tensor(name, shape, 0, 1), DType::f32);
}

// Gradients of a part are those of the whole, and training it leaves the rest as it was.
TEST(Part, TrainsWhatIsChosen) {
  const GrayscaleSr start = network({.channels = 3, .body = {.blocks = 1}});
  const Var x = image("x", {2, 1, 6, 6}), target = image("target", {2, 1, 12, 12});
  Part<GrayscaleSr> part{clone(start), is_fine_tuned};
  const auto loss_of = [&](const GrayscaleSr& m) { return autograd::l1_loss(m(x), target); };
  const auto loss_of_part = [&](const Part<GrayscaleSr>& p) { return loss_of(p.whole); };

  const auto whole = value_and_grad(start, loss_of).gradients;
  const auto chosen = value_and_grad(part, loss_of_part).gradients;
  const auto names = parameter_names(start), chosen_names = parameter_names(part);
  ASSERT_EQ(chosen_names.size(), chosen.size());
  size_t k = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].starts_with("body.")) continue;
    ASSERT_EQ(chosen_names[k], names[i]);
    EXPECT_EQ(chosen[k].value().values<float>(), whole[i].value().values<float>()) << names[i];
    ++k;
  }
  EXPECT_EQ(k, chosen.size());
  EXPECT_LT(k, whole.size());

  Adam adam{.learning_rate = 1e-2};
  double first = 0, last = 0;
  for (int step = 0; step < 10; ++step) {
    const auto [loss, gradients] = value_and_grad(part, loss_of_part);
    (step ? last : first) = loss.item();
    adam.step(part, gradients);
  }
  EXPECT_LT(last, first);
  const NamedTensors before = state(start), after = state(part.whole), kept = state(part);
  for (const auto& [path, tensor] : before) {
    const bool frozen = path.starts_with("body.");
    EXPECT_EQ(tensor.values<float>() == after.at(path).values<float>(), frozen) << path;
    EXPECT_EQ(kept.contains(path), !frozen) << path;
  }
  // What a file of the fine-tuning holds puts another network into the same state.
  Part<GrayscaleSr> other{clone(start), is_fine_tuned};
  load_state(other, kept);
  EXPECT_EQ(other.whole(x).value().values<float>(), part.whole(x).value().values<float>());
}

}  // namespace
}  // namespace tessera::models
