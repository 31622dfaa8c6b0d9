// Copies, sums, gelu, casts and random masks, into existing memory; the floor is a plain threaded
// memcpy or triad of the same traffic. The short sizes show what a call costs.
//
// gelu also has a bound of its own. With AVX-512 a vector of 16 takes 17 multiplications and fused
// multiply-adds (one a cycle on Zen 4) beside a division that overlaps them, so 17 cycles: at 3.7
// GHz and two threads 2.4 ms for 16777216 elements, where a copy takes about 3 ms.
#include "tessera/kernels/elementwise.hpp"

#include <cmath>
#include <functional>
#include <string>

#include "tessera/bench/support/bandwidth.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {
namespace {

using bench::Work;

Stream& stream() { return current_stream(Device::cpu()); }
Tensor empty(int64_t n, DType dtype = DType::f32) {
  return Tensor::empty({n}, dtype, Device::cpu());
}
Tensor normal(int64_t n, uint64_t seed) {
  const Tensor x = empty(n);
  kernels::normal(stream(), {seed, 0}, 0, 1, x.view());
  return x;
}

/// |y[i] - wanted(i)| <= allowed max(1, |wanted(i)|) for every element.
void expect(const char* what, const Tensor& y, double allowed,
            const std::function<double(size_t)>& wanted) {
  for_float(y.dtype(), what, [&]<class T>() {
    const auto got = y.host<T>();
    for (size_t i = 0; i < got.size(); ++i) {
      const double g = static_cast<compute_t<T>>(got[i]), w = wanted(i);
      TS_CHECK(std::abs(g - w) <= allowed * std::max(1.0, std::abs(w)), what, ": element ", i,
               " is ", g, ", expected ", w);
    }
  });
}

Work copy(int64_t n, DType from, DType to) {
  const Tensor x = empty(n, from), y = empty(n, to);
  kernels::copy(stream(), normal(n, 1).view(), x.view());
  const double roundoff = to == from || to == DType::f32 ? 0 : to == DType::f16 ? 0x1p-11 : 0x1p-8;
  return {.run = [=] { kernels::copy(stream(), x.view(), y.view()); },
          .check =
              [=] {
                for_float(from, "copy", [&]<class T>() {
                  expect("copy", y, roundoff, [v = x.host<T>()](size_t i) {
                    return static_cast<double>(static_cast<compute_t<T>>(v[i]));
                  });
                });
              },
          .bytes = static_cast<double>(n) * static_cast<double>(size_of(from) + size_of(to))};
}

Work add(int64_t n) {
  const Tensor a = normal(n, 1), b = normal(n, 2), y = empty(n);
  return {
      .run =
          [=] { kernels::binary(stream(), kernels::BinaryOp::add, a.view(), b.view(), y.view()); },
      .check =
          [=] {
            expect("add", y, 0x1p-23, [u = a.host<float>(), v = b.host<float>()](size_t i) {
              return double{u[i]} + v[i];
            });
          },
      .bytes = 12 * static_cast<double>(n)};
}

Work gelu(int64_t n) {
  const Tensor x = normal(n, 1), y = empty(n);
  return {.run = [=] { kernels::unary(stream(), kernels::UnaryOp::gelu, x.view(), y.view()); },
          .check =
              [=] {
                expect("gelu", y, 1e-6, [v = x.host<float>()](size_t i) {
                  return v[i] * std::erfc(-v[i] / std::sqrt(2.0)) / 2;
                });
              },
          .bytes = 8 * static_cast<double>(n)};
}

Work gelu_gradient(int64_t n) {
  const Tensor g = normal(n, 2), x = normal(n, 1), y = empty(n);
  return {.run =
              [=] {
                kernels::binary(stream(), kernels::BinaryOp::gelu_gradient, g.view(), x.view(),
                                y.view());
              },
          .check =
              [=] {
                expect("gelu_gradient", y, 1e-6,
                       [u = g.host<float>(), v = x.host<float>()](size_t i) {
                         const double at = v[i], below = std::erfc(-at / std::sqrt(2.0)) / 2;
                         return u[i] * (below + at * 0.3989422804014327 * std::exp(-at * at / 2));
                       });
              },
          .bytes = 12 * static_cast<double>(n)};
}

Work bernoulli(int64_t n) {
  const Tensor y = empty(n);
  return {.run =
              [=] {
                kernels::bernoulli(stream(), {3, 0}, 0.1, y.view());
              },
          .check =
              [=] {
                int64_t ones = 0;
                for (const float v : y.host<float>()) ones += v == 1;
                const double mean = static_cast<double>(ones) / static_cast<double>(n);
                TS_CHECK(std::abs(mean - 0.1) < 2 / std::sqrt(n), "bernoulli: mean ", mean);
              },
          .bytes = 4 * static_cast<double>(n)};
}

Work dropout(int64_t n) {
  const Tensor x = normal(n, 1), y = empty(n), dropped = empty(n);
  constexpr RngState state{3, 0};
  return {.run = [=] { kernels::dropout(stream(), state, 0.1, x.view(), y.view()); },
          .check =
              [=] {
                kernels::bernoulli(stream(), state, 0.1, dropped.view());
                expect("dropout", y, 1e-6,
                       [v = x.host<float>(), d = dropped.host<float>()](size_t i) {
                         return (1 - d[i]) * v[i] / 0.9;
                       });
              },
          .bytes = 8 * static_cast<double>(n)};
}

/// `work` and its floor on n elements of `element_bytes`.
void add_cases(const char* name, const char* dtype, int64_t n, double element_bytes,
               std::function<Work()> work, Work (*floor)(double)) {
  const std::string size = std::to_string(n);
  bench::add({.name = name, .size = size, .dtype = dtype, .prepare = std::move(work)});
  const double bytes = element_bytes * static_cast<double>(n);
  bench::add({.name = name, .size = size, .dtype = dtype, .variant = bench::floor, .prepare = [=] {
                return floor(bytes);
              }});
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  constexpr DType f32 = DType::f32;
  for (const int64_t n : {1000, 10'000, 100'000, 1'000'000, 16'777'216}) {
    const auto of = [n](auto&& work, auto... more) { return [=] { return work(n, more...); }; };
    add_cases("memory/copy", "f32", n, 8, of(copy, f32, f32), bench::copy_floor);
    add_cases("elementwise/add", "f32", n, 12, of(add), bench::triad_floor);
    add_cases("elementwise/gelu", "f32", n, 8, of(gelu), bench::copy_floor);
    add_cases("elementwise/gelu_gradient", "f32", n, 12, of(gelu_gradient), bench::triad_floor);
    add_cases("elementwise/cast", "f32->f16", n, 6, of(copy, f32, DType::f16), bench::copy_floor);
    add_cases("elementwise/cast", "f32->bf16", n, 6, of(copy, f32, DType::bf16), bench::copy_floor);
    add_cases("elementwise/cast", "f16->f32", n, 6, of(copy, DType::f16, f32), bench::copy_floor);
    add_cases("elementwise/cast", "bf16->f32", n, 6, of(copy, DType::bf16, f32), bench::copy_floor);
    add_cases("random/bernoulli", "f32", n, 4, of(bernoulli), bench::copy_floor);
    add_cases("random/dropout", "f32", n, 8, of(dropout), bench::copy_floor);
  }
  return bench::main(argc, argv);
}
