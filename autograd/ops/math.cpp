#include "tessera/autograd/ops/math.hpp"

#include <numbers>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"

namespace tessera::autograd {
namespace {

using kernels::UnaryOp;

struct Exp final : ElementwiseUnary {
  std::string_view name() const override { return "exp"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::exp, x); }
  Var derivative(const Var&, const Var& y) const override { return y; }
  Saved saves() const override { return Saved::only_outputs(); }
};

struct Expm1 final : ElementwiseUnary {
  std::string_view name() const override { return "expm1"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::expm1, x); }
  Var derivative(const Var&, const Var& y) const override { return affine(y, 1.0, 1.0); }
  Saved saves() const override { return Saved::only_outputs(); }
};

struct Log final : ElementwiseUnary {
  std::string_view name() const override { return "log"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::log, x); }
  Var derivative(const Var& x, const Var&) const override { return reciprocal(x); }
  Var scaled_derivative(const Var& x, const Var&, const Var& g) const override {
    return divide(g, x);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct Log1p final : ElementwiseUnary {
  std::string_view name() const override { return "log1p"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::log1p, x); }
  Var derivative(const Var& x, const Var&) const override {
    return reciprocal(affine(x, 1.0, 1.0));
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct Sqrt final : ElementwiseUnary {
  std::string_view name() const override { return "sqrt"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::sqrt, x); }
  Var derivative(const Var&, const Var& y) const override { return 0.5 / y; }
  Saved saves() const override { return Saved::only_outputs(); }
};

struct Rsqrt final : ElementwiseUnary {
  std::string_view name() const override { return "rsqrt"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::rsqrt, x); }
  Var derivative(const Var&, const Var& y) const override { return -0.5 * (y * square(y)); }
  Saved saves() const override { return Saved::only_outputs(); }
};

struct Sin final : ElementwiseUnary {
  std::string_view name() const override { return "sin"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::sin, x); }
  Var derivative(const Var& x, const Var&) const override { return cos(x); }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct Cos final : ElementwiseUnary {
  std::string_view name() const override { return "cos"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::cos, x); }
  Var derivative(const Var& x, const Var&) const override { return -sin(x); }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct Erf final : ElementwiseUnary {
  std::string_view name() const override { return "erf"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::erf, x); }
  Var derivative(const Var& x, const Var&) const override {
    return (2.0 * std::numbers::inv_sqrtpi) * exp(-square(x));
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

}  // namespace

Var exp(const Var& x) { return apply_op<Exp>(x); }
Var expm1(const Var& x) { return apply_op<Expm1>(x); }
Var log(const Var& x) { return apply_op<Log>(x); }
Var log1p(const Var& x) { return apply_op<Log1p>(x); }
Var sqrt(const Var& x) { return apply_op<Sqrt>(x); }
Var rsqrt(const Var& x) { return apply_op<Rsqrt>(x); }
Var sin(const Var& x) { return apply_op<Sin>(x); }
Var cos(const Var& x) { return apply_op<Cos>(x); }
Var erf(const Var& x) { return apply_op<Erf>(x); }

}  // namespace tessera::autograd
