// What memory bounds.
#include <cmath>

#include "tessera/bench/kernels/gpu/operands.hpp"
#include "tessera/kernels/elementwise.hpp"
#include "tessera/kernels/reduce.hpp"
#include "tessera/kernels/rowwise.hpp"
#include "tessera/kernels/sort.hpp"

namespace tessera::bench {
namespace {

void add_variant(const char* variant, const char* name, const Shape& shape, DType dtype,
                 const std::function<Call()>& make, double bytes) {
  bench::add({.name = name,
              .size = text_of(shape),
              .dtype = std::string(to_string(dtype)),
              .variant = variant,
              .device = device(),
              .prepare = [=] { return rotating(bytes, 0, make); }});
}

/// A case of a kernel that memory bounds, and its floor: a copy that moves as many bytes.
void add_streaming(const char* name, const Shape& shape, DType dtype,
                   const std::function<Call()>& make, double bytes) {
  add_variant("", name, shape, dtype, make, bytes);
  const auto copy = [=] {
    const Shape half{static_cast<int64_t>(bytes / 8)};
    const Tensor x = uniform(half, DType::f32), y = empty(half, DType::f32);
    return Call{[=] { kernels::copy(stream(), x.view(), y.view()); },
                [=] {
                  expect_elements("copy", y, {x},
                                  [](const auto& in, size_t i) { return in[0][i]; });
                }};
  };
  add_variant(bench::floor, name, shape, dtype, copy, bytes);
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

namespace {

/// A case of the sort family, Thrust's beside ours: make(variant).
void add_ordering(const char* name, int64_t n, DType dtype, double bytes,
                  const std::function<Call(kernels::SortVariant)>& make) {
  using kernels::SortVariant;
  add_streaming(
      name, {n}, dtype, [=] { return make(SortVariant::own); }, bytes);
  if (!small())
    add_variant(
        "vendor", name, {n}, dtype, [=] { return make(SortVariant::vendor); }, bytes);
}

}  // namespace

void add_order() {
  using kernels::SortVariant;
  const int64_t n = extent(int64_t{1} << 24, 4096);
  const auto elements = static_cast<double>(n);
  add_ordering("sort/sort", n, DType::f32, 8 * elements, [=](SortVariant variant) {
    const Tensor x = uniform({n}, DType::f32), y = empty({n}, DType::f32);
    return Call{[=] { kernels::sort(stream(), x.view(), y.view(), {}, {.variant = variant}); },
                [=] {
                  std::vector<float> wanted = x.values<float>();
                  std::sort(wanted.begin(), wanted.end());
                  TS_CHECK(y.values<float>() == wanted, "wrong result: not x in order");
                }};
  });
  add_ordering("sort/argsort", n, DType::f32, 8 * elements, [=](SortVariant variant) {
    const Tensor x = uniform({n}, DType::f32), index = empty({n}, DType::i32);
    return Call{[=] { kernels::sort(stream(), x.view(), {}, index.view(), {.variant = variant}); },
                [=] {
                  const auto values = x.values<float>();
                  std::vector<float> fetched;
                  for (const int32_t i : index.values<int32_t>())
                    fetched.push_back(values.at(static_cast<size_t>(i)));
                  std::vector<float> wanted = values;
                  std::sort(wanted.begin(), wanted.end());
                  TS_CHECK(fetched == wanted, "wrong result: not the order of x");
                }};
  });
  add_ordering("sort/scan", n, DType::f32, 8 * elements, [=](SortVariant variant) {
    const Tensor x = uniform({n}, DType::f32), y = empty({n}, DType::f32);
    return Call{
        [=] { kernels::scan(stream(), x.view(), y.view(), {.variant = variant}); },
        [=] {
          const auto from = x.values<float>(), sums = y.values<float>();
          double sum = 0;
          for (size_t i = 0; i < from.size(); ++i) {
            sum += static_cast<double>(from[i]);
            TS_CHECK(std::fabs(static_cast<double>(sums[i]) - sum) <= 1e-6 * (1 + std::fabs(sum)),
                     "wrong result: sum ", i, " is ", sums[i], ", not ", sum);
          }
        }};
  });
  add_ordering("sort/unique", n, DType::i32, 16 * elements, [=](SortVariant variant) {
    const Tensor x = cast(uniform({n}, DType::f32, 0, 1e6), DType::i32), y = empty({n}, DType::i32),
                 inverse = empty({n}, DType::i64), count = empty({1}, DType::i64);
    return Call{[=] {
                  kernels::unique(stream(), x.view(), y.view(), inverse.view(), {}, count.view(),
                                  variant);
                },
                [=] {
                  const auto from = x.values<int32_t>(), values = y.values<int32_t>();
                  const auto group = inverse.values<int64_t>();
                  TS_CHECK(std::set(from.begin(), from.end()).size() ==
                               static_cast<size_t>(count.values<int64_t>()[0]),
                           "wrong result: not as many as there are");
                  for (size_t i = 0; i < from.size(); ++i)
                    TS_CHECK(values.at(static_cast<size_t>(group[i])) == from[i],
                             "wrong result: element ", i, " is not its value");
                }};
  });
}

}  // namespace tessera::bench
