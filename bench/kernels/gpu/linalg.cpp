// Eigenvalues and singular values.
#include <algorithm>
#include <cmath>

#include "tessera/bench/kernels/gpu/operands.hpp"
#include "tessera/kernels/linalg.hpp"

namespace tessera::bench {
namespace {

/// Throws unless the columns of q [m, n] are orthonormal.
void expect_orthonormal(const char* what, const Numbers& q, int64_t m, int64_t n, double allowed) {
  for (const int64_t j : places(n))
    for (int64_t k = 0; k < n; ++k) {
      double product = 0;
      for (int64_t i = 0; i < m; ++i)
        product += q[static_cast<size_t>(i * n + j)] * q[static_cast<size_t>(i * n + k)];
      TS_CHECK(std::abs(product - (j == k)) <= allowed, "wrong result: columns ", j, " and ", k,
               " of ", what, " have the product ", product);
    }
}

Work eigh(int64_t matrices, int64_t n, DType dtype, kernels::LinalgVariant variant) {
  const Tensor x = uniform({matrices, n, n}, dtype), w = empty({matrices, n}, dtype),
               v = empty({matrices, n, n}, dtype);
  const auto check = [=] {
    const double allowed = 10 * rounding(dtype);
    for (const int64_t b : places(matrices)) {
      const Numbers a = numbers(x.select(0, b)), values = row(w, b), q = numbers(v.select(0, b));
      expect_orthonormal("v", q, n, n, allowed);
      TS_CHECK(std::is_sorted(values.begin(), values.end()), "wrong result: w does not rise");
      for (const int64_t j : places(n)) {
        Numbers got, wanted;
        for (int64_t i = 0; i < n; ++i) {
          double sum = 0;
          for (int64_t k = 0; k < n; ++k)
            sum += a[static_cast<size_t>(std::max(i, k) * n + std::min(i, k))] *
                   q[static_cast<size_t>(k * n + j)];
          got.push_back(sum);
          wanted.push_back(values[static_cast<size_t>(j)] * q[static_cast<size_t>(i * n + j)]);
        }
        // errors are measured by the matrix, not by an eigenvalue near 0
        got.push_back(std::abs(values.back())), wanted.push_back(std::abs(values.back()));
        expect_close(concat("a v of matrix ", b, ", vector ", j), got, wanted, allowed);
      }
    }
  };
  return {
      .run = [=] { kernels::eigh(stream(), x.view(), w.view(), v.view(), {.variant = variant}); },
      .check = check,
      .bytes = bytes_of({x, v})};
}

Work svd(int64_t matrices, int64_t m, int64_t n, DType dtype, kernels::LinalgVariant variant) {
  const int64_t p = std::min(m, n);
  const Tensor x = uniform({matrices, m, n}, dtype), u = empty({matrices, m, p}, dtype),
               s = empty({matrices, p}, dtype), vt = empty({matrices, p, n}, dtype);
  const auto check = [=] {
    const double allowed = 10 * rounding(dtype);
    for (const int64_t b : places(matrices)) {
      const Numbers values = row(s, b), right = numbers(vt.select(0, b));
      expect_orthonormal("u", numbers(u.select(0, b)), m, p, allowed);
      TS_CHECK(std::is_sorted(values.rbegin(), values.rend()), "wrong result: s does not fall");
      for (const int64_t i : places(m)) {
        const Numbers left = row(u.select(0, b), i);
        Numbers product(static_cast<size_t>(n));
        for (size_t k = 0; k < values.size(); ++k)
          for (size_t j = 0; j < product.size(); ++j)
            product[j] += left[k] * values[k] * right[k * product.size() + j];
        expect_close(concat("u s vt of matrix ", b, ", row ", i), product, row(x.select(0, b), i),
                     allowed);
      }
    }
  };
  return {.run =
              [=] {
                kernels::svd(stream(), x.view(), u.view(), s.view(), vt.view(),
                             {.variant = variant});
              },
          .check = check,
          .bytes = bytes_of({x, u, vt})};
}

}  // namespace

void add_linalg() {
  constexpr auto own = kernels::LinalgVariant::own, vendor = kernels::LinalgVariant::vendor;
  for (const auto variant : {own, vendor}) {
    if (small() && variant == vendor) continue;
    const auto add = [&](const char* name, const Shape& shape, DType dtype, auto&& work) {
      add_once({.name = name,
                .size = text_of(shape),
                .dtype = std::string(to_string(dtype)),
                .variant = variant == vendor ? "vendor" : "",
                .device = device(),
                .prepare = work});
    };
    constexpr int64_t squares[][2] = {{256, 64}, {256, 128}, {64, 256}, {16, 400}, {1, 400}};
    for (const auto& [batch, order] : squares) {
      const int64_t matrices = extent(batch, 2), n = extent(order, 16);
      for (const DType dtype : {DType::f32, DType::f64})
        add("linalg/eigh", {matrices, n, n}, dtype,
            [=] { return eigh(matrices, n, dtype, variant); });
    }
    constexpr int64_t shapes[][3] = {{256, 32, 32}, {1, 200, 200}, {1, 21025, 200}};
    for (const auto& [batch, rows, columns] : shapes) {
      const int64_t matrices = extent(batch, 2), m = extent(rows, 24), n = extent(columns, 16);
      add("linalg/svd", {matrices, m, n}, DType::f32,
          [=] { return svd(matrices, m, n, DType::f32, variant); });
    }
  }
}

}  // namespace tessera::bench
