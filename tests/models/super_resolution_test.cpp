// Networks for super-resolution: against PyTorch's values and gradients, their sizes, what is
// frozen.
#include <gtest/gtest.h>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/pool.hpp"
#include "tessera/models/nets/sr/foreign_weights.hpp"
#include "tessera/models/nets/sr/grayscale_sr.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/part.hpp"
#include "tessera/runtime/io/safetensors.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/golden.hpp"

namespace tessera::models {
namespace {

using test::Golden;

GrayscaleSr network(const GrayscaleSrConfig& config) {
  Rng rng(5);
  return GrayscaleSr::make(config, rng);
}

Tensor image(const char* name, const Shape& shape) {
  return autograd::convert(test::formula_tensor(name, shape, 0, 1), DType::f32);
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
  for (const std::string& path : parameter_names(net))
    EXPECT_TRUE(golden.has("grad." + path) || GetParam().name == "low_rank") << path;
  test::expect_family(golden, "grad", net, gradients, 1e-10);

  // In single precision, as it is used.
  const GrayscaleSr single = cast(net, DType::f32);
  const auto y = autograd::convert(single(data.tensor("x")).value(), DType::f64).values<double>();
  test::expect_golden(y, golden.values("y"), 1e-5, "y in f32");
}

const TransformerBodyConfig transformer{.size = 6, .layers = 2, .heads = 3, .hidden_ratio = 2};
const TransformerBodyConfig low_rank{
    .size = 6, .layers = 2, .heads = 3, .hidden_ratio = 2, .rank = 2};
const SwinBodyConfig swin{.window = 3, .groups = 2, .depth = 2, .heads = 2};

INSTANTIATE_TEST_SUITE_P(
    Bodies, GoldenSr,
    testing::Values(GoldenNetwork{"conv", {.channels = 4, .body = ConvBodyConfig{2}}},
                    GoldenNetwork{"conv_plain",
                                  {.channels = 4, .plain = true, .body = ConvBodyConfig{2}}},
                    GoldenNetwork{"transformer", {.channels = 2, .body = transformer}},
                    GoldenNetwork{"low_rank", {.channels = 2, .body = low_rank}},
                    GoldenNetwork{"swin", {.channels = 4, .plain = true, .body = swin}}),
    [](const auto& of) { return of.param.name; });

TEST(GrayscaleSr, HasTheParametersOfThePaper) {
  for (int64_t doublings = 1; doublings <= 3; ++doublings) {
    const GrayscaleSr net = network({.scale = int64_t{1} << doublings, .body = ConvBodyConfig{0}});
    EXPECT_EQ(parameters_below(net, "head.") + parameters_below(net, "tail."),
              482764 + (doublings - 1) * 296064);
  }
  EXPECT_EQ(parameters_below(network({.body = ConvBodyConfig{0}}), "head."), 186048);
  EXPECT_EQ(parameters_below(network({}), "body."), 33 * (64 * 64 * 9 + 64));  // EDSR's
  EXPECT_EQ(count_parameters(network({.channels = 32, .plain = true, .body = ConvBodyConfig{4}})),
            84708);
}

TEST(GrayscaleSr, EnlargesAnySize) {
  const Tensor x = Tensor::zeros({2, 1, 5, 7}, DType::f32, Device::cpu());
  for (const int64_t scale : {2, 4, 8})
    EXPECT_EQ(network({.scale = scale, .channels = 2, .body = ConvBodyConfig{1}})(x).shape(),
              (Shape{2, 1, 5 * scale, 7 * scale}));
  EXPECT_EQ(
      network({.scale = 3, .channels = 2, .plain = true, .body = ConvBodyConfig{1}})(x).shape(),
      (Shape{2, 1, 15, 21}));
}

TEST(GrayscaleSr, RefusesWhatDoesNotFit) {
  EXPECT_THROW(network({.scale = 3}), Error);
  EXPECT_THROW(network({.channels = 0}), Error);
  const GrayscaleSr net = network({.channels = 2, .body = ConvBodyConfig{1}});
  EXPECT_THROW(net(Tensor::zeros({1, 3, 4, 4}, DType::f32, Device::cpu())), Error);
}

// With a tail of zeros what remains is the interpolation.
TEST(GrayscaleSr, PlainNetworkAddsToBicubic) {
  GrayscaleSr net = network({.channels = 3, .plain = true, .body = ConvBodyConfig{1}});
  for_each_parameter(net, [](const std::string& path, Var& p) {
    if (path.starts_with("tail.")) p = Tensor::zeros(p.shape(), DType::f32, Device::cpu());
  });
  const Var x = image("x", {2, 1, 6, 5});
  const Var wanted = autograd::resample2d(x, 12, 10, {.mode = autograd::ResampleMode::imresize});
  EXPECT_EQ(net(x).value().values<float>(), wanted.value().values<float>());
}

// Gradients of a part are those of the whole, and training it leaves the rest as it was.
TEST(Part, TrainsWhatIsChosen) {
  const GrayscaleSr start = network({.channels = 3, .body = ConvBodyConfig{1}});
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

TEST(GrayscaleSr, TransformerAndSwinBodiesHaveTheirParameters) {
  // IPT, 12 layers each way, of which one is made; 114.9 M.
  Rng rng(1);
  TransformerBody body = TransformerBody::make(64, {.layers = 1}, rng);
  const int64_t layer = count_parameters(body.encoder[0]) + count_parameters(body.decoder[0]),
                rest = count_parameters(body) - layer;
  EXPECT_EQ(rest + 12 * layer, 114899328);
  body.add_low_rank_updates(4, rng);
  EXPECT_EQ(12 * (count_parameters(body) - rest - layer), 331776);
  // SwinIR-light for a factor of two has 910152 with its first and last convolution.
  EXPECT_EQ(count_parameters(SwinBody::make(60, {}, rng)),
            910152 - (3 * 60 * 9 + 60) - (60 * 12 * 9 + 12));
}

// Low-rank updates change no bit before they are trained, and then they alone change in the body.
TEST(GrayscaleSr, LowRankUpdatesStartAsNothing) {
  GrayscaleSr net = network({.channels = 2, .body = transformer});
  const Var x = image("x", {2, 1, 6, 6}), target = image("target", {2, 1, 12, 12});
  const auto before = net(x).value().values<float>();
  const auto names = parameter_names(net);
  Rng rng(3);
  add_low_rank_updates(net, 4, rng);
  EXPECT_EQ(net(x).value().values<float>(), before);
  EXPECT_EQ(parameter_names(net).size(), names.size() + 6 * 4);

  const NamedTensors start = state(clone(net));
  Part<GrayscaleSr> part{net, is_fine_tuned};
  Adam adam{.learning_rate = 1e-2};
  for (int step = 0; step < 3; ++step)
    adam.step(part, value_and_grad(part, [&](const Part<GrayscaleSr>& p) {
                      return autograd::l1_loss(p.whole(x), target);
                    }).gradients);
  for (const auto& [path, tensor] : state(part.whole)) {
    const bool trained = !path.starts_with("body.") || path.find(".lora.") != path.npos;
    EXPECT_EQ(tensor.values<float>() != start.at(path).values<float>(), trained) << path;
  }
}

// Which pixels a shifted block mixes: those of one window of the rolled image that were neighbours.
TEST(SwinBlock, MixesNeighboursOfAWindow) {
  constexpr int64_t h = 6, w = 9, window = 3, shift = 1;
  Rng rng(2);
  const SwinBlock block = SwinBlock::make(4, window, shift, 2, 8, rng);
  const Tensor x = image("x", {1, h, w, 4});
  const auto window_of = [](int64_t i) { return (i - shift + window) / window; };
  const auto before = block(x).value().values<float>();
  for (int64_t r = 0; r < h; ++r)
    for (int64_t c = 0; c < w; ++c) {
      Tensor moved = x.clone();
      moved.host_mutable<float>()[static_cast<size_t>((r * w + c) * 4)] += 1;
      const auto after = block(moved).value().values<float>();
      for (int64_t s = 0; s < h; ++s)
        for (int64_t d = 0; d < w; ++d) {
          const auto at = static_cast<size_t>((s * w + d) * 4);
          const bool same = std::equal(&before[at], &before[at] + 4, &after[at]);
          EXPECT_EQ(same, window_of(r) != window_of(s) || window_of(c) != window_of(d))
              << r << ", " << c << " and " << s << ", " << d;
        }
    }
}

const std::string ipt_file = TESSERA_GOLDEN_DIR "/super_resolution_ipt.safetensors",
                  swinir_file = TESSERA_GOLDEN_DIR "/super_resolution_swinir.safetensors";

/// The network of the golden file with values for its head and tail only.
GrayscaleSr with_ends(const Golden& golden, const GrayscaleSrConfig& config) {
  GrayscaleSr net = cast(network(config), DType::f64);
  Part<GrayscaleSr> ends{net, is_fine_tuned};
  golden.initialize(ends);
  return ends.whole;
}

TEST(ForeignWeights, BodiesOfIptAndSwinIr) {
  const Golden data("super_resolution");
  const Var x = data.tensor("x", DType::f64);
  const auto expect_imported = [&](const std::string& name, const GrayscaleSrConfig& config,
                                   const std::string& file) {
    const Golden golden("super_resolution", name + ".");
    GrayscaleSr net = with_ends(golden, config);
    load_foreign_body(net, file);
    // The file's values are rounded to f32.
    test::expect_golden(net(x).value().values<double>(), golden.values("y"), 1e-6, name);
    const GrayscaleSr single = cast(net, DType::f32);
    const auto y = autograd::convert(single(data.tensor("x")).value(), DType::f64).values<double>();
    test::expect_golden(y, golden.values("y"), 1e-5, name + " in f32");
  };
  expect_imported("transformer", {.channels = 2, .body = transformer}, ipt_file);
  expect_imported("swin", {.channels = 4, .plain = true, .body = swin}, swinir_file);

  // Low-rank updates stay, another task is another query.
  GrayscaleSr net = network({.channels = 2, .body = low_rank});
  const NamedTensors before = state(clone(net)), file = read_safetensors(ipt_file).tensors;
  load_foreign_body(net, ipt_file, 1);
  for (const auto& [path, tensor] : state(net)) {
    const bool kept = is_fine_tuned(path);
    EXPECT_EQ(tensor.values<float>() == before.at(path).values<float>(), kept) << path;
  }
  EXPECT_EQ(state(net).at("body.query_embed.weight").values<float>(),
            file.at("body.query_embed.weight").narrow(0, 1, 1).values<float>());
}

TEST(ForeignWeights, IndicesOfWindowsAreTheNetworksOwn) {
  NamedTensors tensors = read_safetensors(swinir_file).tensors;
  for (auto& [name, tensor] : tensors)
    if (name.ends_with("relative_position_index"))
      tensor = autograd::full(tensor.shape(), 1e9, tensor.dtype(), Device::cpu());
  const test::TemporaryFolder folder;
  save_safetensors(folder / "wrong.safetensors", tensors);
  GrayscaleSr right = network({.channels = 4, .plain = true, .body = swin}), other = clone(right);
  load_foreign_body(right, swinir_file);
  load_foreign_body(other, folder / "wrong.safetensors");
  const Var x = image("x", {1, 1, 6, 6});
  EXPECT_EQ(other(x).value().values<float>(), right(x).value().values<float>());
}

TEST(ForeignWeights, FineTuningOfEigenSr) {
  GrayscaleSr from = network({.channels = 2, .body = low_rank});
  NamedTensors saved;
  for (const auto& [path, tensor] : state(Part<GrayscaleSr>{from, is_fine_tuned}))
    saved[path.starts_with("body.") ? "body." + path : path] = tensor;
  const test::TemporaryFolder folder;
  save_safetensors(folder / "tuned.safetensors", saved);
  Rng rng(8);
  GrayscaleSr net = GrayscaleSr::make({.channels = 2, .body = low_rank}, rng);
  load_foreign_body(from, ipt_file);
  load_foreign_body(net, ipt_file);
  const Var x = image("x", {1, 1, 6, 6});
  EXPECT_NE(net(x).value().values<float>(), from(x).value().values<float>());
  load_foreign_fine_tuning(net, folder / "tuned.safetensors");
  EXPECT_EQ(net(x).value().values<float>(), from(x).value().values<float>());
}

TEST(ForeignWeights, NamesWhatDoesNotFit) {
  const test::TemporaryFolder folder;
  const std::string file = folder / "weights.safetensors";
  GrayscaleSr net = network({.channels = 2, .body = transformer});
  const NamedTensors before = state(clone(net)), whole = read_safetensors(ipt_file).tensors;
  const auto expect_refused = [&](const NamedTensors& tensors, const std::string& named,
                                  int64_t task = 0) {
    save_safetensors(file, tensors);
    try {
      load_foreign_body(net, file, task);
      ADD_FAILURE() << "accepted without " << named;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::io);
      const std::string text = error.what();
      EXPECT_NE(text.find(file), text.npos) << text;
      EXPECT_NE(text.find(named), text.npos) << text;
    }
    for (const auto& [path, tensor] : state(net))
      EXPECT_EQ(tensor.values<float>(), before.at(path).values<float>()) << path;
  };
  NamedTensors tensors = whole;
  tensors.erase("body.decoder.layers.1.norm3.bias");
  expect_refused(tensors, "body.decoder.layers.1.norm3.bias");
  tensors = whole;
  tensors["body.encoder.layers.2.norm1.bias"] = tensors.at("body.encoder.layers.1.norm1.bias");
  expect_refused(tensors, "body.encoder.layers.2.norm1.bias");
  tensors = whole;
  tensors["body.linear_encoding.weight"] = tensors.at("body.linear_encoding.bias");
  expect_refused(tensors, "body.linear_encoding.weight");
  expect_refused(whole, "body.query_embed.weight", 2);
  EXPECT_THROW(load_foreign_fine_tuning(net, ipt_file), Error);
}

}  // namespace
}  // namespace tessera::models
