#include "tessera/autograd/ops/linalg.hpp"

#include <algorithm>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/kernels/linalg.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

Var transposed(const Var& x) { return transpose(x, -1, -2); }
Var symmetric_part(const Var& x) { return 0.5 * (x + transposed(x)); }

void check_matrix(std::string_view name, const Tensor& a, bool square) {
  TS_CHECK(a.dtype() == DType::f32 || a.dtype() == DType::f64, name, ": only f32 and f64, not ", a);
  TS_CHECK(a.rank() >= 2 && (!square || a.size(-1) == a.size(-2)), name, ": ", a, " is not a ",
           square ? "square matrix" : "matrix");
}

Tensor matrices(const Tensor& like, int64_t rows, int64_t columns) {
  Shape shape = like.shape();
  shape[shape.rank() - 2] = rows;
  shape[shape.rank() - 1] = columns;
  return Tensor::empty(shape, like.dtype(), like.device());
}

Tensor vectors(const Tensor& like, int64_t n) {
  Shape shape(std::span(like.shape().begin(), static_cast<size_t>(like.rank() - 1)));
  shape[shape.rank() - 1] = n;
  return Tensor::empty(shape, like.dtype(), like.device());
}

// The n x n matrix with one value below, on and above the diagonal.
Var triangle(const Var& like, double below, double diagonal, double above) {
  const int64_t n = like.size(-1);
  std::vector<double> values(static_cast<size_t>(n * n), below);
  for (int64_t i = 0; i < n; ++i) {
    values[static_cast<size_t>(i * n + i)] = diagonal;
    std::fill_n(values.begin() + i * n + i + 1, n - i - 1, above);
  }
  return convert(Tensor::from(values, {n, n}, like.device()), like.dtype());
}

Var row(const Var& x) { return unsqueeze(x, -2); }     // [..., n] -> [..., 1, n]
Var column(const Var& x) { return unsqueeze(x, -1); }  // [..., n] -> [..., n, 1]

// [..., n, n] -> [..., n]
Var diagonal(const Var& x) {
  const int64_t n = x.size(-1);
  Shape joined(std::span(x.shape().begin(), static_cast<size_t>(x.rank() - 1)));
  joined[joined.rank() - 1] = n * n;
  return slice(reshape(x, joined), -1, 0, n * n, n + 1);
}

// 1 / (w_j - w_i) with small gaps widened, 0 on the diagonal.
Var inverse_gaps(const Var& w) {
  const Var gap = row(w) - column(w);
  if (gap.numel() == 0) return gap;
  const Tensor floor =
      unary(kernels::UnaryOp::affine, max(abs(Var(w.value())), -1, true).value(), {gap_floor, 0.0});
  const Var signs = where(equal(gap, 0.0), triangle(gap, -1.0, 1.0, 1.0),
                          Var(unary(kernels::UnaryOp::sign, gap.value())));
  const Var least =
      maximum(Var(floor.unsqueeze(floor.rank())), full({}, 1e-30, w.dtype(), w.device()));
  const Var widened = where(less(abs(Var(gap.value())), least), signs * least, gap);
  return reciprocal(widened) * triangle(gap, 1.0, 0.0, 1.0);
}

// ---- triangular systems
// --------------------------------------------------------------------------

struct TriangularSolve final : Op {
  TriangularSolveParams params;
  explicit TriangularSolve(const TriangularSolveParams& p) : params(p) {}
  std::string_view name() const override { return "triangular_solve"; }
  void eval(Values in, Outputs out) const override {
    const Tensor a = contiguous(in[0]), b = contiguous(in[1]);
    const Tensor x = empty_like(b);
    kernels::triangular_solve(current_stream(x.device()), a.view(), b.view(), x.view(),
                              {params.upper, params.transposed, params.unit_diagonal});
    out[0] = x;
  }
  // The part of a that is read.
  Var part(const Var& a) const {
    const double on = params.unit_diagonal ? 0.0 : 1.0;
    return a * (params.upper ? triangle(a, 0.0, on, 1.0) : triangle(a, 1.0, on, 0.0));
  }
  // T x = b: dx = T^-1 (db - dT x), with T' for T throughout if transposed.
  void jvp(Inputs in, Inputs x, Inputs d, Outputs dx) const override {
    Var change = d[1];
    if (d[0].defined()) {
      const Var dt = part(d[0]);
      const Var product = matmul(params.transposed ? transposed(dt) : dt, x[0]);
      change = change.defined() ? change - product : -product;
    }
    dx[0] = triangular_solve(in[0], change, params);
  }
  void vjp(Inputs in, Inputs x, Inputs gx, std::span<const bool> wanted, Outputs g) const override {
    TriangularSolveParams adjoint = params;
    adjoint.transposed = !params.transposed;
    const Var gb = triangular_solve(in[0], gx[0], adjoint);
    if (wanted[0])
      g[0] =
          part(-(params.transposed ? matmul(x[0], transposed(gb)) : matmul(gb, transposed(x[0]))));
    if (wanted[1]) g[1] = gb;
  }
  Saved saves() const override { return {0b01, 0b1}; }
};

// x T^-1 for the triangle T that `params` describes.
Var right_solve(const Var& x, const Var& t, TriangularSolveParams params) {
  params.transposed = !params.transposed;
  return transposed(triangular_solve(t, transposed(x), params));
}

constexpr TriangularSolveParams lower{}, lower_transposed{.transposed = true};
constexpr TriangularSolveParams upper{.upper = true},
    upper_transposed{.upper = true, .transposed = true};

// ---- factorisations
// ------------------------------------------------------------------------------

// dL = L phi(L^-1 da L^-T), phi: the lower triangle with half the diagonal.
struct Cholesky final : Op {
  std::string_view name() const override { return "cholesky"; }
  void eval(Values in, Outputs out) const override {
    const Tensor a = contiguous(in[0]);
    const Tensor l = empty_like(a);
    kernels::cholesky(current_stream(a.device()), a.view(), l.view());
    out[0] = l;
  }
  static Var phi(const Var& x) { return x * triangle(x, 1.0, 0.5, 0.0); }
  void jvp(Inputs, Inputs l, Inputs da, Outputs dl) const override {
    const Var inner = right_solve(triangular_solve(l[0], da[0], lower), l[0], lower_transposed);
    dl[0] = matmul(l[0], phi(inner));
  }
  void vjp(Inputs, Inputs l, Inputs gl, std::span<const bool>, Outputs ga) const override {
    const Var inner = phi(matmul(transposed(l[0]), gl[0]));
    ga[0] = right_solve(triangular_solve(l[0], inner, lower_transposed), l[0], lower);
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

// a x = b: dx = a^-1 (db - da x)
struct Solve final : Op {
  std::string_view name() const override { return "solve"; }
  void eval(Values in, Outputs out) const override {
    const Tensor a = contiguous(in[0]), b = contiguous(in[1]);
    const Tensor x = empty_like(b);
    kernels::solve(current_stream(x.device()), a.view(), b.view(), x.view());
    out[0] = x;
  }
  void jvp(Inputs in, Inputs x, Inputs d, Outputs dx) const override {
    Var change = d[1];
    if (d[0].defined()) {
      const Var product = matmul(d[0], x[0]);
      change = change.defined() ? change - product : -product;
    }
    dx[0] = solve(in[0], change);
  }
  void vjp(Inputs in, Inputs x, Inputs gx, std::span<const bool> wanted, Outputs g) const override {
    const Var gb = solve(transposed(in[0]), gx[0]);
    if (wanted[0]) g[0] = -matmul(gb, transposed(x[0]));
    if (wanted[1]) g[1] = gb;
  }
  Saved saves() const override { return {0b01, 0b1}; }
};

// With c = Q' da R^-1 and the skew part w = tril(c) - tril(c)' (strict triangles):
// dR = (c - w) R, dQ = da R^-1 - Q (c - w).
struct Qr final : Op {
  std::string_view name() const override { return "qr"; }
  int outputs() const override { return 2; }
  void eval(Values in, Outputs out) const override {
    const Tensor a = contiguous(in[0]);
    const Tensor q = empty_like(a), r = matrices(a, a.size(-1), a.size(-1));
    kernels::qr(current_stream(a.device()), a.view(), q.view(), r.view());
    out[0] = q;
    out[1] = r;
  }
  void jvp(Inputs, Inputs y, Inputs da, Outputs dy) const override {
    const Var &q = y[0], &r = y[1];
    const Var d = right_solve(da[0], r, upper);
    const Var c = matmul(transposed(q), d);
    const Var below = c * triangle(c, 1.0, 0.0, 0.0);
    const Var rest = c - below + transposed(below);
    dy[0] = d - matmul(q, rest);
    dy[1] = matmul(rest, r);
  }
  void vjp(Inputs, Inputs y, Inputs gy, std::span<const bool>, Outputs ga) const override {
    const Var &q = y[0], &r = y[1];
    Var n;
    if (gy[1].defined()) n = matmul(gy[1], transposed(r));
    if (gy[0].defined()) n = add_or_empty(n, -matmul(transposed(q), gy[0]));
    const Var gc = n * triangle(n, 0.0, 1.0, 1.0) + transposed(n) * triangle(n, 1.0, 0.0, 0.0);
    ga[0] = right_solve(add_or_empty(gy[0], matmul(q, gc)), r, upper_transposed);
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

// With m = V' da V: dw = diag(m), dV = V (F * m), F_ij = 1 / (w_j - w_i).
struct Eigh final : Op {
  std::string_view name() const override { return "eigh"; }
  int outputs() const override { return 2; }
  void eval(Values in, Outputs out) const override {
    const Tensor a = contiguous(in[0]);
    const Tensor w = vectors(a, a.size(-1)), v = empty_like(a);
    kernels::eigh(current_stream(a.device()), a.view(), w.view(), v.view());
    out[0] = w;
    out[1] = v;
  }
  void jvp(Inputs, Inputs y, Inputs da, Outputs dy) const override {
    const Var &w = y[0], &v = y[1], m = matmul(transposed(v), matmul(da[0], v));
    dy[0] = diagonal(m);
    dy[1] = matmul(v, inverse_gaps(w) * m);
  }
  void vjp(Inputs, Inputs y, Inputs gy, std::span<const bool>, Outputs ga) const override {
    const Var &w = y[0], &v = y[1];
    Var inner;  // to the left of V'
    if (gy[0].defined()) inner = v * row(gy[0]);
    if (gy[1].defined())
      inner = add_or_empty(inner, matmul(v, inverse_gaps(w) * matmul(transposed(v), gy[1])));
    ga[0] = matmul(inner, transposed(v));
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

// With p = U' da V and F_ij = 1 / (s_j^2 - s_i^2):
//   ds = diag(p),
//   dU = U (F * (p S + S p')) + (1 - U U') da V S^-1,
//   dV = V (F * (S p + p' S)) + (1 - V V') da' U S^-1.
struct Svd final : Op {
  std::string_view name() const override { return "svd"; }
  int outputs() const override { return 3; }
  void eval(Values in, Outputs out) const override {
    const Tensor a = contiguous(in[0]);
    const int64_t m = a.size(-2), n = a.size(-1), k = std::min(m, n);
    const Tensor u = matrices(a, m, k), s = vectors(a, k), vt = matrices(a, k, n);
    kernels::svd(current_stream(a.device()), a.view(), u.view(), s.view(), vt.view());
    out[0] = u;
    out[1] = s;
    out[2] = vt.transpose(-1, -2);
  }
  static Var inverse_values(const Var& s) {
    if (s.numel() == 0) return s;
    const Tensor largest = max(Var(s.value()), -1, true).value();
    return reciprocal(maximum(s, unary(kernels::UnaryOp::affine, largest, {gap_floor, 1e-30})));
  }
  // (1 - Q Q') x
  static Var beside(const Var& q, const Var& x) { return x - matmul(q, matmul(transposed(q), x)); }

  void jvp(Inputs, Inputs y, Inputs da, Outputs dy) const override {
    const Var &u = y[0], &s = y[1], &v = y[2];
    const Var av = matmul(da[0], v), au = matmul(transposed(da[0]), u),
              p = matmul(transposed(u), av);
    const Var f = inverse_gaps(square(s)), inverse = row(inverse_values(s));
    const Var ps = p * row(s), sp = p * column(s);
    dy[0] = matmul(u, f * (ps + transposed(ps))) + beside(u, av * inverse);
    dy[1] = diagonal(p);
    dy[2] = matmul(v, f * (sp + transposed(sp))) + beside(v, au * inverse);
  }
  void vjp(Inputs, Inputs y, Inputs gy, std::span<const bool>, Outputs ga) const override {
    const Var &u = y[0], &s = y[1], &v = y[2];
    Var gp, sides;  // of p, and what does not pass through it
    if (gy[0].defined()) {
      const Var j = inverse_gaps(square(s)) * matmul(transposed(u), gy[0]);
      gp = (j + transposed(j)) * row(s);
      sides = matmul(beside(u, gy[0] * row(inverse_values(s))), transposed(v));
    }
    if (gy[2].defined()) {
      const Var k = inverse_gaps(square(s)) * matmul(transposed(v), gy[2]);
      gp = add_or_empty(gp, (k + transposed(k)) * column(s));
      sides = add_or_empty(sides, matmul(u, transposed(beside(v, gy[2] * row(inverse_values(s))))));
    }
    Var inner = gp.defined() ? matmul(u, gp) : Var();
    if (gy[1].defined()) inner = add_or_empty(inner, u * row(gy[1]));
    ga[0] = add_or_empty(matmul(inner, transposed(v)), sides);
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

void check_system(std::string_view name, const Tensor& a, const Tensor& b) {
  check_same(name, a, b);
  check_matrix(name, a, true);
  bool fits = b.rank() == a.rank() && b.size(-2) == a.size(-1);
  for (int i = 0; fits && i + 2 < a.rank(); ++i) fits = a.shape()[i] == b.shape()[i];
  TS_CHECK(fits, name, ": matrix ", a, " with right side ", b);
}

}  // namespace

Var cholesky(const Var& a) {
  check_matrix("cholesky", a.value(), true);
  return apply_op<Cholesky>(symmetric_part(a));
}

Var triangular_solve(const Var& a, const Var& b, const TriangularSolveParams& params) {
  check_system("triangular_solve", a.value(), b.value());
  return apply_op(std::make_shared<TriangularSolve>(params), a, b);
}

Var solve(const Var& a, const Var& b) {
  check_system("solve", a.value(), b.value());
  return apply_op<Solve>(a, b);
}

Var inverse(const Var& a) {
  check_matrix("inverse", a.value(), true);
  return solve(a, Var(triangle(a, 0.0, 1.0, 0.0).value().broadcast_to(a.shape())));
}

Var logdet(const Var& a) {
  check_matrix("logdet", a.value(), true);
  return 2.0 * sum(log(diagonal(cholesky(a))), {-1});
}

Var gram(const Var& x) {
  check_floating("gram", x.value());
  TS_CHECK(x.rank() >= 2, "gram: ", x, " is not a matrix");
  return matmul(transposed(x), x);
}

QrResult qr(const Var& a) {
  check_matrix("qr", a.value(), false);
  TS_CHECK(a.size(-2) >= a.size(-1), "qr: ", a, " has more columns than rows");
  Var y[2];
  apply_op(std::make_shared<Qr>(), Inputs(&a, 1), y);
  return {y[0], y[1]};
}

EighResult eigh(const Var& a) {
  check_matrix("eigh", a.value(), true);
  const Var symmetric = symmetric_part(a);
  Var y[2];
  apply_op(std::make_shared<Eigh>(), Inputs(&symmetric, 1), y);
  return {y[0], y[1]};
}

SvdResult svd(const Var& a) {
  check_matrix("svd", a.value(), false);
  Var y[3];
  apply_op(std::make_shared<Svd>(), Inputs(&a, 1), y);
  return {y[0], y[1], y[2]};
}

}  // namespace tessera::autograd
