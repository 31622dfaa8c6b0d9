#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Dense linear algebra on batches of small and middle-sized matrices, and the two passes over a
/// pixels x bands matrix that a spectral method makes. But for `gram` and `project`, every operand
/// is contiguous, [.., rows, columns] with equal leading (batch) extents, f32 or f64, one dtype per
/// call. Outputs overlap no input unless said. Results are unique where mathematics leaves a choice
/// of sign: R of a QR has a diagonal >= 0, and in each eigenvector and left singular vector the
/// component of largest magnitude (of equal ones the first) is positive.
///
/// A factorisation that does not exist or does not converge throws an Error that names the matrix
/// in the batch. With LinalgParams::status it is recorded there instead, so that a device need not
/// wait for the host; the outputs of that matrix are then unspecified.
namespace tessera::kernels {

enum class LinalgVariant : uint8_t {
  automatic,  // what choose_linalg says
  own,        // the same bits for any thread count
  vendor,     // LAPACK, cuSOLVER; throws where the build has none
};

struct LinalgParams {
  bool deterministic = true;  // `automatic` keeps to variants whose bits do not depend on threads
  LinalgVariant variant = LinalgVariant::automatic;
  /// Absent, or i32 with one element per matrix: 0 = done, otherwise 1 + the row where Cholesky met
  /// a pivot that is not positive, 1 + the column where LU met a pivot 0, -1 = no convergence,
  /// which includes input that is not finite.
  View status = {};
};

struct TriangularParams {
  bool upper = false;          // which triangle of a is read
  bool transpose = false;      // solves with the transpose of that triangle
  bool unit_diagonal = false;  // takes the diagonal as 1 without reading it
};

/// What is done to the rows of a pixels x bands matrix before they are used.
struct SpectralParams {
  View shift = {};  // f64 [n], contiguous: subtracted from every row; absent: nothing is
  View valid =
      {};  // bool, x's leading extents, contiguous: rows at false do not count; absent: all
  bool accumulate = false;  // `gram` adds to g and sums: the slabs of a cube larger than memory
  bool upper = false;  // `project`: what lies below the diagonal of the basis is not read, but 0
};

struct LinalgKernels {
  /// l [.., n, n] = the lower triangular L with L L^T = a; reads a's lower triangle. l may be a.
  void (*cholesky)(Stream&, View a, View l, const LinalgParams&);
  /// x [.., n, k] = op(a)^-1 b; x may be b. A zero on the diagonal gives infinities, as division
  /// does.
  void (*triangular_solve)(Stream&, View a, View b, View x, const TriangularParams&,
                           const LinalgParams&);
  /// x [.., n, k] = a^-1 b by LU with row exchanges.
  void (*solve)(Stream&, View a, View b, View x, const LinalgParams&);
  /// a [.., m, n] = q r with orthonormal columns of q; thin (q [.., m, p], r [.., p, n] with
  /// p = min(m, n)) or full (p = m), as q's shape says.
  void (*qr)(Stream&, View a, View q, View r, const LinalgParams&);
  /// a = v diag(w) v^T for symmetric a [.., n, n], of which the lower triangle is read; w [.., n]
  /// rising, eigenvectors are the columns of v [.., n, n].
  void (*eigh)(Stream&, View a, View w, View v, const LinalgParams&);
  /// a [.., m, n] = u diag(s) vt; u [.., m, p], s [.., p] falling, vt [.., p, n], p = min(m, n).
  void (*svd)(Stream&, View a, View u, View s, View vt, const LinalgParams&);
  /// g [n, n] = (x - shift)^T (x - shift) and, where given, sums [n] = the column sums of x -
  /// shift, in one pass over x, over the rows that are valid; a row that is not is never computed
  /// with, so it may hold NaN. x [pixels, n] or [rows, columns, n], f64 f32 f16 bf16 i16 u16, any
  /// strides: cubes interleaved by pixel, by line or by band are read where they lie. g and sums:
  /// contiguous f64, products and sums in f64, the same bits for any thread count. Also: g f32
  /// where x is (sums f64); g and sums i64 where x is i16 or u16 and there is no shift: exact. g is
  /// symmetric to the last bit. Fast for pixels much more numerous than bands.
  void (*gram)(Stream&, View x, View g, View sums, const SpectralParams&);
  /// y [.., k] = (x - shift) basis, with x as in `gram`; basis [n, k] f64, contiguous; y f32 or
  /// f64, x's leading extents, any strides, so that eigenimages may be written band after band.
  /// Products and sums in f64. Rows that are not valid give 0. A contiguous
  /// f64 y of x's leading extents alone gets the squared lengths of those rows: Mahalanobis
  /// distances, where basis basis^T is the inverse of a covariance.
  void (*project)(Stream&, View x, View basis, View y, const SpectralParams&);
};

inline void cholesky(Stream& s, View a, View l, const LinalgParams& p = {}) {
  call("cholesky", s.device(), &Backend::linalg, &LinalgKernels::cholesky, s, a, l, p);
}
inline void triangular_solve(Stream& s, View a, View b, View x, const TriangularParams& t = {},
                             const LinalgParams& p = {}) {
  call("triangular_solve", s.device(), &Backend::linalg, &LinalgKernels::triangular_solve, s, a, b,
       x, t, p);
}
inline void solve(Stream& s, View a, View b, View x, const LinalgParams& p = {}) {
  call("solve", s.device(), &Backend::linalg, &LinalgKernels::solve, s, a, b, x, p);
}
inline void qr(Stream& s, View a, View q, View r, const LinalgParams& p = {}) {
  call("qr", s.device(), &Backend::linalg, &LinalgKernels::qr, s, a, q, r, p);
}
inline void eigh(Stream& s, View a, View w, View v, const LinalgParams& p = {}) {
  call("eigh", s.device(), &Backend::linalg, &LinalgKernels::eigh, s, a, w, v, p);
}
inline void svd(Stream& s, View a, View u, View sigma, View vt, const LinalgParams& p = {}) {
  call("svd", s.device(), &Backend::linalg, &LinalgKernels::svd, s, a, u, sigma, vt, p);
}
inline void gram(Stream& s, View x, View g, View sums = {}, const SpectralParams& p = {}) {
  call("gram", s.device(), &Backend::linalg, &LinalgKernels::gram, s, x, g, sums, p);
}
inline void project(Stream& s, View x, View basis, View y, const SpectralParams& p = {}) {
  call("project", s.device(), &Backend::linalg, &LinalgKernels::project, s, x, basis, y, p);
}

/// The variant that `automatic` means for matrices whose smaller extent is n.
constexpr LinalgVariant choose_linalg(int64_t n, bool deterministic, bool has_vendor) {
  return deterministic || !has_vendor || n < 48 ? LinalgVariant::own : LinalgVariant::vendor;
}

}  // namespace tessera::kernels
