// Matrix products in floating types and of codes.
#include <cmath>

#include "tessera/bench/kernels/gpu/operands.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/qgemm.hpp"

namespace tessera::bench {
namespace {

Work gemm(int64_t m, int64_t n, int64_t k, bool a_transposed, bool b_transposed, DType dtype,
          kernels::GemmVariant variant) {
  const auto operand = [&](int64_t rows, int64_t columns, bool transposed) {
    return transposed ? uniform({columns, rows}, dtype).transpose(0, 1)
                      : uniform({rows, columns}, dtype);
  };
  const double size = static_cast<double>(size_of(dtype)),
               bytes = size * static_cast<double>(m * k + k * n + m * n);
  return rotating(bytes, 2.0 * static_cast<double>(m) * static_cast<double>(n * k), [&] {
    const Tensor a = operand(m, k, a_transposed), b = operand(k, n, b_transposed),
                 c = empty({m, n}, dtype);
    return Call{[=] {
                  kernels::gemm(stream(), a.view(), b.view(), c.view(),
                                {.deterministic = false, .variant = variant});
                },
                [=] {
                  for (const int64_t i : places(m)) {
                    const Numbers left = row(a, i), got = row(c, i);
                    Numbers some, wanted;
                    for (const int64_t j : places(n)) {
                      some.push_back(got[static_cast<size_t>(j)]);
                      wanted.push_back(dot(left, numbers(b.select(1, j))));
                    }
                    // beside sums as large as they come, so that one near 0 is not measured by
                    // itself
                    some.push_back(0), wanted.push_back(0);
                    const double usual = std::sqrt(static_cast<double>(k)) / 3;
                    some.push_back(usual), wanted.push_back(usual);
                    expect_close(concat("row ", i), some, wanted, rounding(dtype));
                  }
                }};
  });
}

Work qgemm(int64_t m, int64_t n, int64_t k) {
  const double bytes = static_cast<double>(m * k + k * n + 2 * m * n);
  return rotating(bytes, 2.0 * static_cast<double>(m) * static_cast<double>(n * k), [&] {
    const Tensor a = codes({m, k}), b = codes({n, k}), y = empty({m, n}, DType::bf16),
                 a_scale = uniform({m, 1}, DType::f32, 0.5),
                 b_scale = uniform({n, 1}, DType::f32, 0.5);
    return Call{[=] {
                  kernels::qgemm_scaled(stream(), {.codes = a.view(), .scale = a_scale.view()},
                                        {.codes = b.view(), .scale = b_scale.view()}, y.view());
                },
                [=] {
                  const Numbers left = numbers(a_scale), right = numbers(b_scale);
                  for (const int64_t i : places(m))
                    for (const int64_t j : places(n)) {
                      const double sum = dot(row(a, i), row(b, j));
                      expect_close(
                          concat("element ", i, ", ", j),
                          numbers(y.narrow(0, i, 1).narrow(1, j, 1)),
                          {left[static_cast<size_t>(i)] * right[static_cast<size_t>(j)] * sum},
                          rounding(DType::bf16));
                    }
                }};
  });
}

}  // namespace

void add_products() {
  const auto add = [](const char* name, int64_t m, int64_t n, int64_t k, bool ta, bool tb,
                      DType dtype) {
    m = extent(m, 160), n = extent(n, 144), k = extent(k, 96);
    for (const auto variant : {kernels::GemmVariant::own, kernels::GemmVariant::vendor}) {
      const bool vendor = variant == kernels::GemmVariant::vendor;
      if (vendor && small()) continue;
      add_once({.name = name,
                .size = concat(m, "x", n, "x", k),
                .dtype = std::string(to_string(dtype)),
                .variant = vendor ? "vendor" : "",
                .device = device(),
                .prepare = [=] { return gemm(m, n, k, ta, tb, dtype, variant); }});
    }
  };
  for (const DType dtype : {DType::bf16, DType::f16})
    for (const int64_t n : {1024, 2048, 4096, 8192}) add("gemm/nn", n, n, n, false, false, dtype);
  add("gemm/nt", 4096, 4096, 4096, false, true, DType::bf16);
  add("gemm/tn", 4096, 4096, 4096, true, false, DType::bf16);
  add("gemm/tt", 4096, 4096, 4096, true, true, DType::bf16);
  add("gemm/nt", 2048, 4096, 8192, false, true, DType::bf16);
  // layers of large networks, few and many tokens: weights [n, k]
  constexpr int64_t layers[][2] = {{4096, 4096}, {14336, 4096}, {28672, 8192}};
  constexpr int64_t tokens[] = {1, 16, 64, 256};
  for (const auto& [n, k] : layers)
    for (const int64_t m : tokens) add("gemm/nt", m, n, k, false, true, DType::bf16);
  for (const DType dtype : {DType::f32, DType::f64})
    for (const int64_t n : {4096, 8192}) add("gemm/nn", n, n, n, false, false, dtype);

  const auto add_codes = [](int64_t rows, int64_t columns, int64_t depth) {
    const int64_t m = extent(rows, 80), n = extent(columns, 96), k = extent(depth, 128);
    add_once({.name = "qgemm/w8a8",
              .size = concat(m, "x", n, "x", k),
              .dtype = "i8",
              .device = device(),
              .prepare = [=] { return qgemm(m, n, k); }});
  };
  for (const int64_t n : {1024, 2048, 4096, 8192}) add_codes(n, n, n);
  add_codes(2048, 4096, 8192);
  for (const auto& [n, k] : layers)
    for (const int64_t m : tokens) add_codes(m, n, k);
}

}  // namespace tessera::bench
