#include "tessera/autograd/ops/activation.hpp"

#include <numbers>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/math.hpp"

namespace tessera::autograd {
namespace {

using kernels::BinaryOp;
using kernels::UnaryOp;

// g * d(z) where one kernel does both: first derivatives of activations, with z their input or
// output.
struct DerivativeProduct : Op {
  BinaryOp code;
  explicit DerivativeProduct(BinaryOp c) : code(c) {}
  virtual Var slope(const Var& z) const = 0;  // d'(z)

  void eval(Values x, Outputs y) const final { y[0] = binary(name(), code, x[0], x[1]); }
  void jvp(Inputs x, Inputs, Inputs dx, Outputs dy) const final {
    if (dx[0].defined()) dy[0] = apply_op(shared_from_this(), dx[0], x[1]);
    if (dx[1].defined()) dy[0] = add_or_empty(dy[0], multiply(slope(x[1]), multiply(x[0], dx[1])));
  }
  void vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const final {
    if (wanted[0]) gx[0] = apply_op(shared_from_this(), gy[0], x[1]);
    if (wanted[1]) gx[1] = multiply(slope(x[1]), multiply(x[0], gy[0]));
  }
  Saved saves() const final { return Saved::only_inputs(); }
};

// ---- piecewise linear
// ----------------------------------------------------------------------------

struct ReluGradient final : LinearOp {
  Tensor y;
  explicit ReluGradient(Tensor output) : y(std::move(output)) {}
  std::string_view name() const override { return "relu_gradient"; }
  Tensor eval(const Tensor& g) const override {
    return binary(name(), BinaryOp::relu_gradient, g, y);
  }
  Var transpose(const Var& gy, const Var&) const override {
    return apply_op(shared_from_this(), gy);
  }
};

struct Relu final : ElementwiseUnary {
  std::string_view name() const override { return "relu"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::relu, x); }
  Var derivative(const Var&, const Var& y) const override {
    return unary(UnaryOp::step, y.value());
  }
  Var scaled_derivative(const Var&, const Var& y, const Var& g) const override {
    return relu_gradient(g, y.value());
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

struct LeakyRelu final : ElementwiseUnary {
  double slope;
  explicit LeakyRelu(double s) : slope(s) {}
  std::string_view name() const override { return "leaky_relu"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::leaky_relu, x, {slope}); }
  Var derivative(const Var& x, const Var&) const override {
    return unary(UnaryOp::leaky_step, x.value(), {slope});
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

Var elu_derivative(const Var& x, double alpha);

struct EluDerivative final : ElementwiseUnary {
  double alpha;
  explicit EluDerivative(double a) : alpha(a) {}
  std::string_view name() const override { return "elu_derivative"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::elu_derivative, x, {alpha}); }
  Var derivative(const Var& x, const Var& y) const override {
    return where(greater(x, 0.0), full({}, 0.0, x.dtype(), x.device()), y);
  }
};

struct Elu final : ElementwiseUnary {
  double alpha;
  explicit Elu(double a) : alpha(a) {}
  std::string_view name() const override { return "elu"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::elu, x, {alpha}); }
  Var derivative(const Var& x, const Var&) const override { return elu_derivative(x, alpha); }
  Saved saves() const override { return Saved::only_inputs(); }
};

Var elu_derivative(const Var& x, double alpha) {
  return apply_op(std::make_shared<EluDerivative>(alpha), x);
}

// ---- functions of their own output
// ---------------------------------------------------------------

struct TanhGradient final : DerivativeProduct {
  TanhGradient() : DerivativeProduct(BinaryOp::tanh_gradient) {}
  std::string_view name() const override { return "tanh_gradient"; }
  Var slope(const Var& y) const override { return -2.0 * y; }
};

struct Tanh final : ElementwiseUnary {
  std::string_view name() const override { return "tanh"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::tanh, x); }
  Var derivative(const Var&, const Var& y) const override { return 1.0 - square(y); }
  Var scaled_derivative(const Var&, const Var& y, const Var& g) const override {
    return apply_op<TanhGradient>(g, y);
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

struct SigmoidGradient final : DerivativeProduct {
  SigmoidGradient() : DerivativeProduct(BinaryOp::sigmoid_gradient) {}
  std::string_view name() const override { return "sigmoid_gradient"; }
  Var slope(const Var& y) const override { return 1.0 - 2.0 * y; }
};

struct Sigmoid final : ElementwiseUnary {
  std::string_view name() const override { return "sigmoid"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::sigmoid, x); }
  Var derivative(const Var&, const Var& y) const override { return y * (1.0 - y); }
  Var scaled_derivative(const Var&, const Var& y, const Var& g) const override {
    return apply_op<SigmoidGradient>(g, y);
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

struct Softplus final : ElementwiseUnary {
  std::string_view name() const override { return "softplus"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::softplus, x); }
  Var derivative(const Var& x, const Var&) const override { return sigmoid(x); }
  Saved saves() const override { return Saved::only_inputs(); }
};

// ---- gates
// ---------------------------------------------------------------------------------------

// gelu''(x) = phi(x) (2 - x^2) with the normal density phi, so gelu'''(x) = phi(x) x (x^2 - 4).
struct GeluSecondDerivative final : ElementwiseUnary {
  std::string_view name() const override { return "gelu_second_derivative"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::gelu_second_derivative, x); }
  Var derivative(const Var& x, const Var&) const override {
    const Var square_x = square(x);
    const Var density = (std::numbers::inv_sqrtpi / std::numbers::sqrt2) * exp(-0.5 * square_x);
    return density * x * (square_x - 4.0);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct GeluDerivative final : ElementwiseUnary {
  std::string_view name() const override { return "gelu_derivative"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::gelu_derivative, x); }
  Var derivative(const Var& x, const Var&) const override {
    return apply_op<GeluSecondDerivative>(x);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct GeluGradient final : DerivativeProduct {
  GeluGradient() : DerivativeProduct(BinaryOp::gelu_gradient) {}
  std::string_view name() const override { return "gelu_gradient"; }
  Var slope(const Var& x) const override { return apply_op<GeluSecondDerivative>(x); }
};

struct Gelu final : ElementwiseUnary {
  std::string_view name() const override { return "gelu"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::gelu, x); }
  Var derivative(const Var& x, const Var&) const override { return apply_op<GeluDerivative>(x); }
  Var scaled_derivative(const Var& x, const Var&, const Var& g) const override {
    return apply_op<GeluGradient>(g, x);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

// With t = tanh(u), u = c (x + k x^3):  f = x (1 + t) / 2,  f' = (1 + t + x t' ) / 2 with t' = (1 -
// t^2) u', f'' = t' + x t'' / 2 with t'' = (1 - t^2) (u'' - 2 t u'^2).
struct GeluTanhGradient final : DerivativeProduct {
  GeluTanhGradient() : DerivativeProduct(BinaryOp::gelu_tanh_gradient) {}
  std::string_view name() const override { return "gelu_tanh_gradient"; }
  Var slope(const Var& x) const override {
    constexpr double c = std::numbers::sqrt2 * std::numbers::inv_sqrtpi, k = 0.044715;
    const Var square_x = square(x);
    const Var t = tanh(c * x * (1.0 + k * square_x));
    const Var sech2 = 1.0 - square(t);
    const Var du = affine(square_x, 3.0 * c * k, c);
    const Var d2t = sech2 * ((6.0 * c * k) * x - 2.0 * t * square(du));
    return sech2 * du + 0.5 * x * d2t;
  }
};

struct GeluTanh final : ElementwiseUnary {
  std::string_view name() const override { return "gelu_tanh"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::gelu_tanh, x); }
  Var derivative(const Var& x, const Var&) const override {
    return scaled_derivative(x, Var(), full(x.shape(), 1.0, x.dtype(), x.device()));
  }
  Var scaled_derivative(const Var& x, const Var&, const Var& g) const override {
    return apply_op<GeluTanhGradient>(g, x);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

// f = x s, f' = s + x s (1 - s), f'' = s (1 - s) (2 + x (1 - 2 s)), s = sigmoid(x)
struct SiluGradient final : DerivativeProduct {
  SiluGradient() : DerivativeProduct(BinaryOp::silu_gradient) {}
  std::string_view name() const override { return "silu_gradient"; }
  Var slope(const Var& x) const override {
    const Var s = sigmoid(x);
    return s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s));
  }
};

struct Silu final : ElementwiseUnary {
  std::string_view name() const override { return "silu"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::silu, x); }
  Var derivative(const Var& x, const Var&) const override {
    return scaled_derivative(x, Var(), full(x.shape(), 1.0, x.dtype(), x.device()));
  }
  Var scaled_derivative(const Var& x, const Var&, const Var& g) const override {
    return apply_op<SiluGradient>(g, x);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

}  // namespace

Var relu(const Var& x) { return apply_op<Relu>(x); }
Var relu_gradient(const Var& g, const Tensor& y) {
  return apply_op(std::make_shared<ReluGradient>(y), g);
}
Var leaky_relu(const Var& x, double slope) {
  return apply_op(std::make_shared<LeakyRelu>(slope), x);
}
Var elu(const Var& x, double alpha) { return apply_op(std::make_shared<Elu>(alpha), x); }
Var tanh(const Var& x) { return apply_op<Tanh>(x); }
Var sigmoid(const Var& x) { return apply_op<Sigmoid>(x); }
Var softplus(const Var& x) { return apply_op<Softplus>(x); }
Var gelu(const Var& x) { return apply_op<Gelu>(x); }
Var gelu_tanh(const Var& x) { return apply_op<GeluTanh>(x); }
Var silu(const Var& x) { return apply_op<Silu>(x); }

}  // namespace tessera::autograd
