#pragma once

#include "tessera/autograd/op.hpp"

/// Elementwise arithmetic with broadcasting. Operands share one dtype and device; mixing them is an error,
/// `cast` converts. Scalars take the dtype of the tensor.
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
