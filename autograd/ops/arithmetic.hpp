#pragma once

#include "tessera/autograd/op.hpp"

/// Elementwise arithmetic with broadcasting. Operands share one dtype and device; mixing them is an
/// error, `cast` converts. Scalars take the dtype of the tensor.
namespace tessera::autograd {

Var add(const Var& a, const Var& b);
Var subtract(const Var& a, const Var& b);
Var multiply(const Var& a, const Var& b);
Var divide(const Var& a, const Var& b);
/// a * x + b
Var affine(const Var& x, double a, double b);
Var negative(const Var& x);
Var square(const Var& x);
Var reciprocal(const Var& x);
/// x ^ exponent; NaN for a negative x and a fractional exponent.
Var power(const Var& x, double exponent);
Var power(const Var& x, const Var& exponent);

/// Piecewise linear: the derivative at the kink is 0 for `abs`, 1 for `clamp` at its bounds, and
/// where `maximum` or `minimum` meet equal operands the first one takes it all.
Var abs(const Var& x);
Var clamp(const Var& x, double low, double high);
Var maximum(const Var& a, const Var& b);
Var minimum(const Var& a, const Var& b);

/// a where `condition` (bool, broadcasts) holds, else b.
Var where(const Tensor& condition, const Var& a, const Var& b);
/// Another floating dtype; gradients come back in x's.
Var cast(const Var& x, DType dtype);

/// Comparisons look at the numbers only: bool, nothing to differentiate.
Tensor equal(const Var& a, const Var& b);
Tensor not_equal(const Var& a, const Var& b);
Tensor less(const Var& a, const Var& b);
Tensor less_equal(const Var& a, const Var& b);
Tensor greater(const Var& a, const Var& b);
Tensor greater_equal(const Var& a, const Var& b);
Tensor equal(const Var& a, double b);
Tensor not_equal(const Var& a, double b);
Tensor less(const Var& a, double b);
Tensor less_equal(const Var& a, double b);
Tensor greater(const Var& a, double b);
Tensor greater_equal(const Var& a, double b);

inline Var operator+(const Var& a, const Var& b) { return add(a, b); }
inline Var operator-(const Var& a, const Var& b) { return subtract(a, b); }
inline Var operator*(const Var& a, const Var& b) { return multiply(a, b); }
inline Var operator/(const Var& a, const Var& b) { return divide(a, b); }
inline Var operator-(const Var& x) { return negative(x); }
inline Var operator+(const Var& x, double s) { return affine(x, 1.0, s); }
inline Var operator+(double s, const Var& x) { return affine(x, 1.0, s); }
inline Var operator-(const Var& x, double s) { return affine(x, 1.0, -s); }
inline Var operator-(double s, const Var& x) { return affine(x, -1.0, s); }
inline Var operator*(const Var& x, double s) { return affine(x, s, 0.0); }
inline Var operator*(double s, const Var& x) { return affine(x, s, 0.0); }
inline Var operator/(const Var& x, double s) { return affine(x, 1.0 / s, 0.0); }
inline Var operator/(double s, const Var& x) { return affine(reciprocal(x), s, 0.0); }

}  // namespace tessera::autograd
