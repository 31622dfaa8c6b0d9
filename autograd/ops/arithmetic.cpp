#include "tessera/autograd/ops/arithmetic.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/reduction.hpp"

namespace tessera::autograd {
namespace {

using kernels::BinaryOp;
using kernels::UnaryOp;

// a + sign * b, linear in both together.
struct Sum final : Op {
  double sign;
  explicit Sum(double s) : sign(s) {}
  std::string_view name() const override { return sign > 0 ? "add" : "subtract"; }
  void eval(std::span<const Tensor> x, std::span<Tensor> y) const override {
    y[0] = binary(sign > 0 ? BinaryOp::add : BinaryOp::subtract, x[0], x[1]);
  }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override {
    if (dx[0].defined() && dx[1].defined())
      dy[0] = sign > 0 ? add(dx[0], dx[1]) : subtract(dx[0], dx[1]);
    else if (dx[0].defined())
      dy[0] = broadcast_to(dx[0], y[0].shape());
    else
      dy[0] = broadcast_to(sign > 0 ? dx[1] : negative(dx[1]), y[0].shape());
  }
  void vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    if (wanted[0]) gx[0] = sum_to(gy[0], x[0].shape());
    if (wanted[1]) {
      const Var g = sum_to(gy[0], x[1].shape());
      gx[1] = sign > 0 ? g : negative(g);
    }
  }
  Saved saves() const override { return Saved::nothing(); }
};

struct Multiply final : BilinearOp {
  std::string_view name() const override { return "multiply"; }
  Tensor eval(const Tensor& a, const Tensor& b) const override { return binary(BinaryOp::multiply, a, b); }
  Var transpose_left(const Var& gy, const Var& a, const Var& b) const override {
    return sum_to(multiply(gy, b), a.shape());
  }
  Var transpose_right(const Var& gy, const Var& a, const Var& b) const override {
    return sum_to(multiply(gy, a), b.shape());
  }
};

struct Divide final : Op {
  std::string_view name() const override { return "divide"; }
  void eval(std::span<const Tensor> x, std::span<Tensor> y) const override {
    y[0] = binary(BinaryOp::divide, x[0], x[1]);
  }
  // y = a / b: dy = (da - y db) / b
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const override {
    Var numerator = dx[0];
    if (dx[1].defined()) {
      const Var term = multiply(y[0], dx[1]);
      numerator = numerator.defined() ? subtract(numerator, term) : negative(term);
    }
    dy[0] = divide(numerator, x[1]);
    if (dy[0].shape() != y[0].shape()) dy[0] = broadcast_to(dy[0], y[0].shape());
  }
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    const Var g = divide(gy[0], x[1]);
    if (wanted[0]) gx[0] = sum_to(g, x[0].shape());
    if (wanted[1]) gx[1] = sum_to(negative(multiply(g, y[0])), x[1].shape());
  }
  Saved saves() const override { return {0b10, 0b1}; }
};

struct Scale final : LinearOp {
  double factor;
  explicit Scale(double f) : factor(f) {}
  std::string_view name() const override { return "scale"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::affine, x, {factor, 0.0}); }
  Var transpose(const Var& gy, const Var&) const override { return affine(gy, factor, 0.0); }
};

struct Affine final : Op {
  double a, b;
  Affine(double scale, double shift) : a(scale), b(shift) {}
  std::string_view name() const override { return "affine"; }
  void eval(std::span<const Tensor> x, std::span<Tensor> y) const override {
    y[0] = unary(UnaryOp::affine, x[0], {a, b});
  }
  void jvp(Inputs, Inputs, Inputs dx, Outputs dy) const override { dy[0] = affine(dx[0], a, 0.0); }
  void vjp(Inputs, Inputs, Inputs gy, std::span<const bool>, Outputs gx) const override {
    gx[0] = affine(gy[0], a, 0.0);
  }
  Saved saves() const override { return Saved::nothing(); }
};

struct Negative final : LinearOp {
  std::string_view name() const override { return "negative"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::negative, x); }
  Var transpose(const Var& gy, const Var&) const override { return negative(gy); }
};

struct Square final : ElementwiseUnary {
  std::string_view name() const override { return "square"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::square, x); }
  Var derivative(const Var& x, const Var&) const override { return affine(x, 2.0, 0.0); }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct Reciprocal final : ElementwiseUnary {
  std::string_view name() const override { return "reciprocal"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::reciprocal, x); }
  Var derivative(const Var&, const Var& y) const override { return negative(square(y)); }
  Saved saves() const override { return Saved::only_outputs(); }
};

}  // namespace

Var add(const Var& a, const Var& b) {
  static const OpRef op = std::make_shared<Sum>(1.0);
  return apply_op(op, a, b);
}

Var subtract(const Var& a, const Var& b) {
  static const OpRef op = std::make_shared<Sum>(-1.0);
  return apply_op(op, a, b);
}

Var multiply(const Var& a, const Var& b) { return apply_op<Multiply>(a, b); }
Var divide(const Var& a, const Var& b) { return apply_op<Divide>(a, b); }

Var affine(const Var& x, double a, double b) {
  if (b != 0.0) return apply_op(std::make_shared<Affine>(a, b), x);
  return a == 1.0 ? x : apply_op(std::make_shared<Scale>(a), x);
}

Var negative(const Var& x) { return apply_op<Negative>(x); }
Var square(const Var& x) { return apply_op<Square>(x); }
Var reciprocal(const Var& x) { return apply_op<Reciprocal>(x); }

}  // namespace tessera::autograd
