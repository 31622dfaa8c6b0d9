// Own Cholesky, triangular solve, LU and QR. Small matrices are factored row by row; large ones by
// blocks of columns, so that most of the work is matrix products.
#include <cmath>
#include <limits>
#include <utility>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/linalg.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/vector.hpp"
#include "tessera/kernels/gemm.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t block_columns = 64;

template <class T>
View view_of(const Matrix<T>& m, bool transposed) {
  View v{m.data, dtype_of<T>, 2, {m.rows, m.cols}, {m.stride, 1}};
  if (transposed) {
    std::swap(v.shape[0], v.shape[1]);
    std::swap(v.stride[0], v.stride[1]);
  }
  return v;
}

template <class T>
constexpr bool positive_and_finite(T x) {
  return x > 0 && x <= std::numeric_limits<T>::max();
}

}  // namespace

template <class T>
void multiply_add(Stream& stream, T alpha, Matrix<T> a, bool transpose_a, Matrix<T> b,
                  bool transpose_b, Matrix<T> c) {
  gemm_kernels.gemm(stream, view_of(a, transpose_a), view_of(b, transpose_b), view_of(c, false),
                    {.alpha = alpha, .beta = 1, .variant = GemmVariant::own});
}

// --- Cholesky ---

namespace {

/// The factor of one block whose first row is row `first` of the whole matrix.
template <class T>
int32_t cholesky_block(Matrix<T> a, int64_t first) {
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t j = 0; j < i; ++j) a[i][j] = (a[i][j] - dot(a[i], a[j], j)) / a[j][j];
    const T pivot = a[i][i] - dot(a[i], a[i], i);
    if (!positive_and_finite(pivot)) return static_cast<int32_t>(first + i + 1);
    a[i][i] = std::sqrt(pivot);
  }
  return 0;
}

}  // namespace

template <class T>
int32_t own_cholesky(Stream& stream, Matrix<T> a) {
  const int64_t n = a.rows, step = is_large(n, n) ? block_columns : std::max<int64_t>(n, 1);
  for (int64_t k = 0; k < n; k += step) {
    const int64_t w = std::min(step, n - k), below = k + w;
    const Matrix<T> corner = a.block(k, k, w, w), panel = a.block(below, k, n - below, w);
    if (const int32_t status = cholesky_block(corner, k)) return status;
    parallel_for(panel.rows, 16, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        for (int64_t j = 0; j < w; ++j)
          panel[i][j] = (panel[i][j] - dot(panel[i], corner[j], j)) / corner[j][j];
    });
    // what is left loses panel panel^T, in strips that hold the lower triangle
    for (int64_t j = below; j < n; j += 2 * block_columns) {
      const int64_t strip = std::min(2 * block_columns, n - j);
      multiply_add(stream, T{-1}, a.block(j, k, n - j, w), false, a.block(j, k, strip, w), true,
                   a.block(j, j, n - j, strip));
    }
  }
  for (int64_t i = 0; i < n; ++i) std::fill(a[i] + i + 1, a[i] + n, T{0});
  return 0;
}

// --- triangular solve and LU ---

namespace {

/// Rows of x in the order in which they are found, each less the products with those found before;
/// `lanes` columns of x from `column`.
template <class T, int vectors>
void solve_columns(Matrix<T> a, Matrix<T> x, const TriangularParams& p, int64_t column,
                   int64_t lanes) {
  constexpr int64_t width = Vec<T>::width;
  const bool whole = lanes == vectors * width, forward = p.upper == p.transpose;
  const int64_t n = a.rows;
  const auto read = [&](const T* row, int64_t v) {
    return whole ? load(row + column + v * width) : load(row + column, lanes);
  };
  for (int64_t step = 0; step < n; ++step) {
    const int64_t i = forward ? step : n - 1 - step;
    Vec<T> s0 = read(x[i], 0), s1, s2, s3;
    if constexpr (vectors == 4) s1 = read(x[i], 1), s2 = read(x[i], 2), s3 = read(x[i], 3);
    for (int64_t j = forward ? 0 : i + 1; j < (forward ? i : n); ++j) {
      const Vec<T> factor(-(p.transpose ? a[j][i] : a[i][j]));
      s0 = fma(factor, read(x[j], 0), s0);
      if constexpr (vectors == 4) {
        s1 = fma(factor, read(x[j], 1), s1);
        s2 = fma(factor, read(x[j], 2), s2);
        s3 = fma(factor, read(x[j], 3), s3);
      }
    }
    const Vec<T> diagonal(p.unit_diagonal ? T{1} : a[i][i]);
    T* to = x[i] + column;
    if (whole)
      store(to, s0 / diagonal);
    else
      store(to, s0 / diagonal, lanes);
    if constexpr (vectors == 4) {
      store(to + width, s1 / diagonal);
      store(to + 2 * width, s2 / diagonal);
      store(to + 3 * width, s3 / diagonal);
    }
  }
}

/// One right-hand side: by rows of a, whichever way it is read.
template <class T>
void solve_vector(Matrix<T> a, T* x, const TriangularParams& p) {
  const bool forward = p.upper == p.transpose;
  const int64_t n = a.rows;
  for (int64_t step = 0; step < n; ++step) {
    const int64_t i = forward ? step : n - 1 - step;
    const int64_t begin = p.upper ? i + 1 : 0, count = p.upper ? n - i - 1 : i;
    if (!p.transpose) x[i] -= dot(a[i] + begin, x + begin, count);
    if (!p.unit_diagonal) x[i] /= a[i][i];
    if (p.transpose) axpy(-x[i], a[i] + begin, x + begin, count);
  }
}

}  // namespace

template <class T>
void own_triangular_solve(Matrix<T> a, Matrix<T> x, const TriangularParams& p) {
  if (x.cols == 1 && x.stride == 1) return solve_vector(a, x.data, p);
  constexpr int64_t width = Vec<T>::width, chunk = 4 * width;
  const int64_t chunks = (x.cols + chunk - 1) / chunk;
  const int64_t grain = 1 + (1 << 16) / std::max<int64_t>(a.rows * a.rows * chunk, 1);
  parallel_for(chunks, grain, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const int64_t begin = c * chunk, end = std::min(begin + chunk, x.cols);
      if (end - begin == chunk) {
        solve_columns<T, 4>(a, x, p, begin, chunk);
      } else {
        for (int64_t at = begin; at < end; at += width)
          solve_columns<T, 1>(a, x, p, at, std::min(width, end - at));
      }
    }
  });
}

namespace {

/// Eliminates columns [k, k + w) in all rows below, exchanging whole rows.
template <class T>
int32_t lu_panel(Matrix<T> a, int64_t k, int64_t w, int32_t* pivot) {
  const int64_t n = a.rows;
  for (int64_t j = k; j < k + w; ++j) {
    T best = 0;
    int64_t row = j;
    for (int64_t i = j; i < n; ++i) {
      const T magnitude = std::abs(a[i][j]);
      if (magnitude > best || std::isnan(magnitude)) best = magnitude, row = i;
    }
    if (best == 0) return static_cast<int32_t>(j + 1);
    if (!positive_and_finite(best)) return -1;
    pivot[j] = static_cast<int32_t>(row);
    if (row != j) std::swap_ranges(a[j], a[j] + n, a[row]);
    for (int64_t i = j + 1; i < n; ++i) {
      a[i][j] /= a[j][j];
      axpy(-a[i][j], a[j] + j + 1, a[i] + j + 1, k + w - j - 1);
    }
  }
  return 0;
}

}  // namespace

template <class T>
int32_t own_lu(Stream& stream, Matrix<T> a, int32_t* pivot) {
  const int64_t n = a.rows, step = is_large(n, n) ? block_columns : std::max<int64_t>(n, 1);
  for (int64_t k = 0; k < n; k += step) {
    const int64_t w = std::min(step, n - k), rest = n - k - w;
    if (const int32_t status = lu_panel(a, k, w, pivot)) return status;
    if (rest == 0) break;
    own_triangular_solve(a.block(k, k, w, w), a.block(k, k + w, w, rest), {.unit_diagonal = true});
    multiply_add(stream, T{-1}, a.block(k + w, k, rest, w), false, a.block(k, k + w, w, rest),
                 false, a.block(k + w, k + w, rest, rest));
  }
  return 0;
}

template <class T>
void own_lu_solve(Matrix<T> lu, const int32_t* pivot, Matrix<T> x) {
  for (int64_t i = 0; i < lu.rows; ++i)
    if (pivot[i] != i) std::swap_ranges(x[i], x[i] + x.cols, x[pivot[i]]);
  own_triangular_solve(lu, x, {.unit_diagonal = true});
  own_triangular_solve(lu, x, {.upper = true});
}

// --- QR ---

namespace {

/// Makes the reflector that clears column j of a below row j, and returns its tau. Magnitudes are
/// scaled, so that squares neither overflow nor vanish.
template <class T>
T make_reflector(Matrix<T> a, int64_t j) {
  T largest = 0;
  for (int64_t i = j + 1; i < a.rows; ++i) largest = std::max(largest, std::abs(a[i][j]));
  if (largest == 0) return 0;
  const T head = a[j][j];
  largest = std::max(largest, std::abs(head));
  T squares = 0;
  for (int64_t i = j; i < a.rows; ++i) squares += (a[i][j] / largest) * (a[i][j] / largest);
  const T beta = -std::copysign(largest * std::sqrt(squares), head);
  const T divisor = head - beta;
  for (int64_t i = j + 1; i < a.rows; ++i) a[i][j] /= divisor;
  a[j][j] = beta;
  return (beta - head) / beta;
}

/// Columns [begin, end) of c -= tau v (v^T c), v being column j of `reflectors`; w [end - begin].
template <class T>
void apply_reflector(Matrix<T> reflectors, int64_t j, T tau, Matrix<T> c, int64_t begin,
                     int64_t end, T* w) {
  if (tau == 0) return;
  const int64_t n = end - begin;
  std::copy_n(c[j] + begin, n, w);
  for (int64_t i = j + 1; i < c.rows; ++i) axpy(reflectors[i][j], c[i] + begin, w, n);
  axpy(-tau, w, c[j] + begin, n);
  for (int64_t i = j + 1; i < c.rows; ++i) axpy(-tau * reflectors[i][j], w, c[i] + begin, n);
}

/// A product of reflectors as I - V T V^T: V [m, w] with its ones and zeros written out, T [w, w]
/// upper triangular.
template <class T>
class BlockReflector {
 public:
  /// Reflectors [k, k + w) of `a`, to be applied to matrices of `columns` columns.
  BlockReflector(Stream& stream, Matrix<T> a, int64_t k, int64_t w, const T* tau, int64_t columns)
      : stream_(stream),
        memory_(stream.scratch(static_cast<size_t>((a.rows - k) * w + w * w + 2 * w * columns) *
                               sizeof(T))),
        v_(memory_.template as<T>(), a.rows - k, w),
        t_(v_.data + v_.rows * w, w, w),
        room_(t_.data + w * w) {
    for (int64_t i = 0; i < v_.rows; ++i)
      for (int64_t j = 0; j < w; ++j) v_[i][j] = i < j ? T{0} : i == j ? T{1} : a[k + i][k + j];
    std::fill_n(t_.data, w * w, T{0});
    const Matrix<T> inner(room_, w, w);  // V^T V; columns >= w wherever there is a use for this
    std::fill_n(room_, w * w, T{0});
    multiply_add(stream, T{1}, v_, true, v_, false, inner);
    for (int64_t j = 0; j < w; ++j) {
      for (int64_t i = 0; i < j; ++i) {
        T sum = 0;
        for (int64_t l = i; l < j; ++l) sum += t_[i][l] * inner[l][j];
        t_[i][j] = -tau[k + j] * sum;
      }
      t_[j][j] = tau[k + j];
    }
  }

  /// c = (I - V T V^T) c, or its inverse, with T^T in place of T.
  void apply(Matrix<T> c, bool inverse) {
    const int64_t w = v_.cols;
    const Matrix<T> products(room_, w, c.cols), turned(room_ + w * c.cols, w, c.cols);
    std::fill_n(room_, 2 * w * c.cols, T{0});
    multiply_add(stream_, T{1}, v_, true, c, false, products);
    multiply_add(stream_, T{1}, t_, inverse, products, false, turned);
    multiply_add(stream_, T{-1}, v_, false, turned, false, c);
  }

 private:
  Stream& stream_;
  Scratch memory_;
  Matrix<T> v_, t_;
  T* room_;  // [2, w, columns]
};

constexpr int64_t reflector_block = 32;

}  // namespace

template <class T>
void own_reflectors(Stream& stream, Matrix<T> a, T* tau, T* work) {
  const int64_t m = a.rows, n = a.cols, p = std::min(m, n);
  const bool large = is_large(m, n);
  const int64_t step = large ? reflector_block : std::max<int64_t>(p, 1);
  for (int64_t k = 0; k < p; k += step) {
    const int64_t w = std::min(step, p - k), panel_end = large ? k + w : n;
    for (int64_t j = k; j < k + w; ++j) {
      tau[j] = make_reflector(a, j);
      apply_reflector(a, j, tau[j], a, j + 1, panel_end, work);
    }
    if (panel_end < n)
      BlockReflector<T>(stream, a, k, w, tau, std::max(n - panel_end, w))
          .apply(a.block(k, panel_end, m - k, n - panel_end), true);
  }
}

template <class T>
void own_product_of_reflectors(Stream& stream, Matrix<T> reflectors, int64_t count, const T* tau,
                               Matrix<T> q, T* work) {
  for (int64_t i = 0; i < q.rows; ++i)
    for (int64_t j = 0; j < q.cols; ++j) q[i][j] = i == j ? T{1} : T{0};
  if (!is_large(reflectors.rows, count)) {
    for (int64_t j = count - 1; j >= 0; --j)
      apply_reflector(reflectors, j, tau[j], q, j, q.cols, work);
    return;
  }
  for (int64_t k = (count - 1) / reflector_block * reflector_block; k >= 0; k -= reflector_block) {
    const int64_t w = std::min(reflector_block, count - k);
    BlockReflector<T>(stream, reflectors, k, w, tau, std::max(q.cols - k, w))
        .apply(q.block(k, k, q.rows - k, q.cols - k), false);
  }
}

template <class T>
void own_qr(Stream& stream, Matrix<T> a, Matrix<T> q, Matrix<T> r, T* work) {
  const int64_t p = std::min(a.rows, a.cols);
  T* tau = work;
  own_reflectors(stream, a, tau, work + p);
  own_product_of_reflectors(stream, a, p, tau, q, work + p);
  for (int64_t i = 0; i < r.rows; ++i) {
    const bool flip = i < p && a[i][i] < 0;
    for (int64_t j = 0; j < r.cols; ++j) r[i][j] = j < i ? T{0} : flip ? -a[i][j] : a[i][j];
    for (int64_t l = 0; flip && l < q.rows; ++l) q[l][i] = -q[l][i];
  }
}

template void multiply_add(Stream&, float, Matrix<float>, bool, Matrix<float>, bool, Matrix<float>);
template int32_t own_cholesky(Stream&, Matrix<float>);
template void own_triangular_solve(Matrix<float>, Matrix<float>, const TriangularParams&);
template int32_t own_lu(Stream&, Matrix<float>, int32_t*);
template void own_lu_solve(Matrix<float>, const int32_t*, Matrix<float>);
template void own_reflectors(Stream&, Matrix<float>, float*, float*);
template void own_product_of_reflectors(Stream&, Matrix<float>, int64_t, const float*,
                                        Matrix<float>, float*);
template void own_qr(Stream&, Matrix<float>, Matrix<float>, Matrix<float>, float*);

template void multiply_add(Stream&, double, Matrix<double>, bool, Matrix<double>, bool,
                           Matrix<double>);
template int32_t own_cholesky(Stream&, Matrix<double>);
template void own_triangular_solve(Matrix<double>, Matrix<double>, const TriangularParams&);
template int32_t own_lu(Stream&, Matrix<double>, int32_t*);
template void own_lu_solve(Matrix<double>, const int32_t*, Matrix<double>);
template void own_reflectors(Stream&, Matrix<double>, double*, double*);
template void own_product_of_reflectors(Stream&, Matrix<double>, int64_t, const double*,
                                        Matrix<double>, double*);
template void own_qr(Stream&, Matrix<double>, Matrix<double>, Matrix<double>, double*);

}  // namespace tessera::kernels::cpu
