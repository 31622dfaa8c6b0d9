#pragma once

#include "tessera/kernels/cpu/gemm_tile.hpp"

/// The register tile of convolutions: as in gemm_tile.hpp, but B is never formed. Its rows are runs
/// of pixels in padded planes, found through a table of offsets.
namespace tessera::kernels::cpu {

/// c[r, j] = sum over p < k of a[p * rows + r] * b[offset[p] + j'], j' the place of column j:
/// columns come in pieces (whole or half vectors, see gathered_kernel), and piece i of the tile
/// starts at piece[i].
template <class T>
struct GatheredProduct {
  int64_t k;
  const T* a;  // packed
  const T* b;
  const int32_t* offset;
  int64_t piece[4];
  T* c;
  int64_t c_stride;
  int64_t columns;  // of c, up to tile_columns; pieces behind them still have to be readable
};

template <class T>
using GatheredKernel = void (*)(const GatheredProduct<T>&);

/// The kernel for 1 <= rows <= tile_rows; pieces of whole vectors, or of halves.
template <class T>
GatheredKernel<T> gathered_kernel(int64_t rows, int64_t columns, bool halves);

}  // namespace tessera::kernels::cpu
