// Dense linear algebra: checks, batches, and the choice between our own methods and LAPACK.
//
// LAPACK reads memory by columns, so a row-major matrix looks transposed to it; each vendor
// function below says how it puts that to use.
#include "tessera/kernels/cpu/linalg.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/lapack.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/linalg_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

#if defined(TESSERA_HAVE_BLAS)
constexpr bool has_vendor = true;
#else
constexpr bool has_vendor = false;
#endif

/// Calls body(matrix, work) -> status for each matrix of the batch, with `work_size` Ts of scratch,
/// and reports what failed. Large matrices come one after the other on the calling thread, small
/// ones on several threads.
template <class T, class Body>
void for_each(const MatrixBatch& batch, Stream& stream, bool one_by_one, int64_t work_size,
              const LinalgParams& params, Body&& body, Complaint complaint) {
  batch.check_status(params);
  const int64_t count = batch.count(), rows = batch.rows(), cols = batch.cols();
  if (count == 0) return;
  const int64_t work_per_matrix = 16 + rows * cols * std::min(rows, cols);
  const int64_t workers = one_by_one ? 1
                                     : std::clamp<int64_t>(count * work_per_matrix / (1 << 16), 1,
                                                           std::min<int64_t>(count, max_threads()));
  const Scratch scratch = stream.scratch(static_cast<size_t>(workers * work_size) * sizeof(T));
  const Scratch own_status = stream.scratch(static_cast<size_t>(count) * sizeof(int32_t));
  int32_t* status = params.status ? params.status.as<int32_t>() : own_status.as<int32_t>();
  const auto some = [&](int64_t worker) {
    for (int64_t b = count * worker / workers; b < count * (worker + 1) / workers; ++b)
      status[b] = body(b, scratch.as<T>() + worker * work_size);
  };
  if (workers == 1)
    some(0);  // outside of a parallel region, so that the matrix may use all threads
  else
    parallel_blocks(workers, some);
  for (int64_t b = 0; b < count && !params.status; ++b)
    TS_CHECK(status[b] == 0, batch.operation(), ": matrix ", b, " ", complaint(status[b]));
}

template <class T>
Matrix<T> matrix_at(const View& v, int64_t b) {
  const int64_t rows = v.shape[v.rank - 2], cols = v.shape[v.rank - 1];
  return {v.as<T>() + b * rows * cols, rows, cols};
}

template <class T>
void copy(Matrix<T> from, Matrix<T> to) {
  if (from.data == to.data) return;
  for (int64_t i = 0; i < from.rows; ++i) std::copy_n(from[i], from.cols, to[i]);
}

template <class T>
void copy_transposed(Matrix<T> from, Matrix<T> to) {
  constexpr int64_t tile = 16;
  for (int64_t i0 = 0; i0 < from.rows; i0 += tile)
    for (int64_t j0 = 0; j0 < from.cols; j0 += tile)
      for (int64_t i = i0; i < std::min(i0 + tile, from.rows); ++i)
        for (int64_t j = j0; j < std::min(j0 + tile, from.cols); ++j) to[j][i] = from[i][j];
}

bool use_vendor(std::string_view operation, const LinalgParams& params, int64_t n) {
  if (params.variant == LinalgVariant::vendor && !has_vendor)
    throw Error(ErrorKind::unsupported, concat(operation, ": this build has no LAPACK"));
  return has_vendor &&
         (params.variant == LinalgVariant::vendor ||
          (params.variant == LinalgVariant::automatic &&
           choose_linalg(n, params.deterministic, has_vendor) == LinalgVariant::vendor));
}

template <class T>
bool finite(Matrix<T> a) {
  T sum = 0;  // of zeros, or NaN
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.cols; ++j) sum += a[i][j] * T{0};
  return sum == 0;
}

// --- the vendor's methods, one matrix at a time; never called without has_vendor ---

#if defined(TESSERA_HAVE_BLAS)

int to_int(int64_t n) { return static_cast<int>(n); }

/// By columns a's lower triangle is the upper one, and U^T U = a has U = L^T in L's memory.
template <class T>
int32_t vendor_cholesky(Matrix<T> a) {
  const int info = a.rows == 0 ? 0 : lapack_potrf('U', to_int(a.rows), a.data);
  for (int64_t i = 0; i < a.rows; ++i) std::fill(a[i] + i + 1, a[i] + a.cols, T{0});
  return info != 0 ? info : finite(a) ? 0 : to_int(a.rows);
}

/// op(a) x = b is x^T op(a)^T = b^T, with x^T, a^T and b^T in memory.
template <class T>
void vendor_triangular_solve(Matrix<T> a, Matrix<T> x, const TriangularParams& p) {
  if (x.rows == 0 || x.cols == 0) return;
  lapack_trsm('R', p.upper ? 'L' : 'U', p.transpose ? 'T' : 'N', p.unit_diagonal ? 'U' : 'N',
              to_int(x.cols), to_int(x.rows), a.data, to_int(a.stride), x.data);
}

/// Factors a^T, which is what LAPACK sees, and solves with the transpose of that. work: b by
/// columns.
template <class T>
int32_t vendor_solve(Matrix<T> a, int32_t* pivot, Matrix<T> x, T* work) {
  if (a.rows == 0 || x.cols == 0) return 0;
  if (!finite(a)) return -1;
  if (const int info = lapack_getrf(to_int(a.rows), a.data, pivot)) return info;
  const Matrix<T> by_columns(work, x.cols, x.rows);
  copy_transposed(x, by_columns);
  lapack_getrs('T', to_int(a.rows), to_int(x.cols), a.data, pivot, work);
  copy_transposed(by_columns, x);
  return 0;
}

/// qt and work hold matrices by columns, that is, transposed. work [rows * max(columns of a, of
/// q)].
template <class T>
int32_t vendor_qr(Stream& stream, Matrix<T> a, Matrix<T> q, Matrix<T> r, T* work) {
  const int64_t m = a.rows, n = a.cols, p = std::min(m, n);
  if (p == 0) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < q.cols; ++j) q[i][j] = i == j ? T{1} : T{0};
    return 0;
  }
  const Matrix<T> at(work, n, m), qt(work, q.cols, m);
  T sizes[2], *tau = work + m * std::max(n, q.cols);
  copy_transposed(a, at);
  lapack_geqrf(to_int(m), to_int(n), work, tau, &sizes[0], -1);
  lapack_orgqr(to_int(m), to_int(q.cols), to_int(p), work, tau, &sizes[1], -1);
  const int size = static_cast<int>(std::max(sizes[0], sizes[1]));
  const Scratch scratch = stream.scratch(static_cast<size_t>(size) * sizeof(T));
  lapack_geqrf(to_int(m), to_int(n), work, tau, scratch.as<T>(), size);
  for (int64_t i = 0; i < r.rows; ++i)
    for (int64_t j = 0; j < n; ++j) r[i][j] = j < i ? T{0} : at[j][i];
  lapack_orgqr(to_int(m), to_int(q.cols), to_int(p), work, tau, scratch.as<T>(), size);
  copy_transposed(qt, q);
  for (int64_t i = 0; i < p; ++i) {
    if (!(r[i][i] < 0)) continue;
    for (int64_t j = i; j < n; ++j) r[i][j] = -r[i][j];
    for (int64_t l = 0; l < m; ++l) q[l][i] = -q[l][i];
  }
  return 0;
}

/// Eigenvectors come as columns, hence as rows of vt, which holds a at first.
template <class T>
int32_t vendor_eigh(Stream& stream, Matrix<T> a, T* w, Matrix<T> vt) {
  const int n = to_int(a.rows);
  if (n == 0) return 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) vt[i][j] = vt[j][i] = a[i][j];
  if (!finite(vt)) return -1;
  T size = 0;
  int integer_size = 0;
  lapack_syevd('U', n, vt.data, w, &size, -1, &integer_size, -1);
  const Scratch work = stream.scratch(static_cast<size_t>(size) * sizeof(T));
  const Scratch integers = stream.scratch(static_cast<size_t>(integer_size) * sizeof(int));
  return lapack_syevd('U', n, vt.data, w, work.as<T>(), static_cast<int>(size), integers.as<int>(),
                      integer_size) == 0
             ? 0
             : -1;
}

/// LAPACK sees a^T = v diag(s) u^T, so that its u is our v: by columns, hence vt in memory.
template <class T>
int32_t vendor_svd(Stream& stream, Matrix<T> a, Matrix<T> u, T* s, Matrix<T> vt) {
  const int m = to_int(a.rows), n = to_int(a.cols), p = std::min(m, n);
  if (p == 0) return 0;
  if (!finite(a)) return -1;
  const Scratch integers = stream.scratch(static_cast<size_t>(8 * p) * sizeof(int));
  T size = 0;
  lapack_gesdd(n, m, a.data, s, vt.data, u.data, &size, -1, integers.as<int>());
  const Scratch work = stream.scratch(static_cast<size_t>(size) * sizeof(T));
  return lapack_gesdd(n, m, a.data, s, vt.data, u.data, work.as<T>(), static_cast<int>(size),
                      integers.as<int>()) == 0
             ? 0
             : -1;
}

#else

template <class... Args>
int32_t vendor_cholesky(Args&&...) {
  return -1;
}
template <class... Args>
void vendor_triangular_solve(Args&&...) {}
template <class... Args>
int32_t vendor_solve(Args&&...) {
  return -1;
}
template <class... Args>
int32_t vendor_qr(Args&&...) {
  return -1;
}
template <class... Args>
int32_t vendor_eigh(Args&&...) {
  return -1;
}
template <class... Args>
int32_t vendor_svd(Args&&...) {
  return -1;
}

#endif

// --- the family's functions ---

void cholesky(Stream& stream, View a, View l, const LinalgParams& params) {
  const MatrixBatch batch = check_cholesky(a, l);
  const int64_t n = batch.rows();
  const bool vendor = use_vendor("cholesky", params, n);
  for_real(a.dtype, "cholesky", [&]<class T>() {
    for_each<T>(
        batch, stream, vendor || is_large(n, n), 0, params,
        [&](int64_t b, T*) {
          copy(matrix_at<T>(a, b), matrix_at<T>(l, b));
          return vendor ? vendor_cholesky(matrix_at<T>(l, b))
                        : own_cholesky(stream, matrix_at<T>(l, b));
        },
        cholesky_complaint);
  });
}

void triangular_solve(Stream& stream, View a, View b, View x, const TriangularParams& triangle,
                      const LinalgParams& params) {
  const MatrixBatch batch = check_right_sides("triangular_solve", a, b, x);
  const int64_t n = batch.rows(), k = b.shape[b.rank - 1];
  const bool vendor = use_vendor("triangular_solve", params, n);
  for_real(a.dtype, "triangular_solve", [&]<class T>() {
    for_each<T>(
        batch, stream, vendor || is_large(n, std::max(n, k)), 0, params,
        [&](int64_t i, T*) {
          copy(matrix_at<T>(b, i), matrix_at<T>(x, i));
          if (vendor)
            vendor_triangular_solve(matrix_at<T>(a, i), matrix_at<T>(x, i), triangle);
          else
            own_triangular_solve(matrix_at<T>(a, i), matrix_at<T>(x, i), triangle);
          return 0;
        },
        no_complaint);
  });
}

void solve(Stream& stream, View a, View b, View x, const LinalgParams& params) {
  const MatrixBatch batch = check_right_sides("solve", a, b, x);
  const int64_t n = batch.rows(), k = b.shape[b.rank - 1];
  const bool vendor = use_vendor("solve", params, n);
  for_real(a.dtype, "solve", [&]<class T>() {
    for_each<T>(
        batch, stream, vendor || is_large(n, std::max(n, k)), n * n + n * k + n, params,
        [&](int64_t i, T* work) {
          const Matrix<T> lu(work, n, n), right = matrix_at<T>(x, i);
          auto* pivot = reinterpret_cast<int32_t*>(work + n * n + n * k);
          copy(matrix_at<T>(a, i), lu);
          copy(matrix_at<T>(b, i), right);
          if (vendor) return vendor_solve(lu, pivot, right, work + n * n);
          if (const int32_t status = own_lu(stream, lu, pivot)) return status;
          own_lu_solve(lu, pivot, right);
          return 0;
        },
        solve_complaint);
  });
}

void qr(Stream& stream, View a, View q, View r, const LinalgParams& params) {
  const MatrixBatch batch = check_qr(a, q, r);
  const int64_t m = batch.rows(), n = batch.cols(), p = std::min(m, n), k = q.shape[q.rank - 1];
  const bool vendor = use_vendor("qr", params, p);
  for_real(a.dtype, "qr", [&]<class T>() {
    for_each<T>(
        batch, stream, vendor || is_large(m, n), m * std::max(n, k) + qr_work(m, n), params,
        [&](int64_t i, T* work) {
          if (vendor)
            return vendor_qr(stream, matrix_at<T>(a, i), matrix_at<T>(q, i), matrix_at<T>(r, i),
                             work);
          const Matrix<T> reflectors(work, m, n);
          copy(matrix_at<T>(a, i), reflectors);
          own_qr(stream, reflectors, matrix_at<T>(q, i), matrix_at<T>(r, i), work + m * n);
          return 0;
        },
        no_complaint);
  });
}

void eigh(Stream& stream, View a, View w, View v, const LinalgParams& params) {
  const MatrixBatch batch = check_eigh(a, w, v);
  const int64_t n = batch.rows();
  const bool vendor = use_vendor("eigh", params, n);
  for_real(a.dtype, "eigh", [&]<class T>() {
    for_each<double>(
        batch, stream, vendor || is_large(n, n), 2 * n * n + eigh_work(n), params,
        [&](int64_t b, double* work) {
          const Matrix<T> vt(reinterpret_cast<T*>(work), n, n),
              copied(reinterpret_cast<T*>(work + n * n), n, n);
          T* values = w.as<T>() + b * n;
          copy(matrix_at<T>(a, b), copied);
          const int32_t status = vendor ? vendor_eigh(stream, copied, values, vt)
                                        : own_eigh(stream, copied, values, vt, work + 2 * n * n);
          if (status != 0) return status;
          fix_signs<T>(vt, nullptr);
          copy_transposed(vt, matrix_at<T>(v, b));
          return 0;
        },
        spectral_complaint);
  });
}

void svd(Stream& stream, View a, View u, View s, View vt, const LinalgParams& params) {
  const MatrixBatch batch = check_svd(a, u, s, vt);
  const int64_t m = batch.rows(), n = batch.cols(), p = std::min(m, n), longer = std::max(m, n);
  const bool vendor = use_vendor("svd", params, p);
  for_real(a.dtype, "svd", [&]<class T>() {
    for_each<T>(
        batch, stream, vendor || is_large(m, n), 2 * m * n + p * p + svd_work(longer, p), params,
        [&](int64_t b, T* work) {
          const Matrix<T> from = matrix_at<T>(a, b), left = matrix_at<T>(u, b),
                          right = matrix_at<T>(vt, b);
          const Matrix<T> tall(work, longer, p), ut(tall.data + m * n, p, m);
          T* sigma = s.as<T>() + b * p;
          int32_t status = 0;
          if (vendor) {
            const Matrix<T> copied(work, m, n);
            copy(from, copied);
            status = vendor_svd(stream, copied, left, sigma, right);
            copy_transposed(left, ut);
          } else if (m >= n) {
            copy(from, tall);
            status = own_svd(stream, tall, ut, sigma, right, ut.data + p * m);
          } else {  // the transpose is tall; its right vectors are our left ones
            copy_transposed(from, tall);
            status = own_svd(stream, tall, right, sigma, ut, ut.data + p * m);
          }
          if (status != 0) return status;
          fix_signs(ut, &right);
          copy_transposed(ut, left);
          return 0;
        },
        spectral_complaint);
  });
}

}  // namespace

const LinalgKernels linalg_kernels{
    .cholesky = cholesky,
    .triangular_solve = triangular_solve,
    .solve = solve,
    .qr = qr,
    .eigh = eigh,
    .svd = svd,
    .gram = gram,
    .project = project,
};

}  // namespace tessera::kernels::cpu
