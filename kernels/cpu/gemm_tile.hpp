#pragma once

#include <algorithm>
#include <cstdint>

#include "tessera/kernels/cpu/simd.hpp"

/// The register tile under every product of this folder: a few rows of A times a few vectors of B's
/// columns, sums held in registers along the whole of k. Each element of C is one chain of
/// multiply-adds in the order of k, whatever the tile's shape, so how C is cut into tiles does not
/// change a bit of it.
namespace tessera::kernels::cpu {

inline constexpr int tile_vectors = 2;
template <class T>
inline constexpr int tile_columns = tile_vectors* Vec<T>::width;

// With 32 registers a tile may be tall, 28 sums, or wide, 24 sums, which read less for as many
// products; 16 registers hold 12 sums, 2 vectors of B and a broadcast of A.
#if defined(__AVX512F__)
inline constexpr int tile_rows = 14, wide_tile_rows = 6, wide_tile_vectors = 4;
#else
inline constexpr int tile_rows = 6, wide_tile_rows = 6, wide_tile_vectors = 2;
#endif
template <class T>
inline constexpr int wide_tile_columns = wide_tile_vectors* Vec<T>::width;

/// c = alpha * a b + beta * c for one tile. c is not read when beta is 0. The sum runs over `k`
/// steps, and where they do not lie evenly in memory over `outer` runs of k steps.
template <class T>
struct TileProduct {
  int64_t k;
  const T* a;
  int64_t a_stride;  // between columns (TileA::columns) or rows (TileA::rows) of a; the other
                     // stride is 1
  const T* b;        // without masked_memory whole vectors are read
  int64_t b_stride;
  T* c;
  int64_t c_stride;
  int64_t columns;  // of c
  T alpha, beta;
  bool prefetch = false;                        // c, which is not in the caches, while the sum runs
  int64_t outer = 1, a_outer = 0, b_outer = 0;  // runs, and their distances in a and b
};

enum class TileA : uint8_t { columns, rows };  // which vectors of a are adjacent in memory

template <class T>
using TileKernel = void (*)(const TileProduct<T>&);

/// The kernel for up to tile_rows x tile_columns or wide_tile_rows x wide_tile_columns. T: float or
/// double.
template <class T>
TileKernel<T> tile_kernel(TileA layout, int64_t rows, int64_t columns);

/// to[i] = from[i] converted to T for i < count, 0 for count <= i < width.
template <class T, class E>
[[gnu::always_inline]] inline void copy_padded(const E* from, int64_t count, T* to, int64_t width) {
  constexpr int64_t n = Vec<T>::width;
  int64_t i = 0;
  for (; i + n <= count; i += n) store(to + i, load(from + i));
  if constexpr (masked_memory)
    if (i < count) store(to + i, load(from + i, count - i), std::min(n, width - i)), i += n;
  for (; i < count; ++i) to[i] = static_cast<T>(from[i]);
  for (; i < width; ++i) to[i] = 0;
}

/// out[p * width + i] = x[i * stride + p * k_stride] converted to T, for i < count, p < k; 0 for i
/// >= count. Packs `count` rows of A (width = count) or columns of B (width = padded to vectors)
/// into the order in which the tile reads them.
template <class T, class E>
void pack_panel(const E* x, int64_t stride, int64_t k_stride, int64_t count, int64_t width,
                int64_t k, T* out);

/// `extent` cut into the fewest parts of at most `largest`, sizes differing by at most one.
struct Split {
  int64_t extent, parts, least, longer;  // `longer` parts hold one more than `least`
  Split(int64_t n, int64_t largest)
      : extent(n),
        parts((n + largest - 1) / largest),
        least(parts == 0 ? 0 : n / parts),
        longer(n - least * parts) {}
  int64_t begin(int64_t part) const { return part * least + std::min(part, longer); }
  int64_t size(int64_t part) const { return least + (part < longer); }
  int64_t largest() const { return least + (longer > 0); }
};

}  // namespace tessera::kernels::cpu
