// Eigenvalues and singular values by one-sided Jacobi: pairs of rows are rotated until all rows are
// orthogonal to each other. Some 10 sweeps of 4 n^3 operations (8 n^3 where rotations are kept).
// The pairs of a round are disjoint (each row plays all others in n - 1 rounds), eight lanes take a
// pair, and a block a matrix, in shared memory while it fits; what does not fit there and needs no
// product of rotations is the business of a cluster (jacobi_cluster.cu).
//
// svd: a = q r first, and rows of r are rotated: turns r = diag(s) vt, hence a = (q turns^T)
// diag(s) vt. Small singular values come out to high relative accuracy. eigh: a + shift is positive
// definite and well conditioned, so its singular values are eigenvalues and its right singular
// vectors eigenvectors of a.
//
// Four teams of a warp read rows of their own, which mostly are neighbours and begin in different
// banks; where the tournament wraps around they do not, so that n = 32 takes 1.21 passes over
// shared memory for each ideal one (doubles, of two teams at a time, 1.06). What is transposed on
// its way (triangles mirrored, vectors written as columns) touches up to 2.3 of the ideal sectors,
// once.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/jacobi.cuh"
#include "tessera/kernels/gemm.hpp"

namespace tessera::kernels::cuda {
namespace {

/// to = factor from, or its transpose where the shapes are so. Of symmetric matrices the lower
/// triangle is read, and `shifted` is the same with a diagonal that makes it positive definite.
template <class T, bool symmetric>
__global__ void __launch_bounds__(linalg_threads, 2)
    scale_matrix(Matrices<T> from, Matrices<T> to, Matrices<T> shifted, T* factors,
                 int32_t* status) {
  struct Shared {
    T warps[warp_size];
  };
  T* const scratch = static_shared<Shared>().warps;
  const int64_t b = block_index().x;
  const Matrix<T> a = from[b], x = to[b];
  const bool transpose = a.rows != x.rows;
  const auto element = [&](int64_t i, int64_t j) {
    return symmetric ? (i < j ? a[j][i] : a[i][j]) : transpose ? a[j][i] : a[i][j];
  };
  T largest = 0;
  for_elements(x.rows, x.cols, [&](int64_t i, int64_t j) {
    largest = Maximum{}(largest, static_cast<T>(std::fabs(element(i, j))));
  });
  largest = block_reduce(largest, Maximum{}, scratch);
  const T factor = near_one(largest);
  T squares = 0;
  for_elements(x.rows, x.cols, [&](int64_t i, int64_t j) {
    const T value = element(i, j) * factor;
    squares += value * value;
    x[i][j] = value;
  });
  if (symmetric) {
    squares = block_reduce(squares, Sum{}, scratch);
    const T shift = squares > 0 ? T(1.5) * std::sqrt(squares) : T{1};
    for_elements(x.rows, x.cols, [&](int64_t i, int64_t j) {
      shifted[b][i][j] = i == j ? x[i][j] + shift : x[i][j];
    });
  }
  if (thread_index().x != 0) return;
  factors[b] = factor;
  if (factor == 0) status[b] = -1;
}

// ---------------------------------------------------------------- rotations

constexpr uint32_t teams = linalg_threads / team;

/// Rotates the rows of each x [n, n] until all are orthogonal to each other; y, absent or [n, n],
/// becomes the product of the rotations.
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    rotate_rows(Matrices<T> xs, Matrices<T> ys, bool held, int32_t* status) {
  struct Shared {
    int32_t turned;
  };
  Shared& shared = static_shared<Shared>();
  const int64_t b = block_index().x;
  if (status[b] != 0) return;
  const bool keeps = ys.first.data != nullptr;
  const Matrix<T> to_x = xs[b], to_y = keeps ? ys[b] : Matrix<T>{};
  Matrix<T> x = to_x, y = to_y;
  const int64_t n = x.rows, players = n + n % 2, others = players - 1;
  if (held) {
    const int64_t stride = held_stride(n);
    x = {&dynamic_shared<T>(), n, n, stride};
    if (keeps) y = {x.data + n * stride, n, n, stride};
    copy_elements(to_x, x);
  }
  for_elements(y.rows, y.cols, [&](int64_t i, int64_t j) { y[i][j] = i == j ? T{1} : T{0}; });
  const T tolerance = std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<T>(n));
  bool turned = true;
  for (int sweep = 0; turned && sweep < most_sweeps; ++sweep) {
    sync_block();
    if (thread_index().x == 0) shared.turned = 0;
    sync_block();
    for (int64_t round = 0; round < others; ++round) {
      for (int64_t first = 0; first < players / 2; first += teams) {
        // the last player stays, the others move on by one
        const int64_t k = first + thread_index().x / team;
        const int64_t one = k == 0 ? others : (round + k) % others,
                      two = (round + others - k) % others;
        const bool plays = k < players / 2 && one < n && two < n;
        const int64_t p = one < two ? one : two, q = one < two ? two : one;
        if (orthogonalize(x, y, plays ? p : -1, q, tolerance) && lane_index() % team == 0)
          atomic_or(&shared.turned, 1);
      }
      sync_block();
    }
    turned = shared.turned != 0;
  }
  if (turned && thread_index().x == 0) status[b] = -1;
  if (!held) return;
  copy_elements(x, to_x);
  if (keeps) copy_elements(y, to_y);
}

/// The product of rotations is wanted where `y` has data.
template <class T>
void launch_rotations(Stream& stream, const Matrices<T>& x, const Matrices<T>& y, int32_t* status) {
  const int64_t n = x.first.rows;
  const size_t held = held_bytes<T>((y.first.data ? 2 : 1) * n * held_stride(n));
  if (held == 0 && !y.first.data && rotate_in_clusters(stream, x, status)) return;
  launch(stream, {"jacobi", {static_cast<uint32_t>(x.count)}, {linalg_threads}, held},
         rotate_rows<T>, x, y, held > 0, status);
}

// ---------------------------------------------------------------- results

/// The inner product of two rows, by a warp.
template <class T>
TS_DEVICE T inner_product(const T* a, const T* b, int64_t n) {
  T sum = 0;
  for (int64_t j = lane_index(); j < n; j += warp_size) sum += a[j] * b[j];
  return warp_reduce(sum, Sum{});
}

/// A value for each row of a matrix, and the rows' order by it.
template <class T>
struct RowOrder {
  T* values;
  int32_t* order;

  /// Of matrix b of matrices with n rows.
  TS_DEVICE RowOrder at(int64_t b, int64_t n) const { return {values + b * n, order + b * n}; }
  /// By all threads of a block, which have written values before.
  TS_DEVICE void sort(int64_t n, bool falling) const {
    sync_block();
    for (int64_t i = thread_index().x; i < n; i += linalg_threads) {
      const T own = values[i];
      int64_t place = 0;
      for (int64_t j = 0; j < n; ++j) {
        const T other = values[j];
        place += (falling ? other > own : other < own) || (other == own && j < i);
      }
      order[place] = static_cast<int32_t>(i);
    }
    sync_block();
  }
};

template <class T>
__global__ void __launch_bounds__(linalg_threads, 2) normalize_rows(Matrices<T> xs) {
  const Matrix<T> x = xs[block_index().x];
  for (int64_t i = warp_index(); i < x.rows; i += linalg_warps) {
    const T norm = std::sqrt(inner_product(x[i], x[i], x.cols));
    for (int64_t j = lane_index(); j < x.cols; j += warp_size) x[i][j] /= norm;
  }
}

/// Rows of x are eigenvectors v of a, those of y are v^T a.
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    write_eigenvectors(Matrices<T> xs, Matrices<T> ys, const T* factors, RowOrder<T> orders,
                       Matrices<T> w, Matrices<T> vectors, const int32_t* status) {
  const int64_t b = block_index().x;
  if (status[b] != 0) return;
  const Matrix<T> x = xs[b], y = ys[b], v = vectors[b];
  const int64_t n = x.rows;
  const RowOrder<T> rows = orders.at(b, n);
  for (int64_t i = warp_index(); i < n; i += linalg_warps) {
    const T value = inner_product(x[i], y[i], n);
    if (lane_index() == 0) rows.values[i] = value;
  }
  rows.sort(n, false);
  for (int64_t i = warp_index(); i < n; i += linalg_warps) {
    const T *from = x[rows.order[i]], sign = sign_of(from, n);
    if (lane_index() == 0) w[b][0][i] = rows.values[rows.order[i]] / factors[b];
    for (int64_t j = lane_index(); j < n; j += warp_size) v[j][i] = sign * from[j];
  }
}

/// Fills rows [known, n) of the orthonormal set with unit vectors orthogonal to all before them;
/// room for n coefficients.
template <class T>
TS_DEVICE void complete(const Matrix<T>& rows, int64_t known, T* coefficients) {
  struct Shared {
    Largest<T> largest[warp_size];
    T warps[warp_size];
  };
  Shared& shared = static_shared<Shared>();
  const int64_t thread = thread_index().x, n = rows.cols;
  for (int64_t r = known; r < rows.rows; ++r) {
    sync_block();
    // the unit vector that the rows so far cover least has at least 1 - r / n of it left
    Largest<T> least{-std::numeric_limits<T>::max(), 0};
    for (int64_t j = thread; j < n; j += linalg_threads) {
      T covered = 0;
      for (int64_t i = 0; i < r; ++i) covered += rows[i][j] * rows[i][j];
      least = TakeLargest{}(least, {-covered, static_cast<int32_t>(j)});
    }
    least = block_reduce(least, TakeLargest{}, shared.largest);
    T* const x = rows[r];
    for (int64_t j = thread; j < n; j += linalg_threads) x[j] = j == least.at ? T{1} : T{0};
    for (int pass = 0; pass < 2; ++pass) {
      sync_block();
      for (int64_t i = warp_index(); i < r; i += linalg_warps) {
        const T product = inner_product(rows[i], x, n);
        if (lane_index() == 0) coefficients[i] = product;
      }
      sync_block();
      for (int64_t j = thread; j < n; j += linalg_threads) {
        T value = x[j];
        for (int64_t i = 0; i < r; ++i) value -= coefficients[i] * rows[i][j];
        x[j] = value;
      }
    }
    T squares = 0;
    for (int64_t j = thread; j < n; j += linalg_threads) squares += x[j] * x[j];
    squares = block_reduce(squares, Sum{}, shared.warps);
    for (int64_t j = thread; j < n; j += linalg_threads) x[j] /= std::sqrt(squares);
  }
  sync_block();
}

/// What a block needs to write the results of one matrix.
template <class T>
struct SingularVectors {
  Matrices<T> x, long_rows;  // diag(s) times the short vectors, and the long vectors; unordered
  Matrices<T> short_rows;    // room for the short vectors
  RowOrder<T> orders;
  T *coefficients, *factors;  // [n] and [1] per matrix
  Matrices<T> u, s, vt;
  bool tall;  // u has the long vectors
};

template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    write_singular_vectors(SingularVectors<T> out, const int32_t* status) {
  struct Shared {
    int32_t warps[warp_size];
  };
  const int64_t b = block_index().x;
  if (status[b] != 0) return;
  const Matrix<T> x = out.x[b], long_rows = out.long_rows[b], short_rows = out.short_rows[b],
                  u = out.u[b], vt = out.vt[b];
  const int64_t n = x.rows;
  const RowOrder<T> rows = out.orders.at(b, n);
  for (int64_t i = warp_index(); i < n; i += linalg_warps) {
    const T norm = std::sqrt(inner_product(x[i], x[i], n));
    if (lane_index() == 0) rows.values[i] = norm;
  }
  rows.sort(n, true);
  int32_t rank = 0;  // rows that are more than noise
  for (int64_t i = thread_index().x; i < n; i += linalg_threads) {
    const T norm = rows.values[rows.order[i]];
    out.s[b][0][i] = norm / out.factors[b];
    rank += norm * norm > negligible<T>;
  }
  rank = block_reduce(rank, Sum{}, static_shared<Shared>().warps);
  for_elements(rank, n, [&](int64_t i, int64_t j) {
    short_rows[i][j] = x[rows.order[i]][j] / rows.values[rows.order[i]];
  });
  complete(short_rows, rank, out.coefficients + b * n);
  for (int64_t i = warp_index(); i < n; i += linalg_warps) {
    const T *left = out.tall ? long_rows[rows.order[i]] : short_rows[i],
            *right = out.tall ? short_rows[i] : long_rows[rows.order[i]];
    const T sign = sign_of(left, u.rows);
    for (int64_t j = lane_index(); j < u.rows; j += warp_size) u[j][i] = sign * left[j];
    for (int64_t j = lane_index(); j < vt.cols; j += warp_size) vt[i][j] = sign * right[j];
  }
}

}  // namespace

void own_eigh(Stream& stream, const MatrixBatch& batch, const View& a, const View& w, const View& v,
              int32_t* status) {
  const int64_t n = batch.rows(), count = batch.count();
  for_real(a.dtype, "eigh", [&]<class T>() {
    const auto room = [&](int64_t rows) {
      return stream.scratch(static_cast<size_t>(count * rows * n) * sizeof(T));
    };
    const Scratch scaled = room(n), rotated = room(n), multiplied = room(n), values = room(1),
                  order = stream.scratch(static_cast<size_t>(count * n) * sizeof(int32_t)),
                  factors = stream.scratch(static_cast<size_t>(count) * sizeof(T));
    const Matrices<T> x = dense_matrices(scaled.as<T>(), count, n, n),
                      rows = dense_matrices(rotated.as<T>(), count, n, n),
                      products = dense_matrices(multiplied.as<T>(), count, n, n);
    const auto blocks = static_cast<uint32_t>(count);
    launch(stream, {"eigh scale_matrix", {blocks}, {linalg_threads}}, scale_matrix<T, true>,
           matrices_of<T>(batch, a), x, rows, factors.as<T>(), status);
    launch_rotations(stream, rows, Matrices<T>{}, status);
    launch(stream, {"eigh normalize_rows", {blocks}, {linalg_threads}}, normalize_rows<T>, rows);
    gemm_kernels.gemm(stream, rows.view(), x.view(), products.view(), {});
    launch(stream, {"eigh write_eigenvectors", {blocks}, {linalg_threads}}, write_eigenvectors<T>,
           rows, products, factors.as<T>(), RowOrder<T>{values.as<T>(), order.as<int32_t>()},
           dense_matrices(w.as<T>(), count, 1, n), matrices_of<T>(batch, v), status);
  });
}

void own_svd(Stream& stream, const MatrixBatch& batch, const View& a, const View& u, const View& s,
             const View& vt, int32_t* status) {
  const int64_t m = std::max(batch.rows(), batch.cols()), n = std::min(batch.rows(), batch.cols()),
                count = batch.count();
  for_real(a.dtype, "svd", [&]<class T>() {
    const auto room = [&](int64_t rows, int64_t cols) {
      return stream.scratch(static_cast<size_t>(count * rows * cols) * sizeof(T));
    };
    const Scratch scaled = room(m, n), left = room(m, n), upper = room(n, n), turned = room(n, n),
                  norms = room(1, n), coefficients = room(1, n), factors = room(1, 1),
                  order = stream.scratch(static_cast<size_t>(count * n) * sizeof(int32_t));
    const Matrices<T> tall = dense_matrices(scaled.as<T>(), count, m, n),
                      q = dense_matrices(left.as<T>(), count, m, n),
                      r = dense_matrices(upper.as<T>(), count, n, n),
                      turns = dense_matrices(turned.as<T>(), count, n, n),
                      long_rows = dense_matrices(scaled.as<T>(), count, n, m);
    const auto blocks = static_cast<uint32_t>(count);
    launch(stream, {"svd scale_matrix", {blocks}, {linalg_threads}}, scale_matrix<T, false>,
           matrices_of<T>(batch, a), tall, Matrices<T>{}, factors.as<T>(), status);
    own_qr(stream, tall, q, r);
    launch_rotations(stream, r, turns, status);
    gemm_kernels.gemm(stream, turns.view(), q.view(true), long_rows.view(), {});
    // the turns have been used: there is room for the short vectors
    launch(stream, {"svd write_singular_vectors", {blocks}, {linalg_threads}},
           write_singular_vectors<T>,
           SingularVectors<T>{.x = r,
                              .long_rows = long_rows,
                              .short_rows = turns,
                              .orders = {norms.as<T>(), order.as<int32_t>()},
                              .coefficients = coefficients.as<T>(),
                              .factors = factors.as<T>(),
                              .u = matrices_of<T>(batch, u),
                              .s = dense_matrices(s.as<T>(), count, 1, n),
                              .vt = matrices_of<T>(batch, vt),
                              .tall = batch.rows() >= batch.cols()},
           status);
  });
}

}  // namespace tessera::kernels::cuda
