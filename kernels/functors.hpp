#pragma once

#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>

#include "tessera/kernels/elementwise.hpp"
#include "tessera/kernels/optimizer.hpp"
#include "tessera/runtime/host_device.hpp"

/// Every scalar formula of the elementwise, loss and optimizer kernels, once. V is float, double,
/// an integer, or a vector of floats or doubles that brings its own exp, where, ... under the names
/// below (the CPU's kernels/cpu/simd_math.hpp). Halves are computed as float by whoever calls.
namespace tessera::kernels::functors {

// --- the names for scalars ---

using std::abs, std::atan2, std::ceil, std::cos, std::erf, std::erfc, std::exp, std::expm1,
    std::floor, std::fma, std::log, std::log1p, std::pow, std::sin, std::sqrt, std::tanh;

/// Halves to even.
template <std::floating_point T>
TS_HD T round(T x) {
  return std::nearbyint(x);
}
template <std::floating_point T>
TS_HD T sigmoid(T x) {
  const T e = std::exp(-std::fabs(x));
  return (x < 0 ? e : T{1}) / (1 + e);
}
/// b where either is NaN.
template <std::floating_point T>
TS_HD T min(T a, T b) {
  return a < b ? a : b;
}
template <std::floating_point T>
TS_HD T max(T a, T b) {
  return a > b ? a : b;
}
/// Of the standard normal distribution at t >= 0: its density, and what lies beyond.
template <class T>
struct NormalTail {
  T density, beyond;
};
template <std::floating_point T>
TS_HD NormalTail<T> normal_tail(T t) {
  return {T(0.39894228040143268) * exp(T(-0.5) * t * t), T(0.5) * erfc(t * T(0.70710678118654752))};
}
template <class T>
TS_HD T where(bool condition, T a, std::type_identity_t<T> b) {
  return condition ? a : b;
}

// --- integers: sums and products wrap around, as two's complement does ---

template <class V>
TS_HD V add(V a, V b) {
  return a + b;
}
template <class V>
TS_HD V subtract(V a, V b) {
  return a - b;
}
template <class V>
TS_HD V multiply(V a, V b) {
  return a * b;
}
template <class V>
TS_HD V divide(V a, V b) {
  return a / b;
}
template <class V>
TS_HD V negate(V x) {
  return -x;
}
template <class V>
TS_HD V absolute(V x) {
  return abs(x);
}
template <std::integral T>
TS_HD T add(T a, T b) {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
}
template <std::integral T>
TS_HD T subtract(T a, T b) {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<U>(a) - static_cast<U>(b));
}
template <std::integral T>
TS_HD T multiply(T a, T b) {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
}
template <std::integral T>
TS_HD T negate(T x) {
  return subtract(T{0}, x);
}
template <std::integral T>
TS_HD T absolute(T x) {
  if constexpr (std::is_signed_v<T>)
    return x < 0 ? negate(x) : x;
  else
    return x;
}
/// Truncates; by zero gives 0.
template <std::integral T>
TS_HD T divide(T a, T b) {
  if (b == 0) return 0;
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return negate(a);  // the least one, too
  return static_cast<T>(a / b);
}

// --- activations and their derivatives ---

/// NaN stays.
template <class V>
TS_HD V relu(V x) {
  return where(x <= V(0), V(0), x);
}
/// What a change of relu(y) means for y.
template <class V>
TS_HD V relu_gradient(V change, V y) {
  return where(y > V(0), change, V(0));
}
/// |x|, at most 40: nothing of the normal distribution lies beyond, in any type.
template <class V>
TS_HD V normal_distance(V x) {
  return min(V(40), abs(x));
}
/// x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2: what lies below x. Written by the tail, which
/// keeps the digits of small results and gives 0 for -infinity.
template <class V>
TS_HD V gelu(V x) {
  const V t = normal_distance(x);
  return fma(-t, normal_tail(t).beyond, max(V(0), x));
}
/// Phi(x) + x phi(x), phi the density
template <class V>
TS_HD V gelu_derivative(V x) {
  const V t = normal_distance(x);
  const auto [density, beyond] = normal_tail(t);
  const V left = fma(-t, density, beyond);
  return where(x < V(0), left, V(1) - left);
}
/// phi(x) (2 - x^2)
template <class V>
TS_HD V gelu_second_derivative(V x) {
  const V t = normal_distance(x);
  return normal_tail(t).density * fma(-t, t, V(2));
}

/// tanh(sqrt(2 / pi) (x + 0.044715 x^3))
template <class V>
TS_HD V gelu_tanh_inner(V x) {
  return tanh(V(0.79788456080286536) * x * fma(V(0.044715) * x, x, V(1)));
}
template <class V>
TS_HD V gelu_tanh(V x) {
  const V half = V(0.5) * x;
  return fma(half, gelu_tanh_inner(x), half);
}
template <class V>
TS_HD V gelu_tanh_derivative(V x) {
  const V t = gelu_tanh_inner(x);
  const V slope = V(0.79788456080286536) * fma(V(3 * 0.044715) * x, x, V(1));
  return V(0.5) * (V(1) + t + x * (V(1) - t * t) * slope);
}
template <class V>
TS_HD V silu(V x) {
  return x * sigmoid(x);
}
template <class V>
TS_HD V silu_derivative(V x) {
  const V s = sigmoid(x);
  return s * fma(x, V(1) - s, V(1));
}
/// log(1 + exp(x)) without overflow
template <class V>
TS_HD V softplus(V x) {
  return where(x > V(0), x, V(0)) + log1p(exp(-abs(x)));
}

// --- binary cross-entropy of a logit x and a target t, w the factor of the positive term ---

/// -(w t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x)))
template <class V>
TS_HD V binary_cross_entropy(V x, V t, V w) {
  return fma(V(1) - t, x, fma(w - V(1), t, V(1)) * softplus(-x));
}
template <class V>
TS_HD V binary_cross_entropy_derivative(V x, V t, V w) {
  return (V(1) - t) - fma(w - V(1), t, V(1)) * sigmoid(-x);
}

/// True for NaN, which alone differs from itself; never for an integer.
template <class V>
TS_HD auto is_nan(V x) {
  return x != x;  // NOLINT(misc-redundant-expression): equal operands are the point
}
template <class V>
TS_HD auto is_finite(V x) {
  return x - x == V(0);  // NOLINT(misc-redundant-expression): infinity - infinity is NaN
}

/// NaN in either operand gives NaN.
template <class V>
TS_HD V maximum(V a, V b) {
  return where((a > b) | is_nan(a), a, b);
}
template <class V>
TS_HD V minimum(V a, V b) {
  return where((a < b) | is_nan(a), a, b);
}

// --- the op codes ---

inline constexpr int unary_ops = static_cast<int>(UnaryOp::logical_not) + 1;
inline constexpr int binary_ops = static_cast<int>(BinaryOp::silu_gradient) + 1;

/// Which element types (compute types, and bool) an op takes.
template <class T>
constexpr bool accepts(UnaryOp op) {
  if (std::is_same_v<T, bool>) return op == UnaryOp::logical_not;
  return op <= UnaryOp::clamp || (std::floating_point<T> && op != UnaryOp::logical_not);
}
template <class T>
constexpr bool accepts(BinaryOp op) {
  const bool compares = op >= BinaryOp::equal && op <= BinaryOp::greater_equal;
  const bool logical = op >= BinaryOp::logical_and && op <= BinaryOp::logical_xor;
  if (std::is_same_v<T, bool>) return compares || logical;
  return (op <= BinaryOp::minimum || compares) || (std::floating_point<T> && !logical);
}
constexpr bool gives_bool(UnaryOp op) { return op >= UnaryOp::is_finite; }
constexpr bool gives_bool(BinaryOp op) {
  return op >= BinaryOp::equal && op <= BinaryOp::logical_xor;
}

/// A parameter in the type of the elements. Bounds of a clamp saturate to what an integer type
/// holds, factors and summands wrap around as the products do.
template <UnaryOp op, class T>
TS_HD T parameter(double value) {
  if constexpr (std::is_integral_v<T>) {
    using Range = std::conditional_t<op == UnaryOp::clamp, std::numeric_limits<T>,
                                     std::numeric_limits<int64_t>>;
    if (!(value > static_cast<double>(Range::min()))) return static_cast<T>(Range::min());
    if (value >= static_cast<double>(Range::max())) return static_cast<T>(Range::max());
    return static_cast<T>(static_cast<int64_t>(value));
  } else {
    return static_cast<T>(value);
  }
}

template <UnaryOp op, class V>
TS_HD auto unary(V x, V a, V b) {
  if constexpr (op == UnaryOp::negative) return negate(x);
  if constexpr (op == UnaryOp::absolute) return absolute(x);
  if constexpr (op == UnaryOp::sign) return where(x > V(0), V(1), where(x < V(0), V(-1), x));
  if constexpr (op == UnaryOp::square) return multiply(x, x);
  if constexpr (op == UnaryOp::affine) return add(multiply(a, x), b);
  if constexpr (op == UnaryOp::clamp) {
    const V raised = where(x < a, a, x);
    return where(raised > b, b, raised);
  }
  if constexpr (op == UnaryOp::reciprocal) return V(1) / x;
  if constexpr (op == UnaryOp::sqrt) return sqrt(x);
  if constexpr (op == UnaryOp::rsqrt) return V(1) / sqrt(x);
  if constexpr (op == UnaryOp::exp) return exp(x);
  if constexpr (op == UnaryOp::expm1) return expm1(x);
  if constexpr (op == UnaryOp::log) return log(x);
  if constexpr (op == UnaryOp::log1p) return log1p(x);
  if constexpr (op == UnaryOp::sin) return sin(x);
  if constexpr (op == UnaryOp::cos) return cos(x);
  if constexpr (op == UnaryOp::tanh) return tanh(x);
  if constexpr (op == UnaryOp::sigmoid) return sigmoid(x);
  if constexpr (op == UnaryOp::erf) return erf(x);
  if constexpr (op == UnaryOp::softplus) return softplus(x);
  if constexpr (op == UnaryOp::power) return pow(x, a);
  if constexpr (op == UnaryOp::floor) return floor(x);
  if constexpr (op == UnaryOp::ceil) return ceil(x);
  if constexpr (op == UnaryOp::round) return round(x);
  if constexpr (op == UnaryOp::relu) return relu(x);
  if constexpr (op == UnaryOp::leaky_relu) return where(x > V(0), x, a * x);
  if constexpr (op == UnaryOp::elu) return where(x > V(0), x, a * expm1(x));
  if constexpr (op == UnaryOp::gelu) return gelu(x);
  if constexpr (op == UnaryOp::gelu_tanh) return gelu_tanh(x);
  if constexpr (op == UnaryOp::silu) return silu(x);
  if constexpr (op == UnaryOp::gelu_derivative) return gelu_derivative(x);
  if constexpr (op == UnaryOp::gelu_second_derivative) return gelu_second_derivative(x);
  if constexpr (op == UnaryOp::gelu_tanh_derivative) return gelu_tanh_derivative(x);
  if constexpr (op == UnaryOp::silu_derivative) return silu_derivative(x);
  if constexpr (op == UnaryOp::step) return where(x > V(0), V(1), V(0));
  if constexpr (op == UnaryOp::leaky_step) return where(x > V(0), V(1), a);
  if constexpr (op == UnaryOp::elu_derivative) return where(x > V(0), V(1), a * exp(x));
  if constexpr (op == UnaryOp::clamp_mask) return where((a <= x) & (x <= b), V(1), V(0));
  if constexpr (op == UnaryOp::is_finite) return is_finite(x);
  if constexpr (op == UnaryOp::is_nan) return is_nan(x);
  if constexpr (op == UnaryOp::logical_not) return !x;
}

template <BinaryOp op, class V>
TS_HD auto binary(V x, V y) {
  if constexpr (op == BinaryOp::add) return add(x, y);
  if constexpr (op == BinaryOp::subtract) return subtract(x, y);
  if constexpr (op == BinaryOp::multiply) return multiply(x, y);
  if constexpr (op == BinaryOp::divide) return divide(x, y);
  if constexpr (op == BinaryOp::maximum) return maximum(x, y);
  if constexpr (op == BinaryOp::minimum) return minimum(x, y);
  if constexpr (op == BinaryOp::power) return pow(x, y);
  if constexpr (op == BinaryOp::atan2) return atan2(x, y);
  if constexpr (op == BinaryOp::equal) return x == y;
  if constexpr (op == BinaryOp::not_equal) return x != y;
  if constexpr (op == BinaryOp::less) return x < y;
  if constexpr (op == BinaryOp::less_equal) return x <= y;
  if constexpr (op == BinaryOp::greater) return x > y;
  if constexpr (op == BinaryOp::greater_equal) return x >= y;
  if constexpr (op == BinaryOp::logical_and) return x && y;
  if constexpr (op == BinaryOp::logical_or) return x || y;
  if constexpr (op == BinaryOp::logical_xor) return x != y;
  if constexpr (op == BinaryOp::relu_gradient) return relu_gradient(x, y);
  if constexpr (op == BinaryOp::tanh_gradient) return x * (V(1) - y * y);
  if constexpr (op == BinaryOp::sigmoid_gradient) return x * y * (V(1) - y);
  if constexpr (op == BinaryOp::gelu_gradient) return x * gelu_derivative(y);
  if constexpr (op == BinaryOp::gelu_tanh_gradient) return x * gelu_tanh_derivative(y);
  if constexpr (op == BinaryOp::silu_gradient) return x * silu_derivative(y);
}

// --- optimizer steps: p, m, v of one element, g its gradient ---

/// AdamParams with everything that is the same for all elements worked out. T is the compute type.
template <class T>
struct AdamStep {
  T gradient_factor, l2, shrink, one_minus_beta1, beta2, one_minus_beta2, rate, root_factor,
      epsilon;

  AdamStep(const AdamParams& a, double factor)
      : gradient_factor(static_cast<T>(factor)),
        l2(static_cast<T>(a.decoupled ? 0 : a.weight_decay)),
        one_minus_beta1(static_cast<T>(1 - a.beta1)),
        beta2(static_cast<T>(a.beta2)),
        one_minus_beta2(static_cast<T>(1 - a.beta2)),
        epsilon(static_cast<T>(a.epsilon)) {
    vary(adam_varying(a).data());
  }
  TS_HD void vary(const double* values) {
    rate = static_cast<T>(values[0]);
    root_factor = static_cast<T>(values[1]);
    shrink = static_cast<T>(values[2]);
  }

  template <class V>
  TS_HD void operator()(V& p, V& m, V& v, V g) const {
    g = fma(V(l2), p, V(gradient_factor) * g);
    m = fma(V(one_minus_beta1), g - m, m);
    v = fma(V(one_minus_beta2) * g, g, V(beta2) * v);
    p = fma(V(-rate), m / fma(sqrt(v), V(root_factor), V(epsilon)), V(shrink) * p);
  }
};

template <class T>
struct SgdStep {
  T gradient_factor, l2, momentum, inflow, rate;

  SgdStep(const SgdParams& s, double factor)
      : gradient_factor(static_cast<T>(factor)),
        l2(static_cast<T>(s.weight_decay)),
        momentum(static_cast<T>(s.momentum)) {
    vary(sgd_varying(s).data());
  }
  TS_HD void vary(const double* values) {
    rate = static_cast<T>(values[0]);
    inflow = static_cast<T>(values[1]);
  }

  template <class V>
  TS_HD void plain(V& p, V g) const {
    g = fma(V(l2), p, V(gradient_factor) * g);
    p = fma(V(-rate), g, p);
  }
  template <bool nesterov, class V>
  TS_HD void with_momentum(V& p, V& buffer, V g) const {
    g = fma(V(l2), p, V(gradient_factor) * g);
    buffer = fma(V(momentum), buffer, V(inflow) * g);
    p = fma(V(-rate), nesterov ? fma(V(momentum), buffer, g) : buffer, p);
  }
};

}  // namespace tessera::kernels::functors
