// Own singular values: QR first, then one-sided Jacobi on the rows of R, which finds small singular
// values to high relative accuracy; pairs of rows are visited in rounds of disjoint pairs, which
// threads share.
#include <atomic>
#include <cmath>
#include <limits>

#include "tessera/kernels/cpu/linalg.hpp"
#include "tessera/kernels/cpu/matrix_scale.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/vector.hpp"

namespace tessera::kernels::cpu {

template <class T>
void fix_signs(Matrix<T> rows, const Matrix<T>* other) {
  for (int64_t i = 0; i < rows.rows; ++i) {
    int64_t at = 0;
    for (int64_t j = 1; j < rows.cols; ++j)
      if (std::abs(rows[i][j]) > std::abs(rows[i][at])) at = j;
    if (rows.cols == 0 || !(rows[i][at] < 0)) continue;
    for (int64_t j = 0; j < rows.cols; ++j) rows[i][j] = -rows[i][j];
    for (int64_t j = 0; other && j < other->cols; ++j) (*other)[i][j] = -(*other)[i][j];
  }
}

namespace {

/// Squared norms up to this are noise: they have lost their digits, or all of them.
template <class T>
constexpr T negligible = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();

/// Makes rows p and q of x orthogonal by a rotation that is applied to y as well; false if they
/// were already.
template <class T>
bool orthogonalize(Matrix<T> x, Matrix<T> y, int64_t p, int64_t q, T tolerance) {
  const T pp = dot(x[p], x[p], x.cols), qq = dot(x[q], x[q], x.cols), pq = dot(x[p], x[q], x.cols);
  if (std::min(pp, qq) <= negligible<T>) return false;
  if (std::abs(pq) <= tolerance * std::sqrt(pp) * std::sqrt(qq)) return false;
  const T zeta = (qq - pp) / (2 * pq);
  const T t = std::copysign(T{1}, zeta) / (std::abs(zeta) + std::hypot(T{1}, zeta));
  const T c = 1 / std::sqrt(1 + t * t), s = c * t;
  rotate(c, s, x[p], x[q], x.cols);
  rotate(c, s, y[p], y[q], y.cols);
  return true;
}

/// Rotates the rows of x until all are orthogonal to each other, y along. False after 40 rounds.
template <class T>
bool jacobi(Matrix<T> x, Matrix<T> y, bool large) {
  const int64_t n = x.rows, players = n + (n & 1);  // an odd number plays with one pause
  const T tolerance =
      std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<T>(std::max<int64_t>(n, 1)));
  const int64_t pairs = players / 2,
                grain = large ? 1 + (1 << 14) / std::max<int64_t>(8 * n, 1) : pairs;
  for (int sweep = 0; sweep < 40; ++sweep) {
    std::atomic<bool> turned = false;
    for (int64_t round = 0; round + 1 < players; ++round)
      parallel_for(pairs, grain, [&](int64_t first, int64_t last) {
        for (int64_t k = first; k < last;
             ++k) {  // the last player stays, the others move on by one
          const int64_t others = players - 1;
          const int64_t a = k == 0 ? others : (round + k) % others,
                        b = (round + others - k) % others;
          if (std::max(a, b) >= n) continue;
          if (orthogonalize(x, y, std::min(a, b), std::max(a, b), tolerance))
            turned.store(true, std::memory_order_relaxed);
        }
      });
    if (!turned) return true;
  }
  return false;
}

/// Fills rows [known, rows) of the orthonormal set with unit vectors orthogonal to all before them.
template <class T>
void complete(Matrix<T> rows, int64_t known) {
  for (int64_t r = known; r < rows.rows; ++r) {
    // the unit vector that the rows so far cover least has at least 1 - r / cols of it left
    int64_t best = 0;
    T least = std::numeric_limits<T>::max();
    for (int64_t j = 0; j < rows.cols; ++j) {
      T covered = 0;
      for (int64_t i = 0; i < r; ++i) covered += rows[i][j] * rows[i][j];
      if (covered < least) least = covered, best = j;
    }
    T* x = rows[r];
    std::fill_n(x, rows.cols, T{0});
    x[best] = 1;
    for (int pass = 0; pass < 2; ++pass)
      for (int64_t i = 0; i < r; ++i) axpy(-dot(rows[i], x, rows.cols), rows[i], x, rows.cols);
    const T norm = std::sqrt(dot(x, x, rows.cols));
    for (int64_t j = 0; j < rows.cols; ++j) x[j] /= norm;
  }
}

}  // namespace

template <class T>
int32_t own_svd(Stream& stream, Matrix<T> a, Matrix<T> ut, T* s, Matrix<T> vt, T* work) {
  const int64_t m = a.rows, n = a.cols;
  if (n == 0) return 0;
  const T factor = scale_of(largest_magnitude(a));
  if (factor == 0) return -1;
  scale(a, factor);

  const bool large = is_large(m, n);
  const Matrix<T> q(work, m, n), r(q.data + m * n, n, n), turns(r.data + n * n, n, n);
  own_qr(stream, a, q, r, turns.data + n * n);
  T* norms = turns.data + n * n + qr_work(m, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) turns[i][j] = i == j ? T{1} : T{0};
  if (!jacobi(r, turns, large)) return -1;

  // turns r0 = diag(s) vt, hence a = q r0 = (q turns^T) diag(s) vt
  for (int64_t i = 0; i < n; ++i) norms[i] = std::sqrt(dot(r[i], r[i], n));
  int64_t rank = 0;
  for (int64_t i = 0; i < n; ++i) {  // selection of the largest left
    int64_t best = i;
    for (int64_t j = i + 1; j < n; ++j)
      if (norms[j] > norms[best]) best = j;
    if (best != i) {
      std::swap(norms[i], norms[best]);
      std::swap_ranges(r[i], r[i] + n, r[best]);
      std::swap_ranges(turns[i], turns[i] + n, turns[best]);
    }
    s[i] = norms[i] / factor;
    if (norms[i] * norms[i] <= negligible<T>) continue;
    ++rank;
    for (int64_t j = 0; j < n; ++j) vt[i][j] = r[i][j] / norms[i];
  }
  complete(vt, rank);
  if (large) {
    for (int64_t i = 0; i < n; ++i) std::fill_n(ut[i], m, T{0});
    multiply_add(stream, T{1}, turns, false, q, true, ut);
  } else {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < m; ++j) ut[i][j] = dot(turns[i], q[j], n);
  }
  return 0;
}

template void fix_signs(Matrix<float>, const Matrix<float>*);
template int32_t own_svd(Stream&, Matrix<float>, Matrix<float>, float*, Matrix<float>, float*);

template void fix_signs(Matrix<double>, const Matrix<double>*);
template int32_t own_svd(Stream&, Matrix<double>, Matrix<double>, double*, Matrix<double>, double*);

}  // namespace tessera::kernels::cpu
