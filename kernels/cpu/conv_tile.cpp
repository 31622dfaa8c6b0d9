#include "tessera/kernels/cpu/conv_tile.hpp"

#include <array>
#include <cstring>
#include <utility>

namespace tessera::kernels::cpu {
namespace {

// Two half vectors side by side.
template <class T>
[[gnu::always_inline]] inline Vec<T> load_halves(const T* low, const T* high) {
  constexpr int n = Vec<T>::width;
  detail::native_t<T, n / 2> a, b;
  std::memcpy(&a, low, sizeof a);
  std::memcpy(&b, high, sizeof b);
  return [&]<int... i>(std::integer_sequence<int, i...>) {
    return Vec<T>(__builtin_shufflevector(a, b, i...));
  }
  (std::make_integer_sequence<int, n>{});
}

template <class T>
[[gnu::noinline]] void store_edge(const T* tile, int rows, int tile_stride,
                                  const GatheredProduct<T>& p) {
  for (int r = 0; r < rows; ++r)
    std::memcpy(p.c + r * p.c_stride, tile + r * tile_stride,
                static_cast<size_t>(p.columns) * sizeof(T));
}

template <class T, int rows, int vectors, bool halves>
void multiply_gathered(const GatheredProduct<T>& p) {
  constexpr int n = Vec<T>::width;
  Vec<T> sum[rows * vectors];
  unrolled<rows * vectors>([&](auto i) __attribute__((always_inline)) { sum[i] = Vec<T>(T(0)); });

  const T* a = p.a;
  const T* const b0 = p.b + p.piece[0];
  const int64_t piece1 = p.piece[1] - p.piece[0], piece2 = p.piece[2] - p.piece[0],
                piece3 = p.piece[3] - p.piece[0];
  const int32_t* const offset = p.offset;
  const int64_t steps = p.k;
  for (int64_t k = 0; k < steps; ++k) {
    const T* b = b0 + offset[k];
    Vec<T> x[vectors];
    if constexpr (halves) {
      x[0] = load_halves(b, b + piece1);
      if constexpr (vectors == 2) x[1] = load_halves(b + piece2, b + piece3);
    } else {
      x[0] = load(b);
      if constexpr (vectors == 2) x[1] = load(b + piece1);
    }
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      const T y = a[r];
      unrolled<vectors>([&](auto v)
                            __attribute__((always_inline)) { sum[r * vectors + v] += y * x[v]; });
    });
    a += rows;
  }

  if (p.columns < vectors * n) {
    alignas(vector_bytes) T tile[rows * vectors * n];
    unrolled<rows * vectors>([&](auto i)
                                 __attribute__((always_inline)) { store(tile + i * n, sum[i]); });
    store_edge(tile, rows, vectors * n, p);
    return;
  }
  T* c = p.c;
  const int64_t c_stride = p.c_stride;
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<vectors>([&](auto v) __attribute__((always_inline)) {
      store(c + v * n, sum[r * vectors + v]);
    });
    c += c_stride;
  });
}

template <class T, int vectors, bool halves>
constexpr auto kernels_by_rows = []<int... r>(std::integer_sequence<int, r...>) {
  return std::array<GatheredKernel<T>, tile_rows>{multiply_gathered<T, r + 1, vectors, halves>...};
}
(std::make_integer_sequence<int, tile_rows>{});

}  // namespace

template <class T>
GatheredKernel<T> gathered_kernel(int64_t rows, int64_t columns, bool halves) {
  const auto r = static_cast<size_t>(rows - 1);
  if (columns > Vec<T>::width)
    return halves ? kernels_by_rows<T, 2, true>[r] : kernels_by_rows<T, 2, false>[r];
  return halves ? kernels_by_rows<T, 1, true>[r] : kernels_by_rows<T, 1, false>[r];
}
template GatheredKernel<float> gathered_kernel(int64_t, int64_t, bool);
template GatheredKernel<double> gathered_kernel(int64_t, int64_t, bool);

}  // namespace tessera::kernels::cpu
