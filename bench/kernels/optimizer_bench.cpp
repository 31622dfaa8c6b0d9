// Fused optimizer steps over one large parameter and over many small ones; the floor is a plain
// threaded triad of the same traffic.
#include "tessera/kernels/optimizer.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "tessera/bench/support/bandwidth.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {
namespace {

using bench::Work;
using kernels::AdamParams;
using kernels::OptimizerTensor;
using kernels::SgdParams;

Stream& stream() { return current_stream(Device::cpu()); }
Tensor empty(int64_t n) { return Tensor::empty({n}, DType::f32, Device::cpu()); }
Tensor normal(int64_t n, uint64_t seed) {
  const Tensor x = empty(n);
  kernels::normal(stream(), {seed, 0}, 0, 1, x.view());
  return x;
}
Tensor zeros(int64_t n) {
  const Tensor x = empty(n);
  kernels::fill(stream(), 0, x.view());
  return x;
}

/// `count` parameters of n elements each.
struct Parameters {
  std::vector<Tensor> values, gradients, first, second;
  std::vector<OptimizerTensor> views;

  Parameters(int64_t count, int64_t n) {
    for (int64_t i = 0; i < count; ++i) {
      values.push_back(zeros(n)), gradients.push_back(normal(n, static_cast<uint64_t>(i)));
      first.push_back(zeros(n)), second.push_back(zeros(n));
      views.push_back({values.back().view(), gradients.back().view(), first.back().view(),
                       second.back().view(), View{}});
    }
  }
  /// After one step from zero, by the value a gradient gives.
  template <class Wanted>
  void expect(const char* what, Wanted&& wanted) const {
    for (size_t t = 0; t < values.size(); ++t) {
      const auto p = values[t].host<float>(), g = gradients[t].host<float>();
      for (size_t i = 0; i < p.size(); ++i)
        TS_CHECK(std::abs(p[i] - wanted(g[i])) <= 1e-6, what, ": element ", i, " of ", t, " is ",
                 p[i], ", expected ", wanted(g[i]));
    }
  }
};

template <bool decoupled>
Work adam(int64_t count, int64_t n) {
  const auto parameters = std::make_shared<const Parameters>(count, n);
  constexpr AdamParams params{.learning_rate = 1e-3,
                              .epsilon = 1e-8,
                              .weight_decay = decoupled ? 0.01 : 0,
                              .decoupled = decoupled,
                              .step = 1};
  return {.run = [=] { kernels::adam(stream(), parameters->views, params); },
          .check =
              [=] {
                parameters->expect("adam", [&](double g) {
                  return -params.learning_rate * g / (std::abs(g) + params.epsilon);
                });
              },
          .bytes = 28 * static_cast<double>(count * n)};
}

template <bool momentum>
Work sgd(int64_t count, int64_t n) {
  const auto parameters = std::make_shared<const Parameters>(count, n);
  constexpr SgdParams params{.learning_rate = 0.1, .momentum = momentum ? 0.9 : 0};
  return {
      .run = [=] { kernels::sgd(stream(), parameters->views, params); },
      .check =
          [=] { parameters->expect("sgd", [&](double g) { return -params.learning_rate * g; }); },
      .bytes = (momentum ? 20 : 12) * static_cast<double>(count * n)};
}

void add_cases(const char* name, Work (*work)(int64_t, int64_t), double element_bytes) {
  const auto add = [=](int64_t count, int64_t n) {
    const std::string size = count == 1 ? std::to_string(n) : concat(count, "x", n);
    bench::add({.name = name, .size = size, .prepare = [=] { return work(count, n); }});
    const double bytes = element_bytes * static_cast<double>(count * n);
    bench::add({.name = name, .size = size, .variant = bench::floor, .prepare = [=] {
                  return bench::triad_floor(bytes);
                }});
  };
  for (const int64_t n : {1000, 10'000, 100'000, 1'000'000, 16'777'216}) add(1, n);
  add(60, 4000);
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  add_cases("optimizer/adam", adam<false>, 28);
  add_cases("optimizer/adamw", adam<true>, 28);
  add_cases("optimizer/sgd", sgd<false>, 12);
  add_cases("optimizer/sgd_momentum", sgd<true>, 20);
  return bench::main(argc, argv);
}
