// Cholesky, LU and triangular solves. Floors: n^3 / 3, 2 n^3 / 3 and n^2 k operations. Matrices of
// up to 64 columns are factored whole; larger ones by panels of 32 columns, after each of which the
// product of what was found is taken from the rest by the gemm family, so that most operations run
// on tensor cores. A panel is worked on in shared memory, column by column: one column is divided
// by its pivot, then leaves the columns to its right.
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/linalg.cuh"
#include "tessera/kernels/gemm.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr int64_t largest_whole = 64, panel_columns = 32;

int64_t panel_width(int64_t n) { return n <= largest_whole ? n : panel_columns; }

/// c -= a b, for all matrices of the batch.
template <class T>
void subtract_product(Stream& stream, const Matrices<T>& a, const Matrices<T>& b, bool transpose_b,
                      const Matrices<T>& c) {
  gemm_kernels.gemm(stream, a.view(), b.view(transpose_b), c.view(), {.alpha = -1, .beta = 1});
}

/// A block's copy of a panel in shared memory, or the panel itself.
template <class T>
TS_DEVICE Matrix<T> hold(const Matrix<T>& panel, bool held) {
  if (!held) return panel;
  const Matrix<T> copy{&dynamic_shared<T>(), panel.rows, panel.cols, odd_stride(panel.cols)};
  copy_elements(panel, copy);
  return copy;
}
template <class T>
TS_DEVICE void give_back(const Matrix<T>& copy, const Matrix<T>& panel, bool held) {
  sync_block();
  if (held) copy_elements(copy, panel);
}

// ---------------------------------------------------------------- Cholesky

/// Factors columns [k, k + w) of each a from row k on, and clears what is to their right in the
/// rows of the panel's square.
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    cholesky_panel(Matrices<T> matrices, int64_t k, int64_t w, bool held, int32_t* status) {
  const Matrix<T> a = matrices[block_index().x];
  const int64_t n = a.rows - k;
  if (status[block_index().x] != 0) return;
  const Matrix<T> panel = a.block(k, k, n, w), p = hold(panel, held);
  for (int64_t j = 0; j < w; ++j) {
    sync_block();
    const T pivot = p[j][j];
    if (!positive_and_finite(pivot)) {
      if (thread_index().x == 0) status[block_index().x] = static_cast<int32_t>(k + j + 1);
      return;
    }
    const T root = std::sqrt(pivot);
    for (int64_t i = j + 1 + thread_index().x; i < n; i += linalg_threads) p[i][j] /= root;
    sync_block();
    if (thread_index().x == 0) p[j][j] = root;
    for_elements(n - j - 1, w - j - 1, [&](int64_t i, int64_t c) {  // above the diagonal in vain
      p[j + 1 + i][j + 1 + c] -= p[j + 1 + i][j] * p[j + 1 + c][j];
    });
  }
  sync_block();
  for_elements(w, w, [&](int64_t i, int64_t c) {
    if (c > i) p[i][c] = 0;
  });
  for_elements(w, n - w, [&](int64_t i, int64_t c) { a[k + i][k + w + c] = 0; });
  give_back(p, panel, held);
}

}  // namespace

void own_cholesky(Stream& stream, const MatrixBatch& batch, const View& a, const View& l,
                  int32_t* status) {
  const int64_t n = batch.rows(), count = batch.count(), width = panel_width(n);
  for_real(a.dtype, "cholesky", [&]<class T>() {
    if (a.data != l.data) copy_kernels.copy(stream, a, l);
    const Matrices<T> m = matrices_of<T>(batch, l);
    for (int64_t k = 0; k < n; k += width) {
      const int64_t w = std::min(width, n - k), below = k + w;
      const size_t bytes = held_bytes<T>((n - k) * odd_stride(w));
      launch(stream, {"cholesky panel", {static_cast<uint32_t>(count)}, {linalg_threads}, bytes},
             cholesky_panel<T>, m, k, w, bytes > 0, status);
      // what is left loses the panel's product with itself, in strips that hold the lower triangle
      constexpr int64_t strip = 256;
      for (int64_t j = below; j < n; j += strip) {
        const int64_t columns = std::min(strip, n - j);
        subtract_product(stream, m.block(j, k, n - j, w), m.block(j, k, columns, w), true,
                         m.block(j, j, n - j, columns));
      }
    }
  });
}

// ---------------------------------------------------------------- triangular solves

namespace {

constexpr int64_t solve_tile = 32, solve_each = solve_tile / linalg_warps;

/// A block per 32 columns of x: 32 rows of x at a time, less the products with those found before,
/// then the triangle of these rows. x may be b.
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    solve_triangles(Matrices<T> matrices, Matrices<T> right, Matrices<T> solutions,
                    TriangularParams params) {
  struct Shared {
    T a[solve_tile][solve_tile + 1], x[solve_tile][solve_tile + 1];
  };
  Shared& shared = static_shared<Shared>();
  const Matrix<T> a = matrices[block_index().y], b = right[block_index().y],
                  x = solutions[block_index().y];
  const int64_t n = a.rows, lane = lane_index(), warp = warp_index(),
                column = int64_t{block_index().x} * solve_tile + lane;
  const bool inside = column < x.cols, forward = params.upper == params.transpose;
  const int64_t tiles = ceil_divide(n, solve_tile);
  const auto load_a = [&](int64_t row, int64_t col) {  // the tile of op(a) that begins there
    for (int64_t i = warp; i < solve_tile; i += linalg_warps) {
      const int64_t r = params.transpose ? col + i : row + i,
                    c = (params.transpose ? row : col) + lane;
      const T value = r < n && c < n ? a[r][c] : T{0};
      (params.transpose ? shared.a[lane][i] : shared.a[i][lane]) = value;
    }
  };
  for (int64_t step = 0; step < tiles; ++step) {
    const int64_t tile = forward ? step : tiles - 1 - step, first = tile * solve_tile;
    T sums[solve_each];
#pragma unroll
    for (int64_t e = 0; e < solve_each; ++e) {
      const int64_t row = first + warp + e * linalg_warps;
      sums[e] = inside && row < n ? b[row][column] : T{0};
    }
    for (int64_t other = forward ? 0 : tile + 1; other < (forward ? tile : tiles); ++other) {
      load_a(first, other * solve_tile);
      for (int64_t i = warp; i < solve_tile; i += linalg_warps) {
        const int64_t row = other * solve_tile + i;
        shared.x[i][lane] = inside && row < n ? x[row][column] : T{0};
      }
      sync_block();
#pragma unroll 8
      for (int64_t j = 0; j < solve_tile; ++j)
#pragma unroll
        for (int64_t e = 0; e < solve_each; ++e)
          sums[e] -= shared.a[warp + e * linalg_warps][j] * shared.x[j][lane];
      sync_block();
    }
    load_a(first, first);
#pragma unroll
    for (int64_t e = 0; e < solve_each; ++e) shared.x[warp + e * linalg_warps][lane] = sums[e];
    sync_block();
    const int64_t rows = n - first < solve_tile ? n - first : solve_tile;
    const auto divisor = [&](int64_t i) { return params.unit_diagonal ? T{1} : shared.a[i][i]; };
    for (int64_t k = 0; k < rows; ++k) {
      const int64_t i = forward ? k : rows - 1 - k;
      const T found = shared.x[i][lane] / divisor(i);
      for (int64_t r = warp; r < rows; r += linalg_warps)
        if (forward ? r > i : r < i) shared.x[r][lane] -= shared.a[r][i] * found;
      sync_block();
    }
    for (int64_t i = warp; i < rows; i += linalg_warps)
      if (inside) x[first + i][column] = shared.x[i][lane] / divisor(i);
    sync_block();
  }
}

template <class T>
void launch_solve(Stream& stream, const Matrices<T>& a, const Matrices<T>& b, const Matrices<T>& x,
                  const TriangularParams& params) {
  if (x.first.rows == 0 || x.first.cols == 0) return;
  launch(stream,
         {"triangular_solve",
          {static_cast<uint32_t>(ceil_divide(x.first.cols, solve_tile)),
           static_cast<uint32_t>(a.count)},
          {linalg_threads}},
         solve_triangles<T>, a, b, x, params);
}

}  // namespace

void own_triangular_solve(Stream& stream, const MatrixBatch& batch, const View& a, const View& b,
                          const View& x, const TriangularParams& triangle) {
  for_real(a.dtype, "triangular_solve", [&]<class T>() {
    launch_solve(stream, matrices_of<T>(batch, a), matrices_of<T>(batch, b),
                 matrices_of<T>(batch, x), triangle);
  });
}

// ---------------------------------------------------------------- LU

namespace {

template <class T>
struct PivotCandidate {
  T magnitude;
  int32_t row;
};
struct LargerPivot {
  template <class T>
  TS_DEVICE PivotCandidate<T> operator()(PivotCandidate<T> a, PivotCandidate<T> b) const {
    const bool first = a.magnitude > b.magnitude || (a.magnitude == b.magnitude && a.row < b.row);
    return first ? a : b;
  }
};

/// Eliminates columns [k, k + w) of each a in all rows from k on, exchanging whole rows: row k + j
/// with row pivots[k + j].
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    lu_panel(Matrices<T> matrices, int64_t k, int64_t w, bool held, int32_t* pivots,
             int32_t* status) {
  struct Shared {
    PivotCandidate<T> warps[warp_size];
    int32_t pivots[largest_whole];
  };
  Shared& shared = static_shared<Shared>();
  const Matrix<T> a = matrices[block_index().x];
  const int64_t n = a.rows - k, thread = thread_index().x;
  if (status[block_index().x] != 0) return;
  const Matrix<T> panel = a.block(k, k, n, w), p = hold(panel, held);
  for (int64_t j = 0; j < w; ++j) {
    sync_block();
    PivotCandidate<T> best{T{-1}, 0};
    for (int64_t i = j + thread; i < n; i += linalg_threads) {
      const T value = std::fabs(p[i][j]);
      const bool nan = value != value;
      best = LargerPivot{}(
          best, {nan ? std::numeric_limits<T>::infinity() : value, static_cast<int32_t>(i)});
    }
    best = block_reduce(best, LargerPivot{}, shared.warps);
    if (!positive_and_finite(best.magnitude)) {
      if (thread == 0)
        status[block_index().x] = best.magnitude == 0 ? static_cast<int32_t>(k + j + 1) : -1;
      return;
    }
    if (thread == 0) shared.pivots[j] = best.row;
    for (int64_t c = thread; c < w && best.row != j; c += linalg_threads) {
      const T value = p[j][c];
      p[j][c] = p[best.row][c];
      p[best.row][c] = value;
    }
    sync_block();
    for (int64_t i = j + 1 + thread; i < n; i += linalg_threads) p[i][j] /= p[j][j];
    sync_block();
    for_elements(n - j - 1, w - j - 1, [&](int64_t i, int64_t c) {
      p[j + 1 + i][j + 1 + c] -= p[j + 1 + i][j] * p[j][j + 1 + c];
    });
  }
  give_back(p, panel, held);
  for (int64_t j = thread; j < w; j += linalg_threads)
    pivots[block_index().x * a.rows + k + j] = static_cast<int32_t>(k + shared.pivots[j]);
  for (int64_t c = thread; c < a.cols - w; c += linalg_threads) {
    const int64_t column = c < k ? c : c + w;
    for (int64_t j = 0; j < w; ++j) {
      const T value = a[k + j][column];
      a[k + j][column] = a[k + shared.pivots[j]][column];
      a[k + shared.pivots[j]][column] = value;
    }
  }
}

/// x = b with its rows exchanged. Dynamic shared memory: i32 [n], the order that this gives.
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    exchange_rows(Matrices<T> right, const int32_t* pivots, Matrices<T> solutions,
                  const int32_t* status) {
  if (status[block_index().x] != 0) return;  // not all pivots are there
  int32_t* const order = &dynamic_shared<int32_t>();
  const Matrix<T> b = right[block_index().x], x = solutions[block_index().x];
  for (int64_t i = thread_index().x; i < b.rows; i += linalg_threads)
    order[i] = static_cast<int32_t>(i);
  sync_block();
  if (thread_index().x == 0)
    for (int64_t i = 0; i < b.rows; ++i) {
      const int32_t other = pivots[block_index().x * b.rows + i], row = order[i];
      order[i] = order[other];
      order[other] = row;
    }
  sync_block();
  for_elements(x.rows, x.cols, [&](int64_t i, int64_t j) { x[i][j] = b[order[i]][j]; });
}

}  // namespace

void own_solve(Stream& stream, const MatrixBatch& batch, const View& a, const View& b,
               const View& x, int32_t* status) {
  const int64_t n = batch.rows(), count = batch.count(), width = panel_width(n);
  for_real(a.dtype, "solve", [&]<class T>() {
    const Scratch factors = stream.scratch(static_cast<size_t>(count * n * n) * sizeof(T)),
                  pivots = stream.scratch(static_cast<size_t>(count * n) * sizeof(int32_t));
    const Matrices<T> lu = dense_matrices(factors.as<T>(), count, n, n);
    copy_kernels.copy(stream, matrices_of<T>(batch, a).view(), lu.view());
    const auto blocks = static_cast<uint32_t>(count);
    for (int64_t k = 0; k < n; k += width) {
      const int64_t w = std::min(width, n - k), next = k + w, rest = n - next;
      const size_t bytes = held_bytes<T>((n - k) * odd_stride(w));
      launch(stream, {"lu panel", {blocks}, {linalg_threads}, bytes}, lu_panel<T>, lu, k, w,
             bytes > 0, pivots.as<int32_t>(), status);
      if (rest == 0) break;
      const Matrices<T> beside = lu.block(k, next, w, rest);
      launch_solve(stream, lu.block(k, k, w, w), beside, beside, {.unit_diagonal = true});
      subtract_product(stream, lu.block(next, k, rest, w), beside, false,
                       lu.block(next, next, rest, rest));
    }
    const Matrices<T> right = matrices_of<T>(batch, b), result = matrices_of<T>(batch, x);
    launch(stream,
           {"solve exchange_rows",
            {blocks},
            {linalg_threads},
            static_cast<size_t>(n) * sizeof(int32_t)},
           exchange_rows<T>, right, pivots.as<int32_t>(), result, status);
    launch_solve(stream, lu, result, result, {.unit_diagonal = true});
    launch_solve(stream, lu, result, result, {.upper = true});
  });
}

}  // namespace tessera::kernels::cuda
