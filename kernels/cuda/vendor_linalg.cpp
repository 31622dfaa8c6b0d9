// Dense linear algebra by cuSOLVER and cuBLAS. They know matrices by columns: row-major a is a' to
// them, and its lower triangle the upper one. Each function says what it makes of that.
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/cusolver.hpp"
#include "tessera/kernels/cuda/vendor.hpp"

namespace tessera::kernels::cuda {
namespace {

using cusolver::form, cusolver::Functions, cusolver::lib, cusolver::Session;

template <class T>
void cholesky(Stream& stream, const MatrixBatch& batch, const View& a, const View& l,
              int32_t* status) {
  // u' u = a, where u by columns is l in its place
  const Session<T> s{stream, batch};
  const int64_t n = batch.rows();
  const Functions& f = lib();
  if (a.data != l.data) copy_kernels.copy(stream, a, l);
  if (s.count == 1) {
    s.work(
        "cusolverDnXpotrf_bufferSize",
        [&](size_t* device, size_t* host) {
          return f.cusolverDnXpotrf_bufferSize(s.solver, s.params, CUBLAS_FILL_MODE_UPPER, n,
                                               s.type, l.data, n, s.type, device, host);
        },
        [&](void* device, size_t device_bytes, void* host, size_t host_bytes) {
          s.check(f.cusolverDnXpotrf(s.solver, s.params, CUBLAS_FILL_MODE_UPPER, n, s.type, l.data,
                                     n, s.type, device, device_bytes, host, host_bytes,
                                     s.info.template as<int>()),
                  "cusolverDnXpotrf");
        });
  } else {
    const typename Session<T>::Pointers of_l(s, l.as<T>(), n * n);
    s.check(form<T>(f.cusolverDnSpotrfBatched, f.cusolverDnDpotrfBatched)(
                s.solver, CUBLAS_FILL_MODE_UPPER, s.narrow(n), of_l.data, s.narrow(n),
                s.info.template as<int>(), s.narrow(s.count)),
            "cusolverDnpotrfBatched");
  }
  finish_cholesky(stream, s.matrices(l), s.info.template as<int32_t>(), status);
}

template <class T>
void triangular_solve(Stream& stream, const MatrixBatch& batch, const View& a, const View& b,
                      const View& x, const TriangularParams& triangle) {
  // x' op(a)' = b': the other triangle from the right, transposed where ours is
  const Session<T> s{stream, batch};
  const Functions& f = lib();
  const int n = s.narrow(batch.rows()), k = s.narrow(x.shape[x.rank - 1]);
  if (b.data != x.data) copy_kernels.copy(stream, b, x);
  const cublasFillMode_t fill = triangle.upper ? CUBLAS_FILL_MODE_LOWER : CUBLAS_FILL_MODE_UPPER;
  const cublasOperation_t operation = triangle.transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasDiagType_t diagonal =
      triangle.unit_diagonal ? CUBLAS_DIAG_UNIT : CUBLAS_DIAG_NON_UNIT;
  const T one = 1;
  if (s.count == 1) {
    s.check(form<T>(f.cublasStrsm_v2, f.cublasDtrsm_v2)(s.blas, CUBLAS_SIDE_RIGHT, fill, operation,
                                                        diagonal, k, n, &one, a.as<T>(), n,
                                                        x.as<T>(), k),
            "cublastrsm");
    return;
  }
  const typename Session<T>::Pointers of_a(s, a.as<T>(), int64_t{n} * n),
      of_x(s, x.as<T>(), int64_t{n} * k);
  s.check(form<T>(f.cublasStrsmBatched, f.cublasDtrsmBatched)(
              s.blas, CUBLAS_SIDE_RIGHT, fill, operation, diagonal, k, n, &one, of_a.data, n,
              of_x.data, k, s.narrow(s.count)),
          "cublastrsmBatched");
}

template <class T>
void solve(Stream& stream, const MatrixBatch& batch, const View& a, const View& b, const View& x,
           int32_t* status) {
  // a and b are transposed first: LU of a itself, so that its columns are the ones that statuses
  // number
  const Session<T> s{stream, batch};
  const Functions& f = lib();
  const int64_t n = batch.rows(), k = x.shape[x.rank - 1];
  const Scratch factors = s.room(s.count * n * n), right = s.room(s.count * n * k);
  const DenseMatrices<T> lu{factors.as<T>(), s.count, n, n}, bt{right.as<T>(), s.count, k, n};
  copy_finite<T>(stream, {.a = s.matrices(a), .to = lu, .transposed = true}, status);
  copy_kernels.copy(stream, s.matrices(b).view(), bt.view(true));
  auto* const info = s.info.template as<int32_t>();
  if (s.count == 1) {
    const Scratch pivots = s.template room<int64_t>(n), ignored = s.template room<int32_t>(1);
    s.work(
        "cusolverDnXgetrf_bufferSize",
        [&](size_t* device, size_t* host) {
          return f.cusolverDnXgetrf_bufferSize(s.solver, s.params, n, n, s.type, lu.data, n, s.type,
                                               device, host);
        },
        [&](void* device, size_t device_bytes, void* host, size_t host_bytes) {
          s.check(
              f.cusolverDnXgetrf(s.solver, s.params, n, n, s.type, lu.data, n, pivots.as<int64_t>(),
                                 s.type, device, device_bytes, host, host_bytes, info),
              "cusolverDnXgetrf");
        });
    s.check(f.cusolverDnXgetrs(s.solver, s.params, CUBLAS_OP_N, n, k, s.type, lu.data, n,
                               pivots.as<int64_t>(), s.type, bt.data, n, ignored.as<int32_t>()),
            "cusolverDnXgetrs");
  } else {
    const Scratch pivots = s.template room<int32_t>(s.count * n);
    const typename Session<T>::Pointers of_lu(s, lu.data, n * n), of_b(s, bt.data, n * k);
    const int order = s.narrow(n), matrices = s.narrow(s.count);
    s.check(form<T>(f.cublasSgetrfBatched, f.cublasDgetrfBatched)(s.blas, order, of_lu.data, order,
                                                                  pivots.as<int>(), info, matrices),
            "cublasgetrfBatched");
    int wrong = 0;
    s.check(form<T>(f.cublasSgetrsBatched, f.cublasDgetrsBatched)(
                s.blas, CUBLAS_OP_N, order, s.narrow(k), of_lu.data, order, pivots.as<int>(),
                of_b.data, order, &wrong, matrices),
            "cublasgetrsBatched");
  }
  copy_kernels.copy(stream, bt.view(true), s.matrices(x).view());
  merge_info(stream, info, s.count, false, status);
}

template <class T>
void qr(Stream& stream, const MatrixBatch& batch, const View& a, const View& q, const View& r) {
  // a is transposed first; q comes by columns
  const Session<T> s{stream, batch};
  const Functions& f = lib();
  const int64_t m = batch.rows(), n = batch.cols(), p = std::min(m, n), k = q.shape[q.rank - 1],
                width = std::max(n, k);
  const Scratch columns = s.room(s.count * width * m), taus = s.room(s.count * p),
                signs = s.room(s.count * k);
  const DenseMatrices<T> at{columns.as<T>(), s.count, width, m};
  const auto part = [&](int64_t rows) {  // the first `rows` columns of each, as rows
    View v = at.view();
    v.shape[1] = rows;
    return v;
  };
  const auto transposed = [](View v) {
    std::swap(v.shape[1], v.shape[2]);
    std::swap(v.stride[1], v.stride[2]);
    return v;
  };
  copy_kernels.copy(stream, transposed(s.matrices(a).view()), part(n));
  for (int64_t b = 0; b < s.count; ++b) {
    T *const of_a = at.data + b * width * m, *const tau = taus.as<T>() + b * p;
    s.work(
        "cusolverDnXgeqrf_bufferSize",
        [&](size_t* device, size_t* host) {
          return f.cusolverDnXgeqrf_bufferSize(s.solver, s.params, m, n, s.type, of_a, m, s.type,
                                               tau, s.type, device, host);
        },
        [&](void* device, size_t device_bytes, void* host, size_t host_bytes) {
          s.check(
              f.cusolverDnXgeqrf(s.solver, s.params, m, n, s.type, of_a, m, s.type, tau, s.type,
                                 device, device_bytes, host, host_bytes, s.info.template as<int>()),
              "cusolverDnXgeqrf");
        });
  }
  take_upper(stream, at, s.matrices(r), k, signs.as<T>());
  const int rows = s.narrow(m), vectors = s.narrow(k), reflectors = s.narrow(p);
  int elements = 0;
  s.check(form<T>(f.cusolverDnSorgqr_bufferSize, f.cusolverDnDorgqr_bufferSize)(
              s.solver, rows, vectors, reflectors, at.data, rows, taus.as<T>(), &elements),
          "cusolverDnorgqr_bufferSize");
  const Scratch work = s.room(elements);
  for (int64_t b = 0; b < s.count; ++b)
    s.check(form<T>(f.cusolverDnSorgqr, f.cusolverDnDorgqr)(
                s.solver, rows, vectors, reflectors, at.data + b * width * m, rows,
                taus.as<T>() + b * p, work.as<T>(), elements, s.info.template as<int>()),
            "cusolverDnorgqr");
  elementwise_kernels.binary(stream, BinaryOp::multiply, transposed(part(k)),
                             View{signs.as<T>(), dtype_of<T>, 3, {s.count, m, k}, {k, 0, 1}},
                             s.matrices(q).view());
}

template <class T>
void eigh(Stream& stream, const MatrixBatch& batch, const View& a, const View& w, const View& v,
          int32_t* status) {
  // eigenvectors come as columns, that is, as rows of the copy
  const Session<T> s{stream, batch};
  const Functions& f = lib();
  const int64_t n = batch.rows();
  const Scratch memory = s.room(s.count * n * n), factors = s.room(s.count);
  T *const rows = memory.as<T>(), *const values = w.as<T>();
  auto* const info = s.info.template as<int32_t>();
  copy_finite<T>(
      stream,
      {.a = s.matrices(a), .to = {rows, s.count, n, n}, .lower = true, .factors = factors.as<T>()},
      status);
  constexpr cusolverEigMode_t vectors = CUSOLVER_EIG_MODE_VECTOR;
  constexpr cublasFillMode_t fill = CUBLAS_FILL_MODE_UPPER;
  [[maybe_unused]] constexpr int64_t most = 16384;  // larger batches are refused at times
  for (int64_t b = 0; b < s.count;) {
    T *const of_a = rows + b * n * n, *const of_w = values + b * n;
#if CUSOLVER_VERSION >= 11701
    if (const int64_t some = std::min(most, s.count - b); some > 1) {
      s.work(
          "cusolverDnXsyevBatched_bufferSize",
          [&](size_t* device, size_t* host) {
            return f.cusolverDnXsyevBatched_bufferSize(s.solver, s.params, vectors, fill, n, s.type,
                                                       of_a, n, s.type, of_w, s.type, device, host,
                                                       some);
          },
          [&](void* device, size_t device_bytes, void* host, size_t host_bytes) {
            s.check(f.cusolverDnXsyevBatched(s.solver, s.params, vectors, fill, n, s.type, of_a, n,
                                             s.type, of_w, s.type, device, device_bytes, host,
                                             host_bytes, info + b, some),
                    "cusolverDnXsyevBatched");
          });
      b += some;
      continue;
    }
#endif
    s.work(
        "cusolverDnXsyevd_bufferSize",
        [&](size_t* device, size_t* host) {
          return f.cusolverDnXsyevd_bufferSize(s.solver, s.params, vectors, fill, n, s.type, of_a,
                                               n, s.type, of_w, s.type, device, host);
        },
        [&](void* device, size_t device_bytes, void* host, size_t host_bytes) {
          s.check(
              f.cusolverDnXsyevd(s.solver, s.params, vectors, fill, n, s.type, of_a, n, s.type,
                                 of_w, s.type, device, device_bytes, host, host_bytes, info + b),
              "cusolverDnXsyevd");
        });
    ++b;
  }
  s.divide(w, factors.as<T>());
  sign_vectors<T>(stream, {.count = s.count,
                           .vectors = n,
                           .length = n,
                           .right_length = 0,
                           .left = {rows, n * n, n, 1},
                           .to_left = {v.as<T>(), n * n, 1, n},
                           .right = {},
                           .to_right = {}});
  merge_info(stream, info, s.count, true, status);
}

constexpr int64_t largest_of_jacobi = 32;  // of matrices that gesvdjBatched takes

template <class T>
void svd(Stream& stream, const MatrixBatch& batch, const View& a, const View& u, const View& sigma,
         const View& vt, int32_t* status) {
  const Session<T> s{stream, batch};
  const Functions& f = lib();
  const int64_t m = batch.rows(), n = batch.cols(), p = std::min(m, n), longer = std::max(m, n);
  const Scratch memory = s.room(s.count * m * n), factors = s.room(s.count);
  auto* const info = s.info.template as<int32_t>();
  Signing<T> signing{.count = s.count,
                     .vectors = p,
                     .length = m,
                     .right_length = n,
                     .left = {},
                     .to_left = {u.as<T>(), m * p, 1, p},
                     .right = {},
                     .to_right = {vt.as<T>(), p * n, n, 1}};
  const auto finish = [&] {
    s.divide(sigma, factors.as<T>());
    sign_vectors(stream, signing);
    merge_info(stream, info, s.count, true, status);
  };
  if (longer <= largest_of_jacobi) {
    // a' = right diag(sigma) left', with square factors by columns
    const Scratch of_right = s.room(s.count * n * n), of_left = s.room(s.count * m * m);
    T *const right = of_right.as<T>(), *const left = of_left.as<T>();
    copy_finite<T>(
        stream,
        {.a = s.matrices(a), .to = {memory.as<T>(), s.count, m, n}, .factors = factors.as<T>()},
        status);
    const int rows = s.narrow(n), columns = s.narrow(m), matrices = s.narrow(s.count);
    constexpr cusolverEigMode_t vectors = CUSOLVER_EIG_MODE_VECTOR;
    int elements = 0;
    s.check(form<T>(f.cusolverDnSgesvdjBatched_bufferSize, f.cusolverDnDgesvdjBatched_bufferSize)(
                s.solver, vectors, rows, columns, memory.as<T>(), rows, sigma.as<T>(), right, rows,
                left, columns, &elements, s.handle.jacobi.value, matrices),
            "cusolverDngesvdjBatched_bufferSize");
    const Scratch work = s.room(elements);
    s.check(form<T>(f.cusolverDnSgesvdjBatched, f.cusolverDnDgesvdjBatched)(
                s.solver, vectors, rows, columns, memory.as<T>(), rows, sigma.as<T>(), right, rows,
                left, columns, work.as<T>(), elements, info, s.handle.jacobi.value, matrices),
            "cusolverDngesvdjBatched");
    signing.left = {left, m * m, m, 1};
    signing.right = {right, n * n, n, 1};
    return finish();
  }
  // gesvd wants matrices that are not wide: a, which is transposed for it, or a' as it lies. Of
  // the factors, U's columns are the long vectors and rows of VT, by columns, the short ones.
  const bool tall = m >= n;
  const Scratch of_long = s.room(s.count * longer * p), of_short = s.room(s.count * p * p);
  T *const long_vectors = of_long.as<T>(), *const short_vectors = of_short.as<T>();
  copy_finite<T>(stream,
                 {.a = s.matrices(a),
                  .to = {memory.as<T>(), s.count, p, longer},
                  .transposed = tall,
                  .factors = factors.as<T>()},
                 status);
  for (int64_t b = 0; b < s.count; ++b) {
    T *const of_a = memory.as<T>() + b * m * n, *const of_s = sigma.as<T>() + b * p,
             *const of_u = long_vectors + b * longer * p, *const of_vt = short_vectors + b * p * p;
    s.work(
        "cusolverDnXgesvd_bufferSize",
        [&](size_t* device, size_t* host) {
          return f.cusolverDnXgesvd_bufferSize(s.solver, s.params, 'S', 'S', longer, p, s.type,
                                               of_a, longer, s.type, of_s, s.type, of_u, longer,
                                               s.type, of_vt, p, s.type, device, host);
        },
        [&](void* device, size_t device_bytes, void* host, size_t host_bytes) {
          s.check(f.cusolverDnXgesvd(s.solver, s.params, 'S', 'S', longer, p, s.type, of_a, longer,
                                     s.type, of_s, s.type, of_u, longer, s.type, of_vt, p, s.type,
                                     device, device_bytes, host, host_bytes, info + b),
                  "cusolverDnXgesvd");
        });
  }
  const Vectors<const T> along{long_vectors, longer * p, longer, 1},
      across{short_vectors, p * p, 1, p};
  signing.left = tall ? along : across;
  signing.right = tall ? across : along;
  finish();
}

}  // namespace

bool has_vendor_linalg() {
  static const bool loads = [] {
    try {
      lib();
      return true;
    } catch (const Error&) {
      return false;
    }
  }();
  return loads;
}

void vendor_cholesky(Stream& stream, const MatrixBatch& batch, const View& a, const View& l,
                     int32_t* status) {
  for_real(a.dtype, "cholesky", [&]<class T>() { cholesky<T>(stream, batch, a, l, status); });
}
void vendor_triangular_solve(Stream& stream, const MatrixBatch& batch, const View& a, const View& b,
                             const View& x, const TriangularParams& triangle) {
  for_real(a.dtype, "triangular_solve",
           [&]<class T>() { triangular_solve<T>(stream, batch, a, b, x, triangle); });
}
void vendor_solve(Stream& stream, const MatrixBatch& batch, const View& a, const View& b,
                  const View& x, int32_t* status) {
  for_real(a.dtype, "solve", [&]<class T>() { solve<T>(stream, batch, a, b, x, status); });
}
void vendor_qr(Stream& stream, const MatrixBatch& batch, const View& a, const View& q,
               const View& r) {
  for_real(a.dtype, "qr", [&]<class T>() { qr<T>(stream, batch, a, q, r); });
}
void vendor_eigh(Stream& stream, const MatrixBatch& batch, const View& a, const View& w,
                 const View& v, int32_t* status) {
  for_real(a.dtype, "eigh", [&]<class T>() { eigh<T>(stream, batch, a, w, v, status); });
}
void vendor_svd(Stream& stream, const MatrixBatch& batch, const View& a, const View& u,
                const View& s, const View& vt, int32_t* status) {
  for_real(a.dtype, "svd", [&]<class T>() { svd<T>(stream, batch, a, u, s, vt, status); });
}

}  // namespace tessera::kernels::cuda
