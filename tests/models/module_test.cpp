#include "tessera/models/module.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/nets/mlp.hpp"
#include "tessera/models/nets/resnet.hpp"
#include "tessera/models/nets/vit.hpp"

namespace tessera::models {
namespace {

struct Scale {
  Var factor;
  Tensor offset;
  static void visit(auto& self, auto&& f) {
    f("factor", self.factor);
    f("offset", self.offset);
  }
};

struct Pair {
  std::vector<Scale> parts;
  Scale last;
  Var unused;  // stays undefined
  static void visit(auto& self, auto&& f) {
    f("parts", self.parts);
    f("last", self.last);
    f("unused", self.unused);
  }
};

Tensor numbers(std::initializer_list<double> values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())}, Device::cpu());
}

Pair make_pair() {
  return {
      {{numbers({1, 2}), numbers({0})}, {numbers({3, 4}), numbers({5})}}, {numbers({6}), {}}, {}};
}

TEST(Module, NamesFollowTheStructure) {
  const Pair m = make_pair();
  EXPECT_EQ(parameter_names(m),
            (std::vector<std::string>{"parts.0.factor", "parts.1.factor", "last.factor"}));
  std::vector<std::string> buffers;
  for_each_buffer(m, [&](const std::string& path, const Tensor&) { buffers.push_back(path); });
  EXPECT_EQ(buffers, (std::vector<std::string>{"parts.0.offset", "parts.1.offset"}));
  EXPECT_EQ(count_parameters(m), 5);
}

TEST(Module, ValueAndGradLeavesTheModelAlone) {
  const Pair m = make_pair();
  const auto [value, gradients] = value_and_grad(m, [](const Pair& p) {
    return autograd::sum(autograd::square(p.parts[1].factor)) + autograd::sum(p.last.factor) * 2.0;
  });
  EXPECT_DOUBLE_EQ(value.item(), 9 + 16 + 12);
  ASSERT_EQ(gradients.size(), 3u);
  EXPECT_EQ(gradients[0].value().values<double>(), (std::vector<double>{0, 0}));
  EXPECT_EQ(gradients[1].value().values<double>(), (std::vector<double>{6, 8}));
  EXPECT_EQ(gradients[2].value().values<double>(), (std::vector<double>{2}));
  EXPECT_FALSE(m.parts[1].factor.traced());
}

TEST(Module, WithParametersChecksCountAndShape) {
  const Pair m = make_pair();
  Vars values = parameters(m);
  values.pop_back();
  EXPECT_THROW(with_parameters(m, values), Error);
  values.push_back(numbers({1, 2, 3}));
  try {
    with_parameters(m, values);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("last.factor"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("[3]"), std::string::npos) << e.what();
  }
}

TEST(Module, CastConvertsFloatingLeavesOnly) {
  Pair m = make_pair();
  m.parts[0].offset = Tensor::from<int64_t>({7}, {1}, Device::cpu());
  const Pair half = cast(m, DType::f16);
  EXPECT_EQ(half.parts[1].factor.dtype(), DType::f16);
  EXPECT_EQ(half.parts[1].offset.dtype(), DType::f16);
  EXPECT_EQ(half.parts[0].offset.dtype(), DType::i64);
  EXPECT_EQ(m.parts[1].factor.dtype(), DType::f64);
}

TEST(Module, CloneSharesNoMemory) {
  const Pair m = make_pair();
  const Pair copy = clone(m);
  for (const auto& [path, tensor] : state(copy))
    EXPECT_FALSE(tensor.same_storage(state(m).at(path))) << path;
}

TEST(Module, StateRoundTripsAndConverts) {
  const Pair m = make_pair();
  Pair other = cast(make_pair(), DType::f32);
  for_each_leaf(other, [](const std::string&, auto& leaf) {
    using T = std::remove_cvref_t<decltype(leaf)>;
    leaf = T(autograd::full(leaf.shape(), -1.0, DType::f32, Device::cpu()));
  });
  load_state(other, state(m, "model."), "model.");
  EXPECT_EQ(other.parts[1].factor.dtype(), DType::f32);
  EXPECT_EQ(other.parts[1].factor.value().values<float>(), (std::vector<float>{3, 4}));
  EXPECT_EQ(other.parts[1].offset.values<float>(), (std::vector<float>{5}));
}

void expect_error(const std::function<void()>& body, std::initializer_list<std::string> parts) {
  try {
    body();
    FAIL() << "no error";
  } catch (const Error& e) {
    for (const std::string& part : parts)
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(Module, LoadStateNamesWhatIsWrongAndChangesNothing) {
  Pair m = make_pair();
  NamedTensors values = state(clone(m));
  values["parts.0.factor"] = numbers({9, 9});
  values.erase("last.factor");
  expect_error([&] { load_state(m, values); }, {"last.factor"});
  EXPECT_EQ(m.parts[0].factor.value().values<double>(), (std::vector<double>{1, 2}));

  values = state(m);
  values["parts.1.factor"] = numbers({1, 2, 3});
  expect_error([&] { load_state(m, values); }, {"parts.1.factor", "[3]", "[2]"});

  values = state(m);
  values["stranger"] = numbers({1});
  expect_error([&] { load_state(m, values); }, {"stranger"});
  load_state(m, values, "", true);
}

TEST(Module, NetworksHaveTheReferenceNamesAndSizes) {
  Rng rng(3);
  EXPECT_EQ(count_parameters(ResNet::make(20, 10, rng)), 269722);  // He et al. 2015: 0.27 M
  EXPECT_EQ(count_parameters(ResNet::make(32, 10, rng)), 464154);
  EXPECT_EQ(count_parameters(ResNet::make(56, 10, rng)), 853018);
  EXPECT_EQ(count_parameters(Vit::make({}, rng)), 5717416);  // DeiT-Ti
  const auto names = parameter_names(Vit::make(
      {.image_size = 8, .patch_size = 4, .width = 8, .depth = 1, .heads = 2, .classes = 3}, rng));
  EXPECT_NE(std::find(names.begin(), names.end(), "blocks.0.attn.qkv.weight"), names.end());
  EXPECT_NE(std::find(names.begin(), names.end(), "patch_embed.proj.bias"), names.end());
  EXPECT_THROW(ResNet::make(21, 10, rng), Error);
  EXPECT_THROW(Vit::make({.image_size = 30, .patch_size = 4}, rng), Error);
}

TEST(Initialization, HasTheStatedMoments) {
  Rng rng(5);
  const auto moments = [](const Tensor& t) {
    double sum = 0, squares = 0, largest = 0;
    for (const double v : t.values<float>()) {
      sum += v;
      squares += v * v;
      largest = std::max(largest, std::abs(v));
    }
    const auto n = static_cast<double>(t.numel());
    return std::array{sum / n, std::sqrt(squares / n), largest};
  };
  const auto u = moments(uniform({200, 300}, 0.5, rng));
  EXPECT_NEAR(u[0], 0, 0.01);
  EXPECT_NEAR(u[1], 0.5 / std::sqrt(3.0), 0.005);
  EXPECT_LE(u[2], 0.5);
  const auto n = moments(normal({200, 300}, 2.0, rng));
  EXPECT_NEAR(n[0], 0, 0.05);
  EXPECT_NEAR(n[1], 2.0, 0.03);
  const auto t = moments(truncated_normal({200, 300}, 1.0, rng));
  EXPECT_LE(t[2], 2.0);
  EXPECT_NEAR(t[1], 0.8796, 0.01);
  EXPECT_NEAR(moments(glorot_uniform({40, 60}, 40, 60, rng))[2], std::sqrt(6.0 / 100), 0.003);
  EXPECT_NEAR(moments(he_normal({100, 100}, 50, rng))[1], 0.2, 0.005);
}

TEST(Initialization, OrthogonalRowsOrColumns) {
  Rng rng(6);
  for (const Shape shape : {Shape{5, 9}, Shape{9, 5}, Shape{4, 4}}) {
    const auto q = orthogonal(shape, rng, 2.0).values<float>();
    const bool wide = shape[0] < shape[1];
    const int64_t count = std::min(shape[0], shape[1]), length = std::max(shape[0], shape[1]);
    const auto at = [&](int64_t vector, int64_t i) {
      return static_cast<double>(
          q[static_cast<size_t>(wide ? vector * length + i : i * count + vector)]);
    };
    for (int64_t a = 0; a < count; ++a) {
      for (int64_t b = 0; b < count; ++b) {
        double dot = 0;
        for (int64_t i = 0; i < length; ++i) dot += at(a, i) * at(b, i);
        EXPECT_NEAR(dot, a == b ? 4.0 : 0.0, 1e-5);
      }
    }
  }
}

TEST(Initialization, SameSeedSameNumbers) {
  Rng a(7), b(7), c(8);
  EXPECT_EQ(normal({3, 5}, 1, a).values<float>(), normal({3, 5}, 1, b).values<float>());
  EXPECT_NE(normal({3, 5}, 1, a).values<float>(), normal({3, 5}, 1, c).values<float>());
}

}  // namespace
}  // namespace tessera::models
