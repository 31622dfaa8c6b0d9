// Scaled-dot-product attention without masks; outputs are allocated in the timed call, as peers do.
#include "tessera/kernels/attention.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "tessera/bench/support/bench.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {
namespace {

Stream& stream() { return current_stream(Device::cpu()); }
Tensor empty(const Shape& shape) { return Tensor::empty(shape, DType::f32, Device::cpu()); }
Tensor random(const Shape& shape, uint64_t seed) {
  Tensor t = empty(shape);
  Rng rng(seed);
  for (float& v : t.host_mutable<float>()) v = static_cast<float>(2 * rng.uniform() - 1);
  return t;
}

bench::Work attention(const Shape& shape, bool backward) {
  const Tensor q = random(shape, 1), k = random(shape, 2), v = random(shape, 3),
               gy = random(shape, 4);
  const int64_t tokens = q.size(-2), dim = q.size(-1), heads = shape.numel() / (tokens * dim);
  const kernels::AttentionParams p{.scale = 1 / std::sqrt(static_cast<double>(dim))};
  const Shape rows(std::span<const int64_t>(shape.begin(), static_cast<size_t>(shape.rank() - 1)));
  const auto run = [=] {
    Tensor y = empty(shape);
    const Tensor lse = empty(rows);
    kernels::attention(stream(), q.view(), k.view(), v.view(), {}, p, y.view(), lse.view());
    if (!backward) return y;
    const Tensor gq = empty(shape), gk = empty(shape), gv = empty(shape);
    kernels::attention_gradient(stream(), q.view(), k.view(), v.view(), {}, p, y.view(), lse.view(),
                                gy.view(), gq.view(), gk.view(), gv.view());
    return gv;
  };
  // Forward: the first output. Gradient: a query's probabilities sum to 1, so gv and gy have one
  // sum.
  const auto check = [=] {
    double got = 0, wanted = 0;
    const Tensor result = run();
    if (backward) {
      for (const float x : result.host<float>()) got += static_cast<double>(x);
      for (const float x : gy.host<float>()) wanted += static_cast<double>(x);
    } else {
      const float *query = q.host<float>().data(), *key = k.host<float>().data(),
                  *value = v.host<float>().data();
      double total = 0;
      for (int64_t j = 0; j < tokens; ++j) {
        double score = 0;
        for (int64_t d = 0; d < dim; ++d) score += query[d] * key[j * dim + d];
        const double weight = std::exp(score * p.scale);
        total += weight;
        wanted += weight * value[j * dim];
      }
      got = result.host<float>()[0];
      wanted /= total;
    }
    TS_CHECK(std::abs(got - wanted) <= (backward ? 0.1 : 1e-4), "attention gives ", got,
             ", expected ", wanted);
  };
  const double product = 2.0 * static_cast<double>(heads * tokens * tokens * dim);
  return {.run = run,
          .check = check,
          .bytes = static_cast<double>(shape.numel()) * 4 * (backward ? 12 : 4),
          .flops = product * (backward ? 7 : 2)};
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  const std::pair<const char*, Shape> sizes[] = {{"8x12x197x64", {8, 12, 197, 64}},
                                                 {"96x197x64", {96, 197, 64}},
                                                 {"1x16x1024x64", {1, 16, 1024, 64}}};
  for (const auto& [size, shape] : sizes)
    for (const bool backward : {false, true})
      bench::add({.name = backward ? "attention/sdpa_fwd_bwd" : "attention/sdpa",
                  .size = size,
                  .prepare = [shape = shape, backward] { return attention(shape, backward); }});
  return bench::main(argc, argv);
}
