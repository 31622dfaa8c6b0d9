#include <gtest/gtest.h>

#include "tessera/autograd/ops.hpp"
#include "tessera/autograd/scaling.hpp"
#include "tessera/tests/support/gradcheck.hpp"

namespace tessera::test {
namespace {

using namespace autograd;

class Scaling : public testing::Test {
 protected:
  void SetUp() override {
    const Vars x{uniform({3}, DType::f32, 1)};
    const std::string missing = missing_kernel([&] {
      scaled_value_and_grad([](Inputs at) { return sum(at[0]); }, x);
      rademacher_like(x[0], {});
    });
    if (!missing.empty()) GTEST_SKIP() << missing;
  }
};

// A small GELU network in f16 whose loss is a mean over many outputs.
struct Network {
  Var x;
  Vars w;
  explicit Network(DType dtype, double size = 1)
      : x(cast(uniform({16, 24}, DType::f64, 1), dtype)) {
    for (uint64_t i = 0; i < 3; ++i)
      w.push_back(cast(size * Var(uniform({24, 24}, DType::f64, 2 + i)), dtype));
  }
  Fn loss(double factor = 1) const {
    return [this, factor](Inputs at) {
      Var h = x;
      for (const Var& layer : at) h = gelu(linear(h, layer));
      return factor * mean(square(h));
    };
  }
};

Vars in_double(const Vars& x) {
  Vars wide;
  for (const Var& t : x) wide.push_back(cast(t, DType::f64));
  return wide;
}

double relative_error(Inputs got, Inputs wanted) {
  double distance = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const auto a = to_doubles(got[i].value()), b = to_doubles(wanted[i].value());
    for (size_t k = 0; k < a.size(); ++k) {
      distance += (a[k] - b[k]) * (a[k] - b[k]);
      size += b[k] * b[k];
    }
  }
  return std::sqrt(distance / size);
}

// A loss so small that f16 cotangents would all be 0.
TEST_F(Scaling, SeedLiftsGradientsOutOfUnderflow) {
  const Network half(DType::f16);
  Network wide(DType::f64);
  wide.x = cast(half.x, DType::f64);
  wide.w = in_double(half.w);
  const double tiny = 1e-6;
  const Vars wanted = value_and_grad(wide.loss(tiny), wide.w).gradients;
  const ScaledGradient plain = scaled_value_and_grad(half.loss(tiny), half.w);
  EXPECT_GT(relative_error(plain.gradients, wanted), 0.2) << "no scale: mostly zeros";
  const ScaledGradient scaled =
      scaled_value_and_grad(half.loss(tiny), half.w, {.seed_scale = 0x1p15});
  EXPECT_LT(relative_error(scaled.gradients, wanted), 0.02);
  EXPECT_EQ(scaled.gradients[0].dtype(), DType::f32);
  EXPECT_TRUE(scaled.report.finite);
  EXPECT_EQ(scaled.report.attempts, 1);
}

TEST_F(Scaling, BacksOffUntilFinite) {
  const Network half(DType::f16);
  Network wide(DType::f64);
  wide.x = cast(half.x, DType::f64);
  wide.w = in_double(half.w);
  const Vars v = random_like(half.w, 50), wide_v = in_double(v);
  const Vars wanted = hvp(wide.loss(), wide.w, wide_v);
  // 2^30 overflows f16 wherever it is applied.
  const ScaledHvp r = scaled_hvp(half.loss(), half.w, v, {.seed_scale = 0x1p30, .backoff = 0.0625});
  EXPECT_TRUE(r.report.finite);
  EXPECT_GT(r.report.attempts, 1);
  EXPECT_EQ(r.report.seed_scale, 0x1p30 * std::pow(0.0625, r.report.attempts - 1));
  EXPECT_EQ(r.report.tangent_scale, std::pow(0.0625, r.report.attempts - 1));
  EXPECT_LT(relative_error(r.products, wanted), 0.05);
}

// Raw +-1 probes through large weights overflow second tangents; a smaller tangent scale keeps
// them.
TEST_F(Scaling, TangentScaleKeepsQuadraticFormsFinite) {
  const Network half(DType::f16, 6);
  Network wide(DType::f64);
  wide.x = cast(half.x, DType::f64);
  wide.w = in_double(half.w);
  Vars probe;
  for (size_t i = 0; i < half.w.size(); ++i)
    probe.emplace_back(rademacher_like(half.w[i], {3, 1000 * i}));
  const double wanted = vhv(wide.loss(), wide.w, in_double(probe)).item();
  const ScaledVhv once = scaled_vhv(half.loss(), half.w, probe, {.attempts = 1});
  EXPECT_FALSE(once.report.finite);
  const ScaledVhv r = scaled_vhv(half.loss(), half.w, probe);
  EXPECT_TRUE(r.report.finite);
  EXPECT_LT(r.report.tangent_scale, 1);
  // A sum of large terms of both signs, each rounded to 11 bits.
  EXPECT_NEAR(r.value.item(), wanted, 0.2 * std::abs(wanted));
}

TEST_F(Scaling, FullPrecisionIsExactForPowersOfTwo) {
  const Network net(DType::f64);
  const Vars v = random_like(net.w, 50);
  const HvpOptions options{.seed_scale = 0x1p8, .tangent_scale = 0x1p-4};
  const ScaledHvp r = scaled_hvp(net.loss(), net.w, v, options);
  expect_all_close(r.products, hvp(net.loss(), net.w, v), 0, "hvp");
  EXPECT_EQ(r.products[0].dtype(), DType::f64);
  EXPECT_EQ(scaled_vhv(net.loss(), net.w, v, options).value.item(),
            vhv(net.loss(), net.w, v).item());
}

TEST_F(Scaling, HopelessCasesSaySo) {
  const Vars x{uniform({3}, DType::f32, 1)};
  const Fn broken = [](Inputs at) { return sum(log(at[0] - at[0])); };
  const ScaledGradient r = scaled_value_and_grad(broken, x, {.attempts = 5});
  EXPECT_FALSE(r.report.finite);
  EXPECT_EQ(r.report.attempts, 5);
}

TEST_F(Scaling, BadOptions) {
  const Vars x{uniform({3}, DType::f32, 1)};
  const Fn f = [](Inputs at) { return sum(at[0]); };
  EXPECT_THROW(scaled_value_and_grad(f, x, {.seed_scale = 0}), Error);
  EXPECT_THROW(scaled_value_and_grad(f, x, {.backoff = 1}), Error);
  EXPECT_THROW(scaled_value_and_grad(f, x, {.attempts = 0}), Error);
  EXPECT_THROW(scaled_hvp(f, x, {}), Error);
}

}  // namespace
}  // namespace tessera::test
