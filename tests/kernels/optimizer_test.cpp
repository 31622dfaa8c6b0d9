#include "tessera/kernels/optimizer.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/runtime/io/safetensors.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::expect_close;
using test::from_doubles;
using test::to_doubles;

// The published formulas, one element at a time in double.
struct Element {
  double p, first = 0, second = 0;

  void sgd(double g, const SgdParams& s) {
    g += s.weight_decay * p;
    if (s.momentum != 0) {
      first = s.momentum * first + (1 - s.dampening) * g;
      g = s.nesterov ? g + s.momentum * first : first;
    }
    p -= s.learning_rate * g;
  }
  void adam(double g, const AdamParams& a) {
    if (a.decoupled)
      p *= 1 - a.learning_rate * a.weight_decay;
    else
      g += a.weight_decay * p;
    first = a.beta1 * first + (1 - a.beta1) * g;
    second = a.beta2 * second + (1 - a.beta2) * g * g;
    const double mean = first / (1 - std::pow(a.beta1, a.step)),
                 square = second / (1 - std::pow(a.beta2, a.step));
    p -= a.learning_rate * mean / (std::sqrt(square) + a.epsilon);
  }
};

struct Parameter {
  Tensor value, gradient, first, second, master;
  std::vector<Element> expected;

  OptimizerTensor views() const {
    return {value.view(), gradient.view(), first.view(), second.view(),
            master.defined() ? master.view() : View{}};
  }
};

class Optimizer : public test::TargetTest {
 protected:
  static DType state() { return dtype() == DType::f64 ? DType::f64 : DType::f32; }
  static Parameter parameter(int64_t n, bool master, uint64_t seed) {
    const Tensor start = test::uniform({n}, dtype(), seed);
    Parameter out{on_device(start),
                  {},
                  Tensor::zeros({n}, state(), device()),
                  Tensor::zeros({n}, state(), device()),
                  {},
                  {}};
    for (double v : to_doubles(start)) out.expected.push_back({v});
    if (master) out.master = on_device(from_doubles(to_doubles(start), {n}, DType::f32));
    return out;
  }
  // Gradients keep away from 0, where Adam's first steps are ill-conditioned.
  static void set_gradient(Parameter& p, DType gradient_dtype, uint64_t seed) {
    std::vector<double> g = to_doubles(test::uniform(p.value.shape(), DType::f64, seed));
    for (double& v : g) v = std::copysign(0.25 + 0.75 * std::abs(v), v);
    p.gradient = on_device(from_doubles(g, p.value.shape(), gradient_dtype));
  }
  static std::vector<OptimizerTensor> views(const std::vector<Parameter>& parameters) {
    std::vector<OptimizerTensor> out;
    for (const Parameter& p : parameters) out.push_back(p.views());
    return out;
  }
  static std::vector<double> values(const std::vector<Element>& elements) {
    std::vector<double> out;
    for (const Element& e : elements) out.push_back(e.p);
    return out;
  }
  // Five steps over tensors of many sizes; `step(views, t)` runs the kernel, `reference(element, g,
  // t)` the formula.
  template <class Step, class Reference>
  static void compare(DType gradient_dtype, bool master, double factor, Step&& step,
                      Reference&& reference) {
    std::vector<Parameter> parameters;
    for (int64_t n : {5, 0, 1, 16, 33, 20000})
      parameters.push_back(parameter(n, master, 60 + static_cast<uint64_t>(n)));
    for (int t = 1; t <= 5; ++t) {
      for (Parameter& p : parameters) {
        set_gradient(p, gradient_dtype, static_cast<uint64_t>(100 * t + p.value.numel()));
        const std::vector<double> g = to_doubles(p.gradient);
        for (size_t i = 0; i < g.size(); ++i) reference(p.expected[i], factor * g[i], t);
      }
      step(views(parameters), t);
      for (Parameter& p : parameters) {
        // without a master copy a half parameter is rounded at every step
        test::Tolerance allowed =
            test::tolerance(dtype()).times(is_half(dtype()) && !master ? 5 : 2);
        allowed.atol += is_half(dtype()) ? allowed.rtol / 2 : 0;
        expect_close(p.value, values(p.expected), allowed, concat("step ", t));
        if (!master) continue;
        expect_close(p.master, values(p.expected), test::tolerance(DType::f32).times(2),
                     concat("master, step ", t));
        std::vector<double> rounded =
            to_doubles(from_doubles(to_doubles(p.master), p.value.shape(), dtype()));
        EXPECT_EQ(to_doubles(p.value), rounded);
      }
    }
  }
  // Every way a gradient may come: the parameter's dtype, f32 for halves, with and without a master
  // copy.
  template <class Step, class Reference>
  static void compare_all(double factor, Step&& step, Reference&& reference) {
    compare(dtype(), false, factor, step, reference);
    if (!is_half(dtype())) return;
    compare(dtype(), true, factor, step, reference);
    compare(DType::f32, true, factor, step, reference);
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, Optimizer, test::targets(test::float_dtypes, &Backend::optimizer),
                         test::target_name);

TEST_P(Optimizer, Sgd) {
  const SgdParams cases[] = {
      {.learning_rate = 0.1},
      {.learning_rate = 0.1, .weight_decay = 0.05},
      {.learning_rate = 0.1, .momentum = 0.9},
      {.learning_rate = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.05},
      {.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.05, .nesterov = true},
  };
  for (SgdParams params : cases) {
    params.scaling.factor = 0.5;
    compare_all(
        0.5, [&](const auto& tensors, int) { sgd(stream(), tensors, params); },
        [&](Element& e, double g, int) { e.sgd(g, params); });
  }
}

TEST_P(Optimizer, Adam) {
  const AdamParams cases[] = {
      {.learning_rate = 0.01},
      {.learning_rate = 0.01, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.05},
      {.learning_rate = 0.01, .weight_decay = 0.05, .decoupled = true},
  };
  for (AdamParams params : cases) {
    params.scaling.factor = 2;
    compare_all(
        2,
        [&](const auto& tensors, int t) {
          params.step = t;
          adam(stream(), tensors, params);
        },
        [&](Element& e, double g, int t) {
          params.step = t;
          e.adam(g, params);
        });
  }
}

TEST_P(Optimizer, FactorAndSwitchStayOnTheDevice) {
  Parameter p = parameter(100, false, 70), q = parameter(100, false, 70);
  set_gradient(p, dtype(), 71);
  q.gradient = p.gradient;
  const Tensor half = on_device(from_doubles({0.5}, {1}, DType::f64)),
               off = on_device(from_doubles({0}, {}, DType::bool_)),
               on = on_device(from_doubles({1}, {}, DType::bool_));
  const std::vector<double> before = to_doubles(p.value);
  const std::vector<OptimizerTensor> a{p.views()}, b{q.views()};
  SgdParams params{.learning_rate = 0.25, .momentum = 0.5};
  params.scaling = {.factor = 4, .device_factor = half.view(), .enabled = off.view()};
  sgd(stream(), a, params);
  EXPECT_EQ(to_doubles(p.value), before);
  AdamParams adam_params;
  adam_params.scaling.enabled = off.view();
  adam(stream(), a, adam_params);
  EXPECT_EQ(to_doubles(p.value), before);
  EXPECT_EQ(to_doubles(p.first), std::vector<double>(100, 0.0));

  params.scaling.enabled = on.view();
  sgd(stream(), a, params);
  params.scaling = {.factor = 2};
  sgd(stream(), b, params);
  EXPECT_EQ(to_doubles(p.value), to_doubles(q.value));
  EXPECT_NE(to_doubles(p.value), before);
}

TEST_P(Optimizer, WhatChangesFromStepToStepMayBeOnTheDevice) {
  const auto on_device_f64 = [](const auto& numbers) {
    return on_device(from_doubles({numbers.begin(), numbers.end()},
                                  {static_cast<int64_t>(numbers.size())}, DType::f64));
  };
  Parameter p = parameter(100, false, 70), q = parameter(100, false, 70);
  set_gradient(p, dtype(), 71);
  q.gradient = p.gradient;
  const std::vector<OptimizerTensor> a{p.views()}, b{q.views()};
  const auto expect_equal = [&](const char* what) {
    EXPECT_EQ(to_doubles(p.value), to_doubles(q.value)) << what;
    EXPECT_EQ(to_doubles(p.first), to_doubles(q.first)) << what;
  };
  for (const bool nesterov : {false, true}) {
    const SgdParams sgd_params{
        .learning_rate = 0.1, .momentum = 0.9, .dampening = 0.3, .nesterov = nesterov};
    SgdParams others = sgd_params;
    others.learning_rate = 7, others.dampening = 0;
    const Tensor numbers = on_device_f64(sgd_varying(sgd_params));
    others.varying = numbers.view();
    sgd(stream(), a, sgd_params);
    sgd(stream(), b, others);
    expect_equal("sgd");
  }
  const AdamParams adam_params{
      .learning_rate = 0.01, .weight_decay = 0.05, .decoupled = true, .step = 3};
  AdamParams others = adam_params;
  others.learning_rate = 7, others.step = 1;
  const Tensor numbers = on_device_f64(adam_varying(adam_params));
  others.varying = numbers.view();
  adam(stream(), a, adam_params);
  adam(stream(), b, others);
  expect_equal("adam");
  others.varying = on_device_f64(sgd_varying({})).view();
  EXPECT_THROW(adam(stream(), b, others), Error);
}

TEST_P(Optimizer, RunsSideBySideStepByTheirOwnNumbers) {
  constexpr int64_t rows = 5, runs = 3;
  for (const int64_t width : {1, 7, 16}) {
    const Shape whole{rows, runs, width};
    const auto filled = [&](DType type, uint64_t seed) {
      return on_device(test::uniform(whole, type, seed));
    };
    Tensor value = filled(dtype(), 1), gradient = filled(dtype(), 2), first = filled(state(), 3);
    Tensor second = on_device(from_doubles(
        std::vector<double>(static_cast<size_t>(whole.numel()), 0.25), whole, state()));
    std::vector<double> numbers;
    std::vector<AdamParams> of_runs;
    for (int r = 0; r < runs; ++r) {
      of_runs.push_back({.learning_rate = 0.01 * (r + 1),
                         .weight_decay = 0.05,
                         .decoupled = true,
                         .step = r + 1});
      for (const double v : adam_varying(of_runs.back())) numbers.push_back(v);
    }
    const auto part = [&](const Tensor& t, int64_t r) {
      return on_device(t.to(Device::cpu()).select(1, r).clone());
    };
    std::vector<std::vector<double>> alone;
    for (int64_t r = 0; r < runs; ++r) {
      const Tensor p = part(value, r), g = part(gradient, r), m = part(first, r),
                   v = part(second, r);
      const OptimizerTensor own[] = {{p.view(), g.view(), m.view(), v.view(), {}}};
      adam(stream(), own, of_runs[static_cast<size_t>(r)]);
      alone.push_back(to_doubles(p));
    }
    const Tensor varying = on_device(from_doubles(numbers, {runs, 3}, DType::f64));
    AdamParams together{.weight_decay = 0.05, .decoupled = true};
    together.varying = varying.view();
    const OptimizerTensor all[] = {
        {value.view(), gradient.view(), first.view(), second.view(), {}}};
    adam(stream(), all, together);
    for (int64_t r = 0; r < runs; ++r)
      EXPECT_EQ(to_doubles(part(value, r)), alone[static_cast<size_t>(r)]) << "run " << r;
  }
  Parameter p = parameter(8, false, 1);
  set_gradient(p, dtype(), 2);
  const Tensor varying = on_device(from_doubles(std::vector<double>(6, 1), {2, 3}, DType::f64));
  AdamParams params;
  params.varying = varying.view();
  const std::vector<OptimizerTensor> views{p.views()};
  EXPECT_THROW(adam(stream(), views, params), Error) << "a parameter without runs";
}

TEST_P(Optimizer, BitsDoNotDependOnThreads) {
  std::vector<double> results[2];
  for (int threads : {1, 2}) {
    const test::Threads scope(threads);
    std::vector<Parameter> parameters;
    for (int64_t n : {7, 50001, 3}) {
      parameters.push_back(parameter(n, false, 80));
      set_gradient(parameters.back(), dtype(), 81);
    }
    adam(stream(), views(parameters), {.learning_rate = 0.1});
    for (const Parameter& p : parameters)
      for (double v : to_doubles(p.value)) results[threads - 1].push_back(v);
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_P(Optimizer, GlobalNormClipsAndScales) {
  std::vector<Tensor> tensors;
  std::vector<View> list;
  long double squares = 0;
  for (int64_t n : {5, 0, 1, 3000, 40001}) {
    tensors.push_back(on_device(test::uniform({n}, dtype(), 90)));
    list.push_back(tensors.back().view());
    for (double v : to_doubles(tensors.back())) squares += static_cast<long double>(v) * v;
  }
  const double wanted = static_cast<double>(std::sqrt(squares));
  const Tensor norm = empty({}, DType::f64), coefficient = empty({1}, DType::f64);
  double results[2];
  for (int threads : {1, 2}) {
    const test::Threads scope(threads);
    global_norm(stream(), list, norm.view(), 1.5, coefficient.view());
    results[threads - 1] = norm.item();
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_NEAR(results[0], wanted, wanted * (dtype() == DType::f64 ? 1e-14 : 1e-6));
  EXPECT_NEAR(coefficient.item(), 1.5 / (wanted + 1e-6), 1e-6);
  const std::vector<double> before = to_doubles(tensors.back());
  scale(stream(), list, 2, coefficient.view());
  std::vector<double> scaled = before;
  for (double& v : scaled) v *= 2 * coefficient.item();
  expect_close(tensors.back(), scaled);
  global_norm(stream(), list, norm.view(), 1e9, coefficient.view());
  EXPECT_EQ(coefficient.item(), 1);
  EXPECT_NEAR(norm.item(), 3, dtype() == DType::bf16 ? 0.01 : 2e-3);
  global_norm(stream(), {}, norm.view());
  EXPECT_EQ(norm.item(), 0);
}

TEST_P(Optimizer, AllFiniteFindsOneBadElementAnywhere) {
  for (int64_t n : {1, 15, 16, 70, 5000, 70001})
    for (double bad : {INFINITY, -INFINITY, NAN})
      for (int64_t at : {int64_t{0}, n / 2, n - 1}) {
        std::vector<double> values(static_cast<size_t>(n), 65504);
        const Tensor other = on_device(test::uniform({9}, dtype(), 91)),
                     good = on_device(from_doubles(values, {n}, dtype()));
        values[static_cast<size_t>(at)] = bad;
        const Tensor poor = on_device(from_doubles(values, {n}, dtype()));
        EXPECT_TRUE(all_finite(stream(), std::vector{other.view(), good.view()}));
        EXPECT_FALSE(all_finite(stream(), std::vector{other.view(), poor.view(), good.view()}))
            << n << " " << at;
      }
  EXPECT_TRUE(all_finite(stream(), {}));
}

class OptimizerDevice : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, OptimizerDevice,
                         test::targets(test::any_dtype, &Backend::optimizer), test::target_name);

// PyTorch's optimizers, five steps in f64.
TEST_P(OptimizerDevice, FollowsPyTorch) {
  const auto golden = load_safetensors(TESSERA_GOLDEN_DIR "/optimizers.safetensors");
  const auto sgd_case = [](double momentum, double decay, bool nesterov, double dampening = 0) {
    return SgdParams{.learning_rate = 0.1,
                     .momentum = momentum,
                     .dampening = dampening,
                     .weight_decay = decay,
                     .nesterov = nesterov};
  };
  const std::map<std::string, SgdParams> sgds = {
      {"sgd", sgd_case(0, 0, false)},
      {"sgd_decay", sgd_case(0, 0.05, false)},
      {"momentum", sgd_case(0.9, 0, false)},
      {"momentum_dampening", sgd_case(0.9, 0, false, 0.1)},
      {"momentum_decay", sgd_case(0.9, 0.05, false)},
      {"nesterov", sgd_case(0.9, 0, true)},
      {"nesterov_decay", sgd_case(0.9, 0.05, true)}};
  const std::map<std::string, AdamParams> adams = {
      {"adam", {.learning_rate = 0.01}},
      {"adam_decay", {.learning_rate = 0.01, .weight_decay = 0.05}},
      {"adam_betas", {.learning_rate = 0.01, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6}},
      {"adamw", {.learning_rate = 0.01, .weight_decay = 0.05, .decoupled = true}}};
  const std::vector<double> start = to_doubles(golden.at("start")),
                            grads = to_doubles(golden.at("grads"));
  const auto follow = [&](const std::string& name, auto&& step) {
    const Tensor p = on_device(from_doubles(start, {7}, DType::f64)),
                 first = Tensor::zeros({7}, DType::f64, device()),
                 second = Tensor::zeros({7}, DType::f64, device());
    std::vector<double> rows;
    for (int t = 0; t < 5; ++t) {
      const Tensor g = on_device(
          from_doubles({grads.begin() + 7 * t, grads.begin() + 7 * (t + 1)}, {7}, DType::f64));
      const std::vector<OptimizerTensor> list{
          {p.view(), g.view(), first.view(), second.view(), {}}};
      step(list, t + 1);
      for (double v : to_doubles(p)) rows.push_back(v);
    }
    expect_close(rows, to_doubles(golden.at(name + ".params")), {1e-13, 1e-14}, name);
  };
  Stream& s = stream();
  for (const auto& [name, params] : sgds)
    follow(name, [&, params = params](const auto& list, int t) mutable {
      SgdParams now = params;
      if (t == 1) now.dampening = 0;
      sgd(s, list, now);
    });
  for (const auto& [name, params] : adams)
    follow(name, [&, params = params](const auto& list, int t) mutable {
      params.step = t;
      adam(s, list, params);
    });
}

TEST_P(OptimizerDevice, ErrorsNameWhatIsWrong) {
  Stream& s = stream();
  const auto tensor = [](const Shape& shape, DType dtype) {
    return Tensor::zeros(shape, dtype, device());
  };
  const Tensor p = tensor({4, 2}, DType::f32), shorter = tensor({7}, DType::f32),
               half = tensor({4, 2}, DType::f16), wide = tensor({4, 2}, DType::f64),
               integer = tensor({4, 2}, DType::i32);
  const auto fails = [&](OptimizerTensor t,
                         SgdParams params = {.learning_rate = 1, .momentum = 0.5}) {
    EXPECT_THROW(sgd(s, {&t, 1}, params), Error);
  };
  fails({integer.view(), integer.view(), p.view(), {}, {}});
  fails({p.view(), shorter.view(), p.view(), {}, {}});
  fails({p.view(), half.view(), p.view(), {}, {}});
  fails({p.view(), p.view(), wide.view(), {}, {}});
  fails({p.view(), p.view(), {}, {}, {}});
  fails({p.view(), p.view(), p.view(), {}, p.view()});
  fails({half.view(), half.view(), half.view(), {}, {}});
  fails({p.transpose(0, 1).view(), p.view(), p.view(), {}, {}});
  const OptimizerTensor good{p.view(), p.view(), shorter.view(), shorter.view(), {}};
  fails({p.view(), p.view(), p.view(), {}, {}},
        {.learning_rate = 1, .scaling = {.device_factor = p.view()}});
  EXPECT_THROW(adam(s, {&good, 1}, {}), Error);
  EXPECT_THROW(adam(s, {}, {.step = 0}), Error);
  const View list[] = {integer.view()}, strided[] = {p.transpose(0, 1).view()}, fine[] = {p.view()};
  const Tensor norm = tensor({}, DType::f64), flag = tensor({}, DType::bool_);
  EXPECT_THROW(global_norm(s, list, norm.view()), Error);
  EXPECT_THROW(global_norm(s, strided, norm.view()), Error);
  EXPECT_THROW(global_norm(s, fine, flag.view()), Error);
  EXPECT_THROW(scale(s, list, 2), Error);
  EXPECT_THROW(scale(s, fine, 2, flag.view()), Error);
  EXPECT_THROW(all_finite(s, list, flag.view()), Error);
  EXPECT_THROW(all_finite(s, fine, norm.view()), Error);
}

}  // namespace
}  // namespace tessera::kernels
