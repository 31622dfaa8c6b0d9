// Own eigenvalues: Householder reduction to tridiagonal form, then implicit QL steps with
// Wilkinson's shift.
//
// The reduction reads the matrix once per column: the update for one reflector and the product with
// the next are one pass. The eigenvectors are kept as rows, so that plane rotations run over
// contiguous memory; the rotations of several steps are computed first and then applied to one
// strip of columns after the other, which stays in the first-level cache.
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tessera/kernels/cpu/linalg.hpp"
#include "tessera/kernels/cpu/matrix_scale.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/vector.hpp"

namespace tessera::kernels::cpu {
namespace {

/// row -= f x + g z; returns row u.
template <class T>
T update_and_dot(T* row, T f, const T* x, T g, const T* z, const T* u, int64_t n) {
  constexpr int64_t lanes = Vec<T>::width;
  const Vec<T> first(-f), second(-g);
  Vec<T> s0(T{0}), s1(T{0});
  int64_t j = 0;
  for (; j + 2 * lanes <= n; j += 2 * lanes) {
    const Vec<T> r0 = fma(second, load(z + j), fma(first, load(x + j), load(row + j)));
    const Vec<T> r1 =
        fma(second, load(z + j + lanes), fma(first, load(x + j + lanes), load(row + j + lanes)));
    store(row + j, r0), store(row + j + lanes, r1);
    s0 = fma(r0, load(u + j), s0);
    s1 = fma(r1, load(u + j + lanes), s1);
  }
  for (; j < n; j += lanes) {
    const int64_t k = std::min(lanes, n - j);
    const Vec<T> r = fma(second, load(z + j, k), fma(first, load(x + j, k), load(row + j, k)));
    store(row + j, r, k);
    s0 = fma(r, load(u + j, k), s0);
  }
  return horizontal_sum(s0 + s1);
}

/// Reduces the symmetric a (both triangles) to tridiagonal form: diagonal d, off-diagonal e (e[i]
/// between i and i + 1). Reflector k, which acts on rows k + 1 .., lies in column k below the
/// subdiagonal. work [4 n].
template <class T>
void tridiagonalize(Matrix<T> a, double* d, double* e, T* tau, T* work) {
  const int64_t n = a.rows;
  const bool large = is_large(n, n);
  // what is still to be taken off the rows and columns k ..: v p^T + p v^T, where `waiting`
  T *v = work, *p = v + n, *next_v = p + n, *next_p = next_v + n;
  bool waiting = false;
  for (int64_t k = 0; k < n; ++k) {
    const int64_t m = n - k - 1;
    if (waiting) {
      axpy(-v[0], p, a[k] + k, m + 1);
      axpy(-p[0], v, a[k] + k, m + 1);
    }
    d[k] = a[k][k];
    if (m == 0) break;
    // column k below the diagonal is row k to its right
    T* x = a[k] + k + 1;
    T largest = 0;
    for (int64_t i = 1; i < m; ++i) largest = std::max(largest, std::abs(x[i]));
    tau[k] = 0;
    e[k] = x[0];
    std::fill_n(next_v, m, T{0});
    if (largest != 0) {
      const T norm = std::sqrt(dot(x, x, m)), beta = -std::copysign(norm, x[0]);
      tau[k] = (beta - x[0]) / beta;
      e[k] = beta;
      const T divisor = x[0] - beta;
      next_v[0] = 1;
      for (int64_t i = 1; i < m; ++i) next_v[i] = x[i] / divisor;
    }
    for (int64_t i = 1; i < m; ++i) a[k + 1 + i][k] = next_v[i];
    // the rest -= v w^T + w v^T with w = p - tau / 2 (p^T v) v and p = tau rest v
    const int64_t grain = large ? 1 + (1 << 15) / m : m;
    parallel_for(m, grain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        T* row = a[k + 1 + i] + k + 1;
        next_p[i] =
            tau[k] * (waiting ? update_and_dot(row, v[i + 1], p + 1, p[i + 1], v + 1, next_v, m)
                              : dot(row, next_v, m));
      }
    });
    axpy(-tau[k] / 2 * dot(next_p, next_v, m), next_v, next_p, m);
    waiting = largest != 0;
    std::swap(v, next_v);
    std::swap(p, next_p);
  }
}

/// Plane rotations of the rows of a matrix, put off until there are sweeps enough to be worth
/// fetching its columns. A sweep turns rows i and i + 1 for i = top - 1 .. bottom.
template <class T>
class Rotations {
 public:
  static constexpr int64_t most = 32;
  /// memory [2 most rows]
  Rotations(Matrix<T> rows, double* memory, bool large)
      : rows_(rows), memory_(memory), large_(large) {}

  double* cosines() { return memory_ + 2 * count_ * rows_.rows; }
  double* sines() { return cosines() + rows_.rows; }
  /// Keeps the sweep whose cosines and sines have been written.
  void add(int64_t bottom, int64_t top) {
    if (bottom >= top) return;
    sweeps_[count_++] = {bottom, top};
    work_ += top - bottom;
    if (count_ == most) apply();
  }
  void apply() {
    if (count_ == 0) return;
    const int64_t strips = (rows_.cols + strip - 1) / strip;
    const int64_t grain = large_ ? 1 + (1 << 15) / (work_ * strip) : strips;
    parallel_for(strips, grain, [&](int64_t first, int64_t last) {
      std::vector<T> packed(static_cast<size_t>(rows_.rows * strip));
      for (int64_t i = first; i < last; ++i)
        turn_strip(packed.data(), i * strip, std::min(strip, rows_.cols - i * strip));
    });
    count_ = work_ = 0;
  }

 private:
  static constexpr int64_t width = Vec<T>::width, strip = 2 * width;

  void turn_strip(T* packed, int64_t column, int64_t lanes) {
    for (int64_t r = 0; r < rows_.rows; ++r)
      std::copy_n(rows_[r] + column, lanes, packed + r * strip);
    for (int64_t k = 0; k < count_; ++k) {
      const double *c = memory_ + 2 * k * rows_.rows, *s = c + rows_.rows;
      const auto [bottom, top] = sweeps_[k];
      // the row that two neighbouring rotations share stays in registers
      T* row = packed + top * strip;
      Vec<T> upper0 = load(row), upper1 = load(row + width);
      for (int64_t i = top - 1; i >= bottom; --i) {
        const Vec<T> cosine(static_cast<T>(c[i])), sine(static_cast<T>(s[i]));
        const Vec<T> lower0 = load(row - strip), lower1 = load(row - strip + width);
        store(row, fma(cosine, upper0, sine * lower0));
        store(row + width, fma(cosine, upper1, sine * lower1));
        upper0 = fma(-sine, upper0, cosine * lower0);
        upper1 = fma(-sine, upper1, cosine * lower1);
        row -= strip;
      }
      store(row, upper0), store(row + width, upper1);
    }
    for (int64_t r = 0; r < rows_.rows; ++r)
      std::copy_n(packed + r * strip, lanes, rows_[r] + column);
  }

  struct Sweep {
    int64_t bottom, top;
  };
  Matrix<T> rows_;
  double* memory_;
  bool large_;
  Sweep sweeps_[most];
  int64_t count_ = 0, work_ = 0;
};

/// Implicit QL on the tridiagonal matrix (d, e), scaled to magnitudes about 1, turning the rows of
/// vt along. work [2 Rotations<T>::most n]. False if an eigenvalue takes more than 60 steps.
template <class T>
bool tridiagonal_ql(int64_t n, double* d, double* e, Matrix<T> vt, double* work) {
  constexpr double epsilon = std::numeric_limits<T>::epsilon();
  Rotations<T> rotations(vt, work, is_large(n, n));
  e[n - 1] = 0;
  double norm = 0;
  for (int64_t i = 0; i < n; ++i) norm = std::max(norm, std::abs(d[i]) + std::abs(e[i]));
  // measured by the whole matrix: next to tiny neighbours rounding keeps e from falling further
  const double negligible_e = epsilon / 2 * norm;
  for (int64_t l = 0; l < n; ++l) {
    for (int steps = 0;; ++steps) {
      int64_t m = l;
      while (m + 1 < n && std::abs(e[m]) > negligible_e) ++m;
      if (m == l) break;
      if (steps == 60) return false;
      // the eigenvalue of the leading 2 x 2 block that is nearer to d[l]
      double g = (d[l + 1] - d[l]) / (2 * e[l]);
      g = d[m] - d[l] + e[l] / (g + std::copysign(std::hypot(g, 1.0), g));
      double sine = 1, cosine = 1, shift = 0;
      double *const c = rotations.cosines(), *const s = rotations.sines();
      int64_t i = m - 1;
      for (; i >= l; --i) {
        const double f = sine * e[i], b = cosine * e[i], r = std::sqrt(f * f + g * g);
        e[i + 1] = r;
        if (r == 0) {  // the matrix splits here: what is left of the step is not needed
          d[i + 1] -= shift;
          e[m] = 0;
          break;
        }
        const double inverse = 1 / r;
        sine = f * inverse;
        cosine = g * inverse;
        g = d[i + 1] - shift;
        const double t = (d[i] - g) * sine + 2 * cosine * b;
        shift = sine * t;
        d[i + 1] = g + shift;
        g = cosine * t - b;
        c[i] = cosine;
        s[i] = sine;
      }
      rotations.add(i + 1, m);
      if (i >= l) continue;
      d[l] -= shift;
      e[l] = g;
      e[m] = 0;
    }
  }
  rotations.apply();
  return true;
}

}  // namespace

template <class T>
int32_t own_eigh(Stream& stream, Matrix<T> a, T* w, Matrix<T> vt, double* work) {
  const int64_t n = a.rows;
  if (n == 0) return 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j) a[j][i] = a[i][j];
  const T factor = scale_of(largest_magnitude(a));
  if (factor == 0) return -1;
  scale(a, factor);

  double *d = work, *e = d + n, *turns = e + n;
  T* small = reinterpret_cast<T*>(turns + 2 * Rotations<T>::most * n);
  T *tau = small, *reflectors = tau + n;  // [n], [4 n]
  const Matrix<T> q(reinterpret_cast<T*>(work + n * (7 + 2 * Rotations<T>::most)), n, n);
  tridiagonalize(a, d, e, tau, reflectors);
  std::fill_n(q[0], n, T{0});
  q[0][0] = 1;
  for (int64_t i = 1; i < n; ++i) q[i][0] = 0;
  if (n > 1)
    own_product_of_reflectors(stream, a.block(1, 0, n - 1, n - 1), n - 2, tau,
                              q.block(1, 1, n - 1, n - 1), reflectors);

  // vt starts as q^T; afterwards rows are sorted through q
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) vt[j][i] = q[i][j];
  if (!tridiagonal_ql(n, d, e, vt, turns)) return -1;
  int64_t* order = reinterpret_cast<int64_t*>(turns);
  std::iota(order, order + n, 0);
  std::stable_sort(order, order + n, [d](int64_t i, int64_t j) { return d[i] < d[j]; });
  for (int64_t i = 0; i < n; ++i) {
    w[i] = static_cast<T>(d[order[i]] / factor);
    std::copy_n(vt[order[i]], n, q[i]);
  }
  for (int64_t i = 0; i < n; ++i) std::copy_n(q[i], n, vt[i]);
  return 0;
}

template int32_t own_eigh(Stream&, Matrix<float>, float*, Matrix<float>, double*);
template int32_t own_eigh(Stream&, Matrix<double>, double*, Matrix<double>, double*);

}  // namespace tessera::kernels::cpu
