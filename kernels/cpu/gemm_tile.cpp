#include "tessera/kernels/cpu/gemm_tile.hpp"

#include <array>
#include <cstring>
#include <utility>

#include "tessera/runtime/half.hpp"

namespace tessera::kernels::cpu {
namespace {

template <class T>
[[gnu::noinline]] void store_edge(const T* tile, int rows, int tile_stride,
                                  const TileProduct<T>& p) {
  for (int r = 0; r < rows; ++r) {
    const T* from = tile + r * tile_stride;
    T* to = p.c + r * p.c_stride;
    if (p.beta == 0) {
      std::memcpy(to, from, static_cast<size_t>(p.columns) * sizeof(T));
    } else {
      for (int64_t j = 0; j < p.columns; ++j) to[j] = from[j] + p.beta * to[j];
    }
  }
}

template <class T, int rows, int vectors, TileA layout>
void multiply_tile(const TileProduct<T>& p) {
  constexpr int n = Vec<T>::width;
  Vec<T> sum[rows * vectors];
  unrolled<rows * vectors>([&](auto i) __attribute__((always_inline)) { sum[i] = Vec<T>(T(0)); });

  const int64_t steps = p.k, stride = p.a_stride, b_stride = p.b_stride;
  for (int64_t outer = 0; outer < p.outer; ++outer) {
    const T *a = p.a + outer * p.a_outer, *b = p.b + outer * p.b_outer;
    for (int64_t k = 0; k < steps; ++k) {
      Vec<T> x[vectors];
      unrolled<vectors>([&](auto v) __attribute__((always_inline)) { x[v] = load(b + v * n); });
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        const T y = a[layout == TileA::columns ? r : r * stride];
        unrolled<vectors>([&](auto v)
                              __attribute__((always_inline)) { sum[r * vectors + v] += y * x[v]; });
      });
      a += layout == TileA::columns ? stride : 1;
      b += b_stride;
    }
  }

  const T alpha = p.alpha, beta = p.beta;
  const int64_t c_stride = p.c_stride;
  if (p.columns < vectors * n) {
    alignas(vector_bytes) T tile[rows * vectors * n];
    unrolled<rows * vectors>([&](auto i) __attribute__((always_inline)) {
      store(tile + i * n, sum[i] * alpha);
    });
    store_edge(tile, rows, vectors * n, p);
    return;
  }
  T* c = p.c;
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<vectors>([&](auto v) __attribute__((always_inline)) {
      Vec<T> y = sum[r * vectors + v] * alpha;
      if (beta != 0) y += beta * load(c + v * n);
      store(c + v * n, y);
    });
    c += c_stride;
  });
}

template <class T, int vectors, TileA layout>
constexpr auto kernels_by_rows = []<int... r>(std::integer_sequence<int, r...>) {
  return std::array<TileKernel<T>, tile_rows>{multiply_tile<T, r + 1, vectors, layout>...};
}
(std::make_integer_sequence<int, tile_rows>{});

}  // namespace

template <class T>
TileKernel<T> tile_kernel(TileA layout, int64_t rows, int64_t columns) {
  const auto r = static_cast<size_t>(rows - 1);
  if (columns > Vec<T>::width)
    return layout == TileA::columns ? kernels_by_rows<T, 2, TileA::columns>[r]
                                    : kernels_by_rows<T, 2, TileA::rows>[r];
  return layout == TileA::columns ? kernels_by_rows<T, 1, TileA::columns>[r]
                                  : kernels_by_rows<T, 1, TileA::rows>[r];
}
template TileKernel<float> tile_kernel(TileA, int64_t, int64_t);
template TileKernel<double> tile_kernel(TileA, int64_t, int64_t);

template <class T, class E>
void pack_panel(const E* x, int64_t stride, int64_t k_stride, int64_t count, int64_t width,
                int64_t k, T* out) {
  for (int64_t p = 0; p < k; ++p) {
    const E* from = x + p * k_stride;
    T* to = out + p * width;
    if (stride == 1) {
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[i * stride]);
    }
    for (int64_t i = count; i < width; ++i) to[i] = 0;
  }
}
template void pack_panel(const float*, int64_t, int64_t, int64_t, int64_t, int64_t, float*);
template void pack_panel(const double*, int64_t, int64_t, int64_t, int64_t, int64_t, double*);
template void pack_panel(const f16*, int64_t, int64_t, int64_t, int64_t, int64_t, float*);
template void pack_panel(const bf16*, int64_t, int64_t, int64_t, int64_t, int64_t, float*);

}  // namespace tessera::kernels::cpu
