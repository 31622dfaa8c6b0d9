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

/// Calls body.operator()<T>() for the dtypes of pixels: floating ones, i16 and u16.
template <class Body>
void for_pixel(DType dtype, std::string_view operation, Body&& body) {
  switch (dtype) {
    case DType::i16:
      return body.template operator()<int16_t>();
    case DType::u16:
      return body.template operator()<uint16_t>();
    default:
      return for_float(dtype, operation, body);
  }
}

/// The pixels x bands operand of `gram` and `project`: pixel r lies at row(r), its bands `band`
/// elements apart.
struct Pixels {
  int64_t count = 1, bands, columns;  // pixels per image row
  int64_t row_step, column_step, band;

  Pixels(std::string_view operation, const View& x, const SpectralParams& params) {
    TS_CHECK(x.rank == 2 || x.rank == 3, operation,
             ": x must be [pixels, bands] or [rows, columns, bands], got ", x.dims());
    for (int i = 0; i + 1 < x.rank; ++i) count *= x.shape[i];
    bands = x.shape[x.rank - 1];
    columns = x.shape[x.rank - 2];
    row_step = x.rank == 3 ? x.stride[0] : 0;
    column_step = x.stride[x.rank - 2];
    band = x.stride[x.rank - 1];
    const View &shift = params.shift, &valid = params.valid;
    TS_CHECK(!shift || (shift.rank == 1 && shift.shape[0] == bands && shift.dtype == DType::f64 &&
                        shift.contiguous()),
             operation, ": shift must be contiguous f64 [", bands, "], got ", shift.dtype, " ",
             shift.dims());
    TS_CHECK(
        !valid || (valid.dims() == leading(x) && valid.dtype == DType::bool_ && valid.contiguous()),
        operation, ": valid must be contiguous bool ", leading(x), ", got ", valid.dtype, " ",
        valid.dims());
  }
  /// Offset of pixel r in elements.
  int64_t row(int64_t r) const { return r / columns * row_step + r % columns * column_step; }
  static Shape leading(const View& x) {
    return Shape(std::span<const int64_t>(x.shape, x.rank - 1));
  }
};

inline Pixels check_gram(const View& x, const View& g, const View& sums,
                         const SpectralParams& params) {
  const Pixels pixels("gram", x, params);
  TS_CHECK(!params.upper, "gram: has no basis that could be upper triangular");
  const int64_t n = pixels.bands;
  TS_CHECK(g.rank == 2 && g.shape[0] == n && g.shape[1] == n && g.contiguous(), "gram: x ",
           x.dims(), " needs contiguous g [", n, ", ", n, "], got ", g.dims());
  const bool exact = g.dtype == DType::i64;
  TS_CHECK(exact ? x.dtype == DType::i16 || x.dtype == DType::u16
                 : g.dtype == DType::f64 || (g.dtype == DType::f32 && x.dtype == DType::f32),
           "gram: g ", g.dtype, " does not go with x ", x.dtype,
           ": expected f64, or f32 with x f32, or i64 with x i16 or u16");
  TS_CHECK(!exact || !params.shift, "gram: i64 sums take no shift");
  const DType sum_dtype = exact ? DType::i64 : DType::f64;
  TS_CHECK(!sums || (sums.rank == 1 && sums.shape[0] == n && sums.dtype == sum_dtype &&
                     sums.contiguous()),
           "gram: sums must be contiguous ", sum_dtype, " [", n, "], got ", sums.dtype, " ",
           sums.dims());
  return pixels;
}

inline Pixels check_project(const View& x, const View& basis, const View& y,
                            const SpectralParams& params) {
  const Pixels pixels("project", x, params);
  TS_CHECK(!params.accumulate, "project: overwrites y, it does not accumulate");
  TS_CHECK(basis.rank == 2 && basis.shape[0] == pixels.bands && basis.dtype == DType::f64 &&
               basis.contiguous(),
           "project: x ", x.dims(), " needs contiguous f64 basis [", pixels.bands, ", k], got ",
           basis.dtype, " ", basis.dims());
  const Shape leading = Pixels::leading(x);
  if (y.dims() == leading) {
    TS_CHECK(y.dtype == DType::f64 && y.contiguous(), "project: squared lengths ", leading,
             " must be contiguous f64, got ", y.dtype);
    return pixels;
  }
  Shape rows = leading;
  rows.push_back(basis.shape[1]);
  TS_CHECK(y.dims() == rows && (y.dtype == DType::f32 || y.dtype == DType::f64),
           "project: expected y f32 or f64 ", rows, ", or ", leading, " for squared lengths, got ",
           y.dtype, " ", y.dims());
  return pixels;
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
