#include <gtest/gtest.h>

#include <thread>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/tests/support/gradcheck.hpp"

// What the transforms promise beyond the rules of single ops.

namespace tessera::test {
namespace {

using namespace autograd;

Var scalar(double value) { return Tensor::from({value}, {}, Device::cpu()); }

// d/dx f at x.
Var derivative(const std::function<Var(const Var&)>& f, const Var& x) {
  return value_and_grad([&](Inputs at) { return f(at[0]); }, Inputs(&x, 1)).gradients[0];
}

Var slope(const std::function<Var(const Var&)>& f, const Var& x) {
  const Var one = scalar(1);
  return jvp([&](Inputs at) { return f(at[0]); }, Inputs(&x, 1), Inputs(&one, 1)).second;
}

void expect_error(const std::function<void()>& call, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "accepted; expected an error about: " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

// ---- nesting
// -------------------------------------------------------------------------------------

// d/dx [x * d/dy (x + y)] = 1: tangents of the inner derivative must not leak into the outer one.
TEST(Nesting, NoPerturbationConfusion) {
  using Operator = Var (*)(const std::function<Var(const Var&)>&, const Var&);
  for (Operator outer : {Operator(derivative), Operator(slope)})
    for (Operator inner : {Operator(derivative), Operator(slope)}) {
      const Var d = outer(
          [&](const Var& x) { return x * inner([&](const Var& y) { return x + y; }, scalar(3)); },
          scalar(2));
      EXPECT_EQ(d.item(), 1);
      // d/dx [x * d/dy (x * y^2) at y = x] = d/dx 2 x^3 = 6 x^2
      const Var e = outer(
          [&](const Var& x) { return x * inner([&](const Var& y) { return x * square(y); }, x); },
          scalar(2));
      EXPECT_EQ(e.item(), 24);
    }
}

// All eight ways to a third derivative of sin(x^2): -8 x^3 cos(x^2) - 12 x sin(x^2).
TEST(Nesting, ThirdDerivativesInEveryMixOfModes) {
  using Operator = Var (*)(const std::function<Var(const Var&)>&, const Var&);
  const Operator modes[] = {derivative, slope};
  const double x = 0.7, wanted = -8 * x * x * x * std::cos(x * x) - 12 * x * std::sin(x * x);
  for (Operator a : modes)
    for (Operator b : modes)
      for (Operator c : modes) {
        const auto f = [](const Var& t) { return sin(square(t)); };
        const auto first = [&](const Var& t) { return c(f, t); };
        const auto second = [&](const Var& t) { return b(first, t); };
        EXPECT_NEAR(a(second, scalar(x)).item(), wanted, 1e-13);
      }
}

TEST(Nesting, ResultsAreFreeOfTheTransform) {
  const Var x = scalar(2);
  EXPECT_FALSE(derivative([](const Var& t) { return square(t); }, x).traced());
  derivative(
      [&](const Var& t) {
        const Var inner = derivative([](const Var& s) { return square(s); }, t);
        EXPECT_TRUE(inner.traced()) << "the outer transform follows the inner derivative";
        const Var unrelated = derivative([](const Var& s) { return square(s); }, x);
        EXPECT_FALSE(unrelated.traced());
        return inner;
      },
      x);
}

// ---- misuse
// --------------------------------------------------------------------------------------

TEST(Misuse, LeakedTracedVar) {
  Var leaked;
  derivative([&](const Var& x) { return leaked = square(x); }, scalar(2));
  expect_error([&] { leaked + scalar(1); }, "a transform that has ended");
  // Also when another transform has taken the level of the one it came from.
  expect_error([&] { derivative([&](const Var& x) { return x * leaked; }, scalar(2)); },
               "a transform that has ended");
  EXPECT_EQ(stop_gradient(leaked).item(), 4) << "the number itself is still there";
}

TEST(Misuse, UsedPullback) {
  const Vars x{scalar(2)};
  auto [y, pullback] = vjp(Fn([](Inputs at) { return square(at[0]); }), x);
  EXPECT_EQ(pullback(scalar(1), true)[0].item(), 4);
  EXPECT_EQ(pullback(scalar(10))[0].item(), 40);
  expect_error([&] { pullback(scalar(1)); }, "keep = true");
}

TEST(Misuse, InputsAndTangents) {
  const Fn f = [](Inputs at) { return sum(at[0]); };
  const Var x = uniform({2, 3}, DType::f64, 1), v = uniform({3, 2}, DType::f64, 1);
  const Var integers_ = Tensor::from({1, 2}, {2}, Device::cpu());
  expect_error([&] { value_and_grad(f, Inputs(&integers_, 1)); }, "must be a floating tensor");
  expect_error([&] { jvp(f, Inputs(&x, 1), Inputs(&v, 1)); }, "tangent 0");
  expect_error([&] { hvp_reverse(f, Inputs(&x, 1), Inputs(&v, 1)); }, "tangent 0");
  expect_error([&] { value_and_grad([](Inputs at) { return at[0]; }, Inputs(&x, 1)); },
               "one floating element");
  expect_error([&] { exp(Var()); }, "exp: input 0 is an undefined Var");
}

TEST(Misuse, CheckpointCapturesTracedVar) {
  derivative(
      [](const Var& x) {
        const Var one = scalar(1);
        expect_error([&] { checkpoint([&](Inputs at) { return x * at[0]; }, Inputs(&one, 1)); },
                     "captures");
        return x;
      },
      scalar(2));
}

TEST(Misuse, ExceptionsLeaveNoTraceBehind) {
  EXPECT_THROW(derivative([](const Var&) -> Var { throw std::runtime_error("stop"); }, scalar(1)),
               std::runtime_error);
  EXPECT_EQ(derivative([](const Var& x) { return square(x); }, scalar(3)).item(), 6);
}

// ---- gradients
// -----------------------------------------------------------------------------------

TEST(Gradients, UnusedAndRepeatedInputs) {
  const Vars x{scalar(2), scalar(5), scalar(7)};
  const auto r = value_and_grad([](Inputs at) { return at[0] * at[0] + at[0] * at[2]; }, x);
  EXPECT_EQ(r.value.item(), 18);
  EXPECT_EQ(r.gradients[0].item(), 11);
  EXPECT_EQ(r.gradients[1].item(), 0);
  EXPECT_EQ(r.gradients[2].item(), 2);
}

TEST(Gradients, IdentityAndConstant) {
  const Vars x{scalar(2)};
  EXPECT_EQ(value_and_grad([](Inputs at) { return at[0]; }, x).gradients[0].item(), 1);
  EXPECT_EQ(value_and_grad([](Inputs) { return scalar(9); }, x).gradients[0].item(), 0);
  EXPECT_EQ(vhv([](Inputs) { return scalar(9); }, x, x).item(), 0);
  EXPECT_EQ(hvp([](Inputs at) { return at[0]; }, x, x)[0].item(), 0);
}

// Accumulation in place must not touch what the caller still holds.
TEST(Gradients, AccumulateWithoutTouchingTheSeed) {
  const Var x = uniform({4}, DType::f64, 1), seed = uniform({4}, DType::f64, 2);
  const auto before = to_doubles(seed.value());
  auto [y, pullback] = vjp(Fn([](Inputs at) { return at[0] + at[0] + at[0]; }), Inputs(&x, 1));
  const Var g = pullback(seed)[0];
  EXPECT_EQ(to_doubles(seed.value()), before);
  for (size_t i = 0; i < before.size(); ++i)
    EXPECT_DOUBLE_EQ(to_doubles(g.value())[i], 3 * before[i]);
}

TEST(Gradients, ScaledSeed) {
  const Vars x{scalar(2)};
  const auto r = value_and_grad([](Inputs at) { return square(at[0]); }, x, 8.0);
  EXPECT_EQ(r.value.item(), 4);
  EXPECT_EQ(r.gradients[0].item(), 32);
}

TEST(Gradients, StopGradient) {
  const Var d = derivative([](const Var& x) { return x * stop_gradient(x); }, scalar(3));
  EXPECT_EQ(d.item(), 3);
}

// H v of an MLP with two parameters, against the Hessian built column by column from the gradient's
// differences.
TEST(Gradients, MeansOfLongSegmentsInHalves) {
  constexpr int64_t rows = 70'000;  // more than a half counts to
  const Tensor offsets = Tensor::from<int32_t>({0, 0, rows}, {3}, Device::cpu());
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const Var x = autograd::full({rows, 2}, 3, dtype, Device::cpu());
    EXPECT_EQ(to_doubles(segment_mean(x, offsets).value()), (std::vector<double>{0, 0, 3, 3}))
        << to_string(dtype);
  }
}

TEST(Hessians, GaussNewtonOfALinearModelIsTheHessian) {
  const Var features = uniform({7, 4}, DType::f64, 1),
            labels = Tensor::from({0, 2, 1, 1, 0, 2, 2}, {7}, Device::cpu());
  const Vars w{uniform({3, 4}, DType::f64, 2), uniform({3}, DType::f64, 3)}, v = random_like(w, 4);
  const Fn model = [&](Inputs at) { return linear(features, at[0], at[1]); };
  const auto head = [&](const Var& logits) { return cross_entropy(logits, labels.value()); };
  const Fn loss = [&](Inputs at) { return head(model(at)); };
  const Vars hv = hvp(loss, w, v);
  expect_all_close(ggnvp(model, head, w, v), hv, 1e-12, "Gauss-Newton");
  const MultiFn gradient = [&](Inputs at) { return value_and_grad(loss, at).gradients; };
  expect_difference(gradient, w, v, hv, 1e-8, "Hessian");
}

TEST(Hessians, GaussNewtonIsPositive) {
  const Var features = uniform({7, 4}, DType::f64, 1), target = uniform({7, 3}, DType::f64, 9);
  const Vars w{uniform({5, 4}, DType::f64, 2), uniform({3, 5}, DType::f64, 3)};
  const Fn model = [&](Inputs at) { return linear(tanh(linear(features, at[0])), at[1]); };
  const auto head = [&](const Var& y) { return mse_loss(y, target, LossReduction::sum); };
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const Vars v = random_like(w, 10 + seed);
    // 2 |J v|^2
    const std::vector<double> jv = to_doubles(jvp(model, w, v).second.value());
    double square_norm = 0;
    for (double t : jv) square_norm += t * t;
    EXPECT_NEAR(dot(v, ggnvp(model, head, w, v)), 2 * square_norm, 1e-10 * square_norm);
  }
}

// ---- threads
// -------------------------------------------------------------------------------------

TEST(Threads, TracesBelongToTheirThread) {
  std::vector<std::thread> workers;
  std::vector<double> results(4);
  for (size_t t = 0; t < results.size(); ++t)
    workers.emplace_back([&results, t] {
      for (int repeat = 0; repeat < 50; ++repeat)
        results[t] =
            derivative(
                [&](const Var& x) {
                  return derivative([&](const Var& y) { return x * sin(y) + x * x * y; }, x);
                },
                scalar(static_cast<double>(t)))
                .item();
    });
  for (std::thread& worker : workers) worker.join();
  for (size_t t = 0; t < results.size(); ++t) {
    // d/dx (x cos x + x^2)
    const auto x = static_cast<double>(t);
    EXPECT_NEAR(results[t], std::cos(x) - x * std::sin(x) + 2 * x, 1e-13);
  }
}

}  // namespace
}  // namespace tessera::test
