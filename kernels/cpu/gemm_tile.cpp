#include "tessera/kernels/cpu/gemm_tile.hpp"

#include <array>
#include <cstring>
#include <utility>

#include "tessera/kernels/cpu/transpose.hpp"
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

  // Lanes of the last vector that are columns of c.
  const int64_t edge = p.columns - (vectors - 1) * n;
  if (p.prefetch) {
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      unrolled<vectors>([&](auto v) __attribute__((always_inline)) {
        __builtin_prefetch(p.c + r * p.c_stride + v * n, 1);
      });
    });
  }

  const int64_t steps = p.k, stride = p.a_stride, b_stride = p.b_stride;
  for (int64_t outer = 0; outer < p.outer; ++outer) {
    const T *a = p.a + outer * p.a_outer, *b = p.b + outer * p.b_outer;
    for (int64_t k = 0; k < steps; ++k) {
      Vec<T> x[vectors];
      unrolled<vectors>([&](auto v) __attribute__((always_inline)) {
        x[v] = masked_memory && v == vectors - 1 ? load(b + v * n, edge) : load(b + v * n);
      });
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
  T* c = p.c;
  if constexpr (masked_memory) {
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      unrolled<vectors>([&](auto v) __attribute__((always_inline)) {
        const int64_t lanes = v == vectors - 1 ? edge : n;
        Vec<T> y = sum[r * vectors + v] * alpha;
        if (beta != 0) y += beta * load(c + v * n, lanes);
        store(c + v * n, y, lanes);
      });
      c += c_stride;
    });
    return;
  }
  if (edge < n) {
    alignas(vector_bytes) T tile[rows * vectors * n];
    unrolled<rows * vectors>([&](auto i) __attribute__((always_inline)) {
      store(tile + i * n, sum[i] * alpha);
    });
    store_edge(tile, rows, vectors * n, p);
    return;
  }
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<vectors>([&](auto v) __attribute__((always_inline)) {
      Vec<T> y = sum[r * vectors + v] * alpha;
      if (beta != 0) y += beta * load(c + v * n);
      store(c + v * n, y);
    });
    c += c_stride;
  });
}

template <class T, TileA layout, int vectors>
constexpr auto kernels_by_rows = []<int... r>(std::integer_sequence<int, r...>) {
  return std::array<TileKernel<T>, sizeof...(r)>{multiply_tile<T, r + 1, vectors, layout>...};
}
(std::make_integer_sequence<int, vectors <= tile_vectors ? tile_rows : wide_tile_rows>{});

template <class T, TileA layout>
TileKernel<T> tile_kernel(size_t r, int64_t columns) {
  constexpr int width = Vec<T>::width;
  if constexpr (wide_tile_vectors > tile_vectors) {
    if (columns > 3 * width) return kernels_by_rows<T, layout, 4>[r];
    if (columns > 2 * width) return kernels_by_rows<T, layout, 3>[r];
  }
  return columns > width ? kernels_by_rows<T, layout, 2>[r] : kernels_by_rows<T, layout, 1>[r];
}

}  // namespace

template <class T>
TileKernel<T> tile_kernel(TileA layout, int64_t rows, int64_t columns) {
  const auto r = static_cast<size_t>(rows - 1);
  return layout == TileA::columns ? tile_kernel<T, TileA::columns>(r, columns)
                                  : tile_kernel<T, TileA::rows>(r, columns);
}
template TileKernel<float> tile_kernel(TileA, int64_t, int64_t);
template TileKernel<double> tile_kernel(TileA, int64_t, int64_t);

template <class T, class E>
void pack_panel(const E* x, int64_t stride, int64_t k_stride, int64_t count, int64_t width,
                int64_t k, T* out) {
  if (stride == 1) {
    for (int64_t p = 0; p < k; ++p) copy_padded(x + p * k_stride, count, out + p * width, width);
  } else if (k_stride == 1) {
    transpose(x, stride, count, k, [&](int64_t p, int64_t i, Vec<T> v) {
      T* to = out + p * width + i;
      if (i + Vec<T>::width <= width)
        store(to, v);
      else
        store(to, v, width - i);
    });
    for (int64_t i = Split(count, Vec<T>::width).parts * Vec<T>::width; i < width; ++i)
      for (int64_t p = 0; p < k; ++p) out[p * width + i] = 0;
  } else {
    for (int64_t p = 0; p < k; ++p, x += k_stride, out += width) {
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(x[i * stride]);
      std::fill(out + count, out + width, T(0));
    }
  }
}
template void pack_panel(const float*, int64_t, int64_t, int64_t, int64_t, int64_t, float*);
template void pack_panel(const double*, int64_t, int64_t, int64_t, int64_t, int64_t, double*);
template void pack_panel(const f16*, int64_t, int64_t, int64_t, int64_t, int64_t, float*);
template void pack_panel(const bf16*, int64_t, int64_t, int64_t, int64_t, int64_t, float*);

}  // namespace tessera::kernels::cpu
