#pragma once

#include <algorithm>
#include <cstdint>

#include "tessera/kernels/cpu/simd.hpp"

/// The register tile under every product of this folder: a few rows of A times a few vectors of B's
/// columns, sums held in registers along the whole of k. Each element of C is one chain of
/// multiply-adds in the order of k, whatever the tile's shape, so how C is cut into tiles does not
/// change a bit of it.
namespace tessera::kernels::cpu {

#if defined(__AVX512F__)
inline constexpr int tile_rows =
    14;  // 28 sums, 2 vectors of B and a broadcast of A in 32 registers
#else
inline constexpr int tile_rows = 6;  // 12 + 2 + 1 of 16
#endif
inline constexpr int tile_vectors = 2;
template <class T>
inline constexpr int tile_columns = tile_vectors* Vec<T>::width;

/// c = alpha * a b + beta * c for one tile. c is not read when beta is 0. The sum runs over `k`
/// steps, and where they do not lie evenly in memory over `outer` runs of k steps.
template <class T>
struct TileProduct {
  int64_t k;
  const T* a;
  int64_t a_stride;  // between columns (TileA::columns) or rows (TileA::rows) of a; the other
                     // stride is 1
  const T* b;        // whole vectors are read: padded to a multiple of Vec<T>::width
  int64_t b_stride;
  T* c;
  int64_t c_stride;
  int64_t columns;  // of c, up to tile_columns
  T alpha, beta;
  int64_t outer = 1, a_outer = 0, b_outer = 0;  // runs, and their distances in a and b
};

enum class TileA : uint8_t { columns, rows };  // which vectors of a are adjacent in memory

template <class T>
using TileKernel = void (*)(const TileProduct<T>&);

/// The kernel for 1 <= rows <= tile_rows and 1 <= columns <= tile_columns. T: float or double.
template <class T>
TileKernel<T> tile_kernel(TileA layout, int64_t rows, int64_t columns);

/// out[p * width + i] = x[i * stride + p * k_stride] converted to T, for i < count, p < k; 0 for i
/// >= count. Packs `count` rows of A (width = count) or columns of B (width = padded to vectors)
/// into the order in which the tile reads them.
template <class T, class E>
void pack_panel(const E* x, int64_t stride, int64_t k_stride, int64_t count, int64_t width,
                int64_t k, T* out);

/// `extent` cut into the fewest parts of at most `largest`, sizes differing by at most one.
struct Split {
  int64_t extent, parts;
  Split(int64_t n, int64_t largest) : extent(n), parts((n + largest - 1) / largest) {}
  int64_t begin(int64_t part) const { return extent * part / parts; }
  int64_t size(int64_t part) const { return begin(part + 1) - begin(part); }
  int64_t largest() const { return parts == 0 ? 0 : (extent + parts - 1) / parts; }
};

}  // namespace tessera::kernels::cpu
