#pragma once

#include "tessera/autograd/op.hpp"

/// Dense linear algebra on matrices [..., n, n] or [..., m, n]; f32 and f64. Functions of a
/// symmetric matrix are functions of the symmetric part (a + a') / 2, so their gradients are
/// symmetric.
///
/// Derivatives of eigenvectors and singular vectors divide by gaps between values. A gap below
/// `gap_floor` times the largest magnitude is replaced by that floor with the gap's sign: equal
/// values then give finite, if arbitrary, derivatives of the vectors. Functions of the invariant
/// subspaces are not affected.
namespace tessera::autograd {

inline constexpr double gap_floor = 1e-12;

/// Lower triangular L with L L' = a, of a symmetric positive definite a.
Var cholesky(const Var& a);

struct TriangularSolveParams {
  bool upper = false;
  bool transposed = false;  // solves with the transpose of the triangle
  bool unit_diagonal = false;
};
/// x with triangle(a) x = b; a [..., n, n], b [..., n, k].
Var triangular_solve(const Var& a, const Var& b, const TriangularSolveParams& params = {});

Var solve(const Var& a, const Var& b);  // x with a x = b
Var inverse(const Var& a);
/// log |det a| of a symmetric positive definite a: shape [...].
Var logdet(const Var& a);
/// x' x of x [..., m, n]; halves too.
Var gram(const Var& x);

struct QrResult {
  Var q, r;  // [..., m, n] with orthonormal columns; [..., n, n] upper triangular
};
QrResult qr(const Var& a);  // m >= n

struct EighResult {
  Var values, vectors;  // [..., n] ascending; [..., n, n], one vector per column
};
EighResult eigh(const Var& a);  // symmetric

struct SvdResult {
  Var u, s, v;  // a = u diag(s) v'; [..., m, k], [..., k] descending, [..., n, k], k = min(m, n)
};
SvdResult svd(const Var& a);

}  // namespace tessera::autograd
