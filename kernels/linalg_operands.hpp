#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tessera/kernels/linalg.hpp"
#include "tessera/runtime/error.hpp"

/// Operands of the linalg family, checked against the contract of the family's header, and what is
/// said of matrices that failed; errors name the operation, shapes and dtypes.
namespace tessera::kernels {

/// Calls body.operator()<T>() for f32 and f64.
template <class Body>
void for_real(DType dtype, std::string_view operation, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body.template operator()<float>();
    case DType::f64:
      return body.template operator()<double>();
    default:
      unsupported_dtype(operation, dtype);
  }
}

/// The operands of one call: a batch of matrices each.
class MatrixBatch {
 public:
  MatrixBatch(std::string_view operation, const View& first)
      : operation_(operation), first_(first) {
    TS_CHECK(first.rank >= 2, operation, ": expected [.., rows, columns], got ", first.dims());
    for (int i = 0; i < first.rank - 2; ++i) count_ *= first.shape[i];
    check(first, rows(), cols());
  }
  std::string_view operation() const { return operation_; }
  int64_t count() const { return count_; }
  int64_t rows() const { return first_.shape[first_.rank - 2]; }
  int64_t cols() const { return first_.shape[first_.rank - 1]; }
  void square() const {
    TS_CHECK(rows() == cols(), operation_, ": expected square matrices, got ", first_.dims());
  }
  /// x must be a batch of `m` x `n` matrices to go with the first operand.
  void check(const View& x, int64_t m, int64_t n) const {
    Shape expected(std::span<const int64_t>(first_.shape, first_.rank - 2));
    expected.push_back(m);
    if (n >= 0) expected.push_back(n);  // -1: vectors
    TS_CHECK(x.dims() == expected, operation_, ": expected ", expected, " to go with ",
             first_.dims(), ", got ", x.dims());
    TS_CHECK(x.dtype == first_.dtype, operation_, ": dtypes ", first_.dtype, " and ", x.dtype,
             " differ");
    TS_CHECK(x.contiguous(), operation_, ": operands must be contiguous");
  }
  void check_status(const LinalgParams& params) const {
    TS_CHECK(!params.status || (params.status.dtype == DType::i32 &&
                                params.status.numel() == count_ && params.status.contiguous()),
             operation_, ": status must be contiguous i32 with ", count_, " elements, got ",
             params.status.dtype, " ", params.status.dims());
  }

 private:
  std::string_view operation_;
  View first_;
  int64_t count_ = 1;
};

inline MatrixBatch check_cholesky(const View& a, const View& l) {
  const MatrixBatch batch("cholesky", a);
  batch.square();
  batch.check(l, batch.rows(), batch.rows());
  return batch;
}

/// Of `solve` and `triangular_solve`: a [.., n, n], b and x [.., n, k].
inline MatrixBatch check_right_sides(std::string_view operation, const View& a, const View& b,
                                     const View& x) {
  const MatrixBatch batch(operation, a);
  const int64_t n = batch.rows(), k = b.rank < 2 ? 0 : b.shape[b.rank - 1];
  batch.square();
  batch.check(b, n, k);
  batch.check(x, n, k);
  return batch;
}

inline MatrixBatch check_qr(const View& a, const View& q, const View& r) {
  const MatrixBatch batch("qr", a);
  const int64_t m = batch.rows(), n = batch.cols(), p = n < m ? n : m;
  const int64_t k = q.rank >= 2 && q.shape[q.rank - 1] == m ? m : p;  // full or thin
  batch.check(q, m, k);
  batch.check(r, k, n);
  return batch;
}

inline MatrixBatch check_eigh(const View& a, const View& w, const View& v) {
  const MatrixBatch batch("eigh", a);
  const int64_t n = batch.rows();
  batch.square();
  batch.check(w, n, -1);
  batch.check(v, n, n);
  return batch;
}

inline MatrixBatch check_svd(const View& a, const View& u, const View& s, const View& vt) {
  const MatrixBatch batch("svd", a);
  const int64_t m = batch.rows(), n = batch.cols(), p = n < m ? n : m;
  batch.check(u, m, p);
  batch.check(s, p, -1);
  batch.check(vt, p, n);
  return batch;
}

inline void check_gram(const View& x, const View& shift, const View& g) {
  TS_CHECK(x.rank == 2 && x.contiguous(), "gram: x must be contiguous [m, n], got ", x.dims());
  const int64_t n = x.shape[1];
  TS_CHECK(g.rank == 2 && g.shape[0] == n && g.shape[1] == n && g.contiguous(), "gram: x ",
           x.dims(), " does not give g ", g.dims());
  TS_CHECK(g.dtype == x.dtype || g.dtype == DType::f64, "gram: g is ", g.dtype, ", expected ",
           x.dtype, " or f64");
  TS_CHECK(!shift || (shift.rank == 1 && shift.shape[0] == n && shift.dtype == x.dtype &&
                      shift.contiguous()),
           "gram: shift must be contiguous ", x.dtype, " [", n, "], got ", shift.dtype, " ",
           shift.dims());
}

/// Completes the sentence "matrix 3 ..." about a matrix with this status, which is not 0.
using Complaint = std::string (*)(int32_t status);

inline std::string cholesky_complaint(int32_t status) {
  return concat("is not positive definite: the pivot of row ", status - 1,
                " is not a positive number");
}
inline std::string solve_complaint(int32_t status) {
  return status < 0 ? std::string("is not finite")
                    : concat("is singular: no pivot is left in column ", status - 1);
}
inline std::string spectral_complaint(int32_t) { return "did not converge or is not finite"; }
inline std::string no_complaint(int32_t) { return "failed"; }  // of what cannot fail

}  // namespace tessera::kernels
