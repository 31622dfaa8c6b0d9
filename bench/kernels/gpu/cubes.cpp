// What an economy SVD of a cube is made of, pixels x bands: the Gram matrix, and the scores
// x v on its eigenvectors. `vendor` makes them as RAFT's svdEig does, of the toolkit's product and
// eigenvalues in the dtype of x; cuSOLVER's own singular values are cases of bench_toolkit.
#include <algorithm>

#include "tessera/bench/kernels/gpu/operands.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/linalg.hpp"

namespace tessera::bench {
namespace {

/// Column `j` of a matrix.
Numbers column(const Tensor& matrix, int64_t j) {
  const Tensor one = matrix.narrow(1, j, 1).clone();
  if (one.dtype() != DType::u16) return numbers(one);
  const auto values = one.values<uint16_t>();
  return {values.begin(), values.end()};
}

Tensor pixels(int64_t m, int64_t n, DType dtype, bool by_band) {
  const Shape shape = by_band ? Shape{n, m} : Shape{m, n};
  Tensor x = dtype == DType::u16 ? Tensor() : uniform(shape, dtype);
  if (dtype == DType::u16) {
    std::vector<uint16_t> values(static_cast<size_t>(shape.numel()));
    uint64_t i = 0;
    for (uint16_t& v : values) v = static_cast<uint16_t>(splitmix64(3, i++) >> 50);  // 14 bits
    x = Tensor::from(values, shape, device());
  }
  return by_band ? x.transpose(0, 1) : x;
}

Work gram(int64_t m, int64_t n, DType dtype, bool by_band, bool exact) {
  const double bytes = static_cast<double>(m * n) * static_cast<double>(size_of(dtype)),
               flops = static_cast<double>(m) * static_cast<double>(n * (n + 1));
  return rotating(bytes, flops, [=] {
    const Tensor x = pixels(m, n, dtype, by_band),
                 g = empty({n, n}, exact ? DType::i64 : DType::f64);
    return Call{.run = [=] { kernels::gram(stream(), x.view(), g.view()); },
                .check =
                    [=] {
                      for (const int64_t i : places(n))
                        for (const int64_t j : places(n)) {
                          const double wanted = dot(column(x, i), column(x, j));
                          const double got =
                              exact ? static_cast<double>(
                                          g.values<int64_t>()[static_cast<size_t>(i * n + j)])
                                    : row(g, i)[static_cast<size_t>(j)];
                          expect_close(concat("g of bands ", i, " and ", j), {got, wanted},
                                       {wanted, wanted}, exact ? 0 : rounding(DType::f64));
                        }
                    }};
  });
}

Work scores(int64_t m, int64_t n, int64_t k, bool own) {
  const DType dtype = own ? DType::f64 : DType::f32;
  const Tensor x = uniform({m, n}, DType::f32), y = empty({m, k}, DType::f32),
               g = empty({n, n}, dtype), w = empty({n}, dtype), v = empty({n, n}, dtype),
               basis = empty({n, k}, dtype);
  const Tensor first = v.narrow(1, n - k, k);
  const auto run = [=] {
    const auto variant = own ? kernels::LinalgVariant::own : kernels::LinalgVariant::vendor;
    const kernels::GemmParams vendor{.variant = kernels::GemmVariant::vendor};
    if (own)
      kernels::gram(stream(), x.view(), g.view());
    else
      kernels::gemm(stream(), x.transpose(0, 1).view(), x.view(), g.view(), vendor);
    kernels::eigh(stream(), g.view(), w.view(), v.view(), {.variant = variant});
    kernels::copy(stream(), first.view(), basis.view());
    if (own)
      kernels::project(stream(), x.view(), basis.view(), y.view());
    else
      kernels::gemm(stream(), x.view(), basis.view(), y.view(), vendor);
  };
  const auto check = [=] {
    const Numbers values = numbers(w);
    TS_CHECK(std::is_sorted(values.begin(), values.end()), "wrong result: w does not rise");
    for (const int64_t p : places(m)) {
      const Numbers from = row(x, p);
      Numbers wanted;
      for (int64_t j = 0; j < k; ++j) wanted.push_back(dot(from, column(basis, j)));
      expect_close(concat("scores of pixel ", p), row(y, p), wanted, rounding(DType::f32));
    }
    // the scores of an eigenvector have its eigenvalue as their squared length
    for (const int64_t j : places(k)) {
      const Numbers of_vector = column(y, j);
      const double got = dot(of_vector, of_vector), wanted = values[static_cast<size_t>(n - k + j)];
      expect_close(concat("squared length of scores ", j), {got}, {wanted}, 1e-3);
    }
  };
  return {.run = run,
          .check = check,
          .bytes = 2 * bytes_of({x}) + bytes_of({y}),
          .flops = static_cast<double>(m * n) * static_cast<double>(n + 1 + 2 * k)};
}

}  // namespace

void add_cubes() {
  const auto add = [](const char* name, const Shape& shape, DType dtype, const char* variant,
                      auto&& work) {
    add_once({.name = name,
              .size = text_of(shape),
              .dtype = std::string(to_string(dtype)),
              .variant = variant,
              .device = device(),
              .prepare = work});
  };
  // Indian Pines, Pavia University, a large scene, a very long one
  constexpr int64_t scenes[][2] = {{21025, 200}, {207400, 103}, {1000000, 200}, {10000, 400}};
  for (const auto& [pixels_of, bands_of] : scenes) {
    const int64_t m = extent(pixels_of, 100), n = extent(bands_of, 24);
    for (const DType dtype : {DType::f32, DType::u16})
      for (const bool by_band : {false, true}) {
        add("spectral/gram", {m, n}, dtype, by_band ? "by_band" : "",
            [=] { return gram(m, n, dtype, by_band, false); });
        if (dtype == DType::u16)
          add("spectral/gram_exact", {m, n}, dtype, by_band ? "by_band" : "",
              [=] { return gram(m, n, dtype, by_band, true); });
      }
    for (const int64_t k : {int64_t{16}, n}) {
      add("spectral/scores", {m, n, k}, DType::f32, "", [=] { return scores(m, n, k, true); });
      if (!small())
        add("spectral/scores", {m, n, k}, DType::f32, "vendor",
            [=] { return scores(m, n, k, false); });
    }
  }
}

}  // namespace tessera::bench
