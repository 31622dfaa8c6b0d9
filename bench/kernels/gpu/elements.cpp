// What memory bounds.
#include <cmath>

#include "tessera/bench/kernels/gpu/operands.hpp"
#include "tessera/kernels/elementwise.hpp"
#include "tessera/kernels/reduce.hpp"
#include "tessera/kernels/rowwise.hpp"
#include "tessera/kernels/sort.hpp"

namespace tessera::bench {
namespace {

/// A case of a kernel that memory bounds, and its floor: a copy that moves as many bytes.
void add_streaming(const char* name, const Shape& shape, DType dtype,
                   const std::function<Call()>& make, double bytes) {
  const auto add = [&](const char* variant, const std::function<Call()>& what) {
    bench::add({.name = name,
                .size = text_of(shape),
                .dtype = std::string(to_string(dtype)),
                .variant = variant,
                .device = device(),
                .prepare = [=] { return rotating(bytes, 0, what); }});
  };
  add("", make);
  add(bench::floor, [=] {
    const Shape half{static_cast<int64_t>(bytes / 8)};
    const Tensor x = uniform(half, DType::f32), y = empty(half, DType::f32);
    return Call{[=] { kernels::copy(stream(), x.view(), y.view()); },
                [=] {
                  expect_elements("copy", y, {x},
                                  [](const auto& in, size_t i) { return in[0][i]; });
                }};
  });
}

/// The same for each row of y: formula(row of x) is what it should be.
template <class Formula>
void expect_rows(const char* what, const Tensor& y, const Tensor& x, Formula&& formula) {
  for (const int64_t i : places(y.size(0)))
    expect_close(concat(what, " of row ", i), row(y, i), formula(row(x, i)), rounding(y.dtype()));
}

}  // namespace

void add_elements() {
  const int64_t n = extent(int64_t{1} << 27, 4096);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Shape shape{n};
    const double bytes = static_cast<double>(n * static_cast<int64_t>(size_of(dtype)));
    add_streaming(
        "copy/contiguous", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty(shape, dtype);
          return Call{[=] { kernels::copy(stream(), x.view(), y.view()); },
                      [=] {
                        expect_elements("copy", y, {x},
                                        [](const auto& in, size_t i) { return in[0][i]; });
                      }};
        },
        2 * bytes);
    add_streaming(
        "elementwise/add", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = uniform(shape, dtype),
                       z = empty(shape, dtype);
          return Call{
              [=] {
                kernels::binary(stream(), kernels::BinaryOp::add, x.view(), y.view(), z.view());
              },
              [=] {
                expect_elements("sum", z, {x, y},
                                [](const auto& in, size_t i) { return in[0][i] + in[1][i]; });
              }};
        },
        3 * bytes);
    add_streaming(
        "elementwise/gelu", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty(shape, dtype);
          return Call{[=] { kernels::unary(stream(), kernels::UnaryOp::gelu, x.view(), y.view()); },
                      [=] {
                        expect_elements("gelu", y, {x}, [](const auto& in, size_t i) {
                          return in[0][i] * std::erfc(-in[0][i] / std::sqrt(2.0)) / 2;
                        });
                      }};
        },
        2 * bytes);
    add_streaming(
        "reduce/sum", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype, 0, 1), y = empty({1}, dtype);
          return Call{
              [=] { kernels::reduce(stream(), kernels::ReduceOp::sum, x.view(), y.view()); },
              [=] {
                double sum = 0;
                constexpr int64_t step = 1 << 24;
                for (int64_t at = 0; at < n; at += step)
                  for (const double v : numbers(x.narrow(0, at, std::min(step, n - at)))) sum += v;
                expect_close("sum", numbers(y), {sum}, rounding(dtype));
              }};
        },
        bytes);
  }
}

void add_rows() {
  const int64_t rows = extent(16384, 16), width = extent(4096, 256);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Shape shape{rows, width};
    const double bytes = static_cast<double>(shape.numel() * static_cast<int64_t>(size_of(dtype)));
    add_streaming(
        "rowwise/softmax", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty(shape, dtype);
          return Call{[=] { kernels::softmax(stream(), x.view(), y.view()); },
                      [=] {
                        expect_rows("softmax", y, x, [](Numbers v) {
                          double sum = 0;
                          for (double& e : v) sum += e = std::exp(e);
                          for (double& e : v) e /= sum;
                          return v;
                        });
                      }};
        },
        2 * bytes);
    add_streaming(
        "rowwise/layer_norm", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty(shape, dtype),
                       gamma = uniform({width}, dtype), beta = uniform({width}, dtype);
          return Call{[=] {
                        kernels::layer_norm(stream(), x.view(), gamma.view(), beta.view(), 1e-5,
                                            y.view());
                      },
                      [=] {
                        const Numbers scale = numbers(gamma), shift = numbers(beta);
                        expect_rows("layer_norm", y, x, [&](Numbers v) {
                          const Numbers ones(v.size(), 1 / static_cast<double>(v.size()));
                          const double mean = dot(v, ones);
                          for (double& e : v) e -= mean;
                          double variance = 0;
                          for (const double e : v)
                            variance += e * e / static_cast<double>(v.size());
                          for (size_t i = 0; i < v.size(); ++i)
                            v[i] = v[i] / std::sqrt(variance + 1e-5) * scale[i] + shift[i];
                          return v;
                        });
                      }};
        },
        2 * bytes);
  }
}

void add_order() {
  const int64_t n = extent(int64_t{1} << 24, 4096);
  add_streaming(
      "sort/sort", {n}, DType::f32,
      [=] {
        const Tensor x = uniform({n}, DType::f32), y = empty({n}, DType::f32);
        return Call{[=] { kernels::sort(stream(), x.view(), y.view(), {}); },
                    [=] {
                      std::vector<float> wanted = x.values<float>();
                      std::sort(wanted.begin(), wanted.end());
                      TS_CHECK(y.values<float>() == wanted, "wrong result: not x in order");
                    }};
      },
      8 * static_cast<double>(n));
}

}  // namespace tessera::bench
