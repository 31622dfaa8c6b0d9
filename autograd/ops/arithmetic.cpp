#include "tessera/autograd/ops/arithmetic.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/transforms.hpp"

namespace tessera::autograd {
namespace {

using kernels::BinaryOp;
using kernels::UnaryOp;

// a + sign * b, linear in both together.
struct Sum final : Op {
  double sign;
  explicit Sum(double s) : sign(s) {}
  std::string_view name() const override { return sign > 0 ? "add" : "subtract"; }
  void eval(Values x, Outputs y) const override {
    y[0] = binary(name(), sign > 0 ? BinaryOp::add : BinaryOp::subtract, x[0], x[1]);
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
  Tensor eval(const Tensor& a, const Tensor& b) const override {
    return binary(name(), BinaryOp::multiply, a, b);
  }
  Var transpose_left(const Var& gy, const Var& a, const Var& b) const override {
    return sum_to(multiply(gy, b), a.shape());
  }
  Var transpose_right(const Var& gy, const Var& a, const Var& b) const override {
    return sum_to(multiply(gy, a), b.shape());
  }
};

struct Divide final : Op {
  std::string_view name() const override { return "divide"; }
  void eval(Values x, Outputs y) const override {
    y[0] = binary(name(), BinaryOp::divide, x[0], x[1]);
  }
  // y = a / b: dy = (da - y db) / b
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const override {
    Var numerator = dx[0];
    if (dx[1].defined()) {
      const Var term = multiply(y[0], dx[1]);
      numerator = numerator.defined() ? subtract(numerator, term) : negative(term);
    }
    dy[0] = broadcast_to(divide(numerator, x[1]), y[0].shape());
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
  void eval(Values x, Outputs y) const override { y[0] = unary(UnaryOp::affine, x[0], {a, b}); }
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

struct Power final : ElementwiseUnary {
  double exponent;
  explicit Power(double e) : exponent(e) {}
  std::string_view name() const override { return "power"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::power, x, {exponent}); }
  Var derivative(const Var& x, const Var&) const override {
    return affine(power(x, exponent - 1.0), exponent, 0.0);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

Var scalar_like(const Var& x, double value) { return full({}, value, x.dtype(), x.device()); }

// y = x ^ e: dy = e x^(e - 1) dx + y log(x) de, where 0 ^ 0 has no slope in x and 0 ^ e none in e.
struct VariablePower final : Op {
  std::string_view name() const override { return "power"; }
  void eval(Values x, Outputs y) const override {
    y[0] = binary(name(), BinaryOp::power, x[0], x[1]);
  }
  static Var base_slope(const Var& x, const Var& e) {
    return where(equal(e, 0.0), scalar_like(x, 0.0), multiply(e, power(x, affine(e, 1.0, -1.0))));
  }
  static Var exponent_slope(const Var& x, const Var& y) {
    return multiply(y, log(where(equal(x, 0.0), scalar_like(x, 1.0), x)));
  }
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const override {
    if (dx[0].defined()) dy[0] = multiply(base_slope(x[0], x[1]), dx[0]);
    if (dx[1].defined()) dy[0] = add_or_empty(dy[0], multiply(exponent_slope(x[0], y[0]), dx[1]));
  }
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    if (wanted[0]) gx[0] = sum_to(multiply(base_slope(x[0], x[1]), gy[0]), x[0].shape());
    if (wanted[1]) gx[1] = sum_to(multiply(exponent_slope(x[0], y[0]), gy[0]), x[1].shape());
  }
  Saved saves() const override { return {0b11, 0b1}; }
};

struct Abs final : ElementwiseUnary {
  std::string_view name() const override { return "abs"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::absolute, x); }
  Var derivative(const Var& x, const Var&) const override {
    return unary(UnaryOp::sign, x.value());
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct Clamp final : ElementwiseUnary {
  double low, high;
  Clamp(double l, double h) : low(l), high(h) {}
  std::string_view name() const override { return "clamp"; }
  Tensor eval(const Tensor& x) const override { return unary(UnaryOp::clamp, x, {low, high}); }
  Var derivative(const Var& x, const Var&) const override {
    return unary(UnaryOp::clamp_mask, x.value(), {low, high});
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

// The second output, where the first operand was chosen, is all that derivatives need.
struct Extreme final : Op {
  bool largest;
  explicit Extreme(bool l) : largest(l) {}
  std::string_view name() const override { return largest ? "maximum" : "minimum"; }
  int outputs() const override { return 2; }
  void eval(Values x, Outputs y) const override {
    y[0] = binary(name(), largest ? BinaryOp::maximum : BinaryOp::minimum, x[0], x[1]);
    y[1] = binary(name(), largest ? BinaryOp::greater_equal : BinaryOp::less_equal, x[0], x[1]);
  }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override {
    const Var zero = scalar_like(y[0], 0.0);
    dy[0] = where(y[1].value(), dx[0].defined() ? dx[0] : zero, dx[1].defined() ? dx[1] : zero);
  }
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    const Var zero = scalar_like(gy[0], 0.0);
    if (wanted[0]) gx[0] = sum_to(where(y[1].value(), gy[0], zero), x[0].shape());
    if (wanted[1]) gx[1] = sum_to(where(y[1].value(), zero, gy[0]), x[1].shape());
  }
  Saved saves() const override { return {0, 0b10}; }
};

// Linear in both operands together.
struct Where final : Op {
  Tensor condition;
  explicit Where(Tensor c) : condition(std::move(c)) {}
  std::string_view name() const override { return "where"; }
  void eval(Values x, Outputs y) const override { y[0] = select(name(), condition, x[0], x[1]); }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override {
    const Var zero = scalar_like(y[0], 0.0);
    dy[0] = broadcast_to(
        where(condition, dx[0].defined() ? dx[0] : zero, dx[1].defined() ? dx[1] : zero),
        y[0].shape());
  }
  void vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    const Var zero = scalar_like(gy[0], 0.0);
    if (wanted[0]) gx[0] = sum_to(where(condition, gy[0], zero), x[0].shape());
    if (wanted[1]) gx[1] = sum_to(where(condition, zero, gy[0]), x[1].shape());
  }
  Saved saves() const override { return Saved::nothing(); }
};

struct Cast final : LinearOp {
  DType to;
  explicit Cast(DType dtype) : to(dtype) {}
  std::string_view name() const override { return "cast"; }
  Tensor eval(const Tensor& x) const override { return convert(x, to); }
  Var transpose(const Var& gy, const Var& x) const override { return cast(gy, x.dtype()); }
};

Tensor compare(std::string_view name, BinaryOp op, const Var& a, const Var& b) {
  return binary(name, op, a.value(), b.value());
}

Tensor compare(std::string_view name, BinaryOp op, const Var& a, double b) {
  return binary(name, op, a.value(), full({}, b, a.dtype(), a.device()));
}

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

Var power(const Var& x, double exponent) {
  // Besides speed: the chain of derivatives of an integer power ends here, before 0 * x^-1.
  if (exponent == 0.0) return full(x.shape(), 1.0, x.dtype(), x.device());
  if (exponent == 1.0) return x;
  if (exponent == 2.0) return square(x);
  return apply_op(std::make_shared<Power>(exponent), x);
}

Var power(const Var& x, const Var& exponent) { return apply_op<VariablePower>(x, exponent); }

Var abs(const Var& x) { return apply_op<Abs>(x); }

Var clamp(const Var& x, double low, double high) {
  TS_CHECK(low <= high, "clamp: bounds ", low, " and ", high);
  return apply_op(std::make_shared<Clamp>(low, high), x);
}

namespace {

Var extreme(const OpRef& op, const Var& a, const Var& b) {
  const Var x[] = {a, b};
  Var y[2];
  apply_op(op, x, y);
  return std::move(y[0]);
}

}  // namespace

Var maximum(const Var& a, const Var& b) {
  static const OpRef op = std::make_shared<Extreme>(true);
  return extreme(op, a, b);
}

Var minimum(const Var& a, const Var& b) {
  static const OpRef op = std::make_shared<Extreme>(false);
  return extreme(op, a, b);
}

Var where(const Tensor& condition, const Var& a, const Var& b) {
  return apply_op(std::make_shared<Where>(condition), a, b);
}

Var cast(const Var& x, DType dtype) {
  TS_CHECK(is_float(dtype), "cast: to ", dtype,
           ", which is not floating; `convert` makes plain tensors");
  return x.dtype() == dtype ? x : apply_op(std::make_shared<Cast>(dtype), x);
}

Tensor equal(const Var& a, const Var& b) { return compare("equal", BinaryOp::equal, a, b); }
Tensor not_equal(const Var& a, const Var& b) {
  return compare("not_equal", BinaryOp::not_equal, a, b);
}
Tensor less(const Var& a, const Var& b) { return compare("less", BinaryOp::less, a, b); }
Tensor less_equal(const Var& a, const Var& b) {
  return compare("less_equal", BinaryOp::less_equal, a, b);
}
Tensor greater(const Var& a, const Var& b) { return compare("greater", BinaryOp::greater, a, b); }
Tensor greater_equal(const Var& a, const Var& b) {
  return compare("greater_equal", BinaryOp::greater_equal, a, b);
}
Tensor equal(const Var& a, double b) { return compare("equal", BinaryOp::equal, a, b); }
Tensor not_equal(const Var& a, double b) { return compare("not_equal", BinaryOp::not_equal, a, b); }
Tensor less(const Var& a, double b) { return compare("less", BinaryOp::less, a, b); }
Tensor less_equal(const Var& a, double b) {
  return compare("less_equal", BinaryOp::less_equal, a, b);
}
Tensor greater(const Var& a, double b) { return compare("greater", BinaryOp::greater, a, b); }
Tensor greater_equal(const Var& a, double b) {
  return compare("greater_equal", BinaryOp::greater_equal, a, b);
}

}  // namespace tessera::autograd
