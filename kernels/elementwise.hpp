#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Elementwise kernels. Operands have the output's shape; broadcasting is a stride of 0, and any
/// strides are accepted. Halves are computed in float, other floating types in themselves. The
/// output may be the same memory as an input when both have the same strides and element size;
/// otherwise it must not overlap.
namespace tessera::kernels {

/// y = f(x), or f(x; a, b) with the scalars of UnaryParams. Same dtype in and out unless said.
/// Integers wrap around.
enum class UnaryOp : uint8_t {
  // every real dtype
  negative,
  absolute,
  sign,
  square,  // the sign of NaN is NaN
  affine,  // a * x + b
  clamp,   // min(max(x, a), b); NaN stays NaN
  // floating dtypes
  reciprocal,
  sqrt,
  rsqrt,
  exp,
  expm1,
  log,
  log1p,
  sin,
  cos,
  tanh,
  sigmoid,
  erf,
  softplus,
  power,  // x ^ a
  floor,
  ceil,
  round,  // round: half to even
  relu,
  leaky_relu,
  elu,  // leaky_relu: slope a for x < 0; elu: a * (exp(x) - 1) for x < 0
  gelu,
  gelu_tanh,
  silu,
  gelu_derivative,
  gelu_second_derivative,  // of the erf form
  gelu_tanh_derivative,
  silu_derivative,
  step,            // 1 for x > 0, else 0: the derivative of relu
  leaky_step,      // 1 for x > 0, else a
  elu_derivative,  // 1 for x > 0, else a * exp(x)
  clamp_mask,      // 1 for a <= x <= b, else 0
  // floating in, bool out
  is_finite,
  is_nan,
  // bool in and out
  logical_not,
};

struct UnaryParams {
  double a = 0, b = 0;
};

/// y = f(x0, x1). Comparisons give bool; logical ones take and give bool; the rest keep the dtype.
enum class BinaryOp : uint8_t {
  add,
  subtract,
  multiply,
  divide,  // integer divide truncates; by zero gives 0
  maximum,
  minimum,  // NaN in either operand gives NaN
  power,
  atan2,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  logical_and,
  logical_or,
  logical_xor,
  // first-order gradients as one pass, x0 = incoming gradient
  relu_gradient,     // x0 where x1 > 0, else 0
  tanh_gradient,     // x0 * (1 - x1^2), x1 = tanh(x)
  sigmoid_gradient,  // x0 * x1 * (1 - x1), x1 = sigmoid(x)
  gelu_gradient,     // x0 * gelu'(x1)
  gelu_tanh_gradient,
  silu_gradient,
};

struct ElementwiseKernels {
  void (*unary)(Stream&, UnaryOp, View x, View y, const UnaryParams&);
  void (*binary)(Stream&, BinaryOp, View x0, View x1, View y);
  /// y = a where condition (bool) else b.
  void (*select)(Stream&, View condition, View a, View b, View y);
  /// y = alpha * x + beta * y, in place on y, which is not read when beta is 0; one floating dtype.
  void (*axpby)(Stream&, double alpha, View x, double beta, View y);
};

inline void unary(Stream& s, UnaryOp op, View x, View y, const UnaryParams& p = {}) {
  call("unary", s.device(), &Backend::elementwise, &ElementwiseKernels::unary, s, op, x, y, p);
}
inline void binary(Stream& s, BinaryOp op, View x0, View x1, View y) {
  call("binary", s.device(), &Backend::elementwise, &ElementwiseKernels::binary, s, op, x0, x1, y);
}
inline void select(Stream& s, View condition, View a, View b, View y) {
  call("select", s.device(), &Backend::elementwise, &ElementwiseKernels::select, s, condition, a, b,
       y);
}
inline void axpby(Stream& s, double alpha, View x, double beta, View y) {
  call("axpby", s.device(), &Backend::elementwise, &ElementwiseKernels::axpby, s, alpha, x, beta,
       y);
}

}  // namespace tessera::kernels
