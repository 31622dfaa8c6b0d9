#pragma once

#include "tessera/kernels/cpu/simd.hpp"

/// Elementary functions of Vec<float> and Vec<double>: errors of at most about 2 units in the last
/// place over the whole range, with the usual values at infinities and NaN. erf and erfc of
/// doubles and the rarely used sin, cos, pow and atan2 go lane by lane to the C library.
namespace tessera::kernels::cpu {

namespace detail {

template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr int mantissa_bits = 23, bias = 127;
  static constexpr float magic = 0x1.8p23f;  // x + magic - magic rounds x to an integer
  static constexpr float log2_e = 0x1.715476p0f;
  // ln 2 in two parts; the product of the first with an exponent is exact
  static constexpr float ln2_high = 0x1.63p-1f, ln2_low = -0x1.bd0106p-13f;
  static constexpr float exp_low = -104.0f, exp_high = 89.0f, expm1_low = -20.0f;
};
template <>
struct Format<double> {
  static constexpr int mantissa_bits = 52, bias = 1023;
  static constexpr double magic = 0x1.8p52;
  static constexpr double log2_e = 0x1.71547652b82fep0;
  static constexpr double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
  static constexpr double exp_low = -746.0, exp_high = 710.0, expm1_low = -40.0;
};

/// c0 + x (c1 + x (c2 + ...))
template <class T>
inline Vec<T> polynomial(Vec<T>, T c0) {
  return c0;
}
template <class T, class... C>
inline Vec<T> polynomial(Vec<T> x, T c0, C... c) {
  return fma(x, polynomial<T>(x, static_cast<T>(c)...), c0);
}

/// 2^k for integers k within the exponents of normal numbers.
template <class T>
inline Vec<T> power_of_two(Vec<bits_t<T>> k) {
  return bit_cast<T>((k + Format<T>::bias) << Format<T>::mantissa_bits);
}

/// p 2^n, subnormal and zero results included; n: integers, also as bits k, above -2 (bias - 1).
template <class T>
inline Vec<T> times_power_of_two(Vec<T> p, [[maybe_unused]] Vec<T> n,
                                 [[maybe_unused]] Vec<bits_t<T>> k) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return _mm512_maskz_scalef_ps(0xffff, p.native, n.native);
  else
    return _mm512_maskz_scalef_pd(0xff, p.native, n.native);
#else
  const Vec<bits_t<T>> half = k >> 1;  // in two steps: 2^n may be no normal number
  return p * power_of_two<T>(half) * power_of_two<T>(k - half);
#endif
}

/// e^x = 2^n (1 + r + curve), n an integer (k as bits), |r| <= ln 2 / 2. x: of moderate size, or
/// NaN.
template <class T>
struct ExpParts {
  Vec<T> n, r, curve;
  Vec<bits_t<T>> k;
};
template <class T>
inline ExpParts<T> exp_parts(Vec<T> x) {
  using F = Format<T>;
  const Vec<T> shifted = fma(x, F::log2_e, F::magic), n = shifted - F::magic;
  const Vec<bits_t<T>> k = bit_cast<bits_t<T>>(shifted) - std::bit_cast<bits_t<T>>(F::magic);
  const Vec<T> r = fma(n, -F::ln2_low, fma(n, -F::ln2_high, x));
  Vec<T> q;
  if constexpr (std::is_same_v<T, float>)  // minimax, 3e-9 relative
    q = polynomial<T>(r, 0x1.fffffcp-2f, 0x1.55548ap-3f, 0x1.555916p-5f, 0x1.123fbep-7f,
                      0x1.6a1af4p-10f);
  else  // Taylor, 4e-18
    q = polynomial<T>(r, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320,
                      1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800);
  return {n, r, r * r * q, k};
}

template <class T>
inline Vec<T> clamp_keeping_nan(Vec<T> x, T low, T high) {
  return min(Vec<T>(high), max(Vec<T>(low), x));
}

}  // namespace detail

template <class T>
inline Vec<T> exp(Vec<T> x) {
  using F = detail::Format<T>;
  const auto [n, r, curve, k] =
      detail::exp_parts(detail::clamp_keeping_nan(x, F::exp_low, F::exp_high));
  return detail::times_power_of_two((curve + r) + T{1}, n, k);
}

/// exp(x) - 1 without cancellation near 0.
template <class T>
inline Vec<T> expm1(Vec<T> x) {
  using F = detail::Format<T>;
  const auto [n, r, curve, k] =
      detail::exp_parts(detail::clamp_keeping_nan(x, F::expm1_low, F::exp_high));
  const Vec<T> half_scale = detail::power_of_two<T>(k - bits_t<T>{1});
  return T{2} * fma(half_scale, curve + r, half_scale - T{0.5});
}

template <class T>
inline Vec<T> log(Vec<T> x) {
  using F = detail::Format<T>;
  using Bits = Vec<bits_t<T>>;
  using Limits = std::numeric_limits<T>;
  const Mask<T> subnormal = x < Limits::min();
  const Bits ix =
      bit_cast<bits_t<T>>(where(subnormal, x * static_cast<T>(int64_t{1} << F::mantissa_bits), x));
  // x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2))
  constexpr bits_t<T> sqrt_half = std::bit_cast<bits_t<T>>(static_cast<T>(0.70710678118654752));
  const Bits k = (ix - sqrt_half) >> F::mantissa_bits;
  const Vec<T> f = bit_cast<T>(ix - (k << F::mantissa_bits)) - T{1};
  const Vec<T> e = bit_cast<T>(k + std::bit_cast<bits_t<T>>(F::magic)) - F::magic -
                   where(subnormal, static_cast<T>(F::mantissa_bits), T{0});
  // log(1 + f) = 2 atanh(s) = f - (f^2 / 2 - s (f^2 / 2 + z tail(z)))
  const Vec<T> s = f / (f + T{2}), z = s * s, square = T{0.5} * f * f;
  Vec<T> tail;
  if constexpr (std::is_same_v<T, float>)
    tail = detail::polynomial<T>(z, 2.f / 3, 2.f / 5, 2.f / 7, 2.f / 9);
  else
    tail = detail::polynomial<T>(z, 2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11, 2. / 13, 2. / 15,
                                 2. / 17, 2. / 19, 2. / 21);
  const Vec<T> low = fma(s, fma(z, tail, square), e * F::ln2_low);
  const Vec<T> y = fma(e, F::ln2_high, f - (square - low));
  const Vec<T> not_positive = where(x == T{0}, -Limits::infinity(), Limits::quiet_NaN());
  return where(x > T{0}, where(x < Limits::infinity(), y, x), not_positive);
}

/// log(1 + x) without loss near 0.
template <class T>
inline Vec<T> log1p(Vec<T> x) {
  const Vec<T> u = x + T{1};
  const Vec<T> lost = where(x < T{1}, x - (u - T{1}), T{1} - (u - x));  // u + lost = 1 + x
  const Mask<T> regular = (u > T{0}) & (u < std::numeric_limits<T>::infinity());
  return log(u) + where(regular, lost / u, T{0});
}

template <class T>
inline Vec<T> tanh(Vec<T> x) {
  const Vec<T> e = expm1(T{2} * min(Vec<T>(T{22}), abs(x)));
  return copysign(e / (e + T{2}), x);
}

/// 1 / (1 + exp(-x))
template <class T>
inline Vec<T> sigmoid(Vec<T> x) {
  const Vec<T> e = exp(-abs(x));
  return where(x < T{0}, e, T{1}) / (e + T{1});
}

inline Vec<float> erf(Vec<float> x) {
  // |x| <= 0.92: x + x P(x^2), 1.5e-8 relative; beyond: 1 - exp(-G(|x|)), 1.5e-9 absolute; 1
  // from 3.93 on
  const Vec<float> t = min(Vec<float>(3.93f), abs(x)), s = x * x;
  const Vec<float> near =
      detail::polynomial<float>(s, 0x1.06eba6p-3f, -0x1.8126e8p-2f, 0x1.ce1abcp-4f, -0x1.b69008p-6f,
                                0x1.4757fcp-8f, -0x1.3a8db2p-11f);
  const Vec<float> minus_g =
      detail::polynomial<float>(t, -0x1.b33222p-13f, -0x1.20ac0cp0f, -0x1.464830p-1f,
                                -0x1.a961d2p-4f, 0x1.6b87eap-6f, -0x1.8d945ep-9f, 0x1.98bfcap-13f);
  const auto [n, r, curve, k] = detail::exp_parts(minus_g);
  const Vec<float> far = fma((curve + r) + 1.0f, -detail::power_of_two<float>(k), 1.0f);
  return where(t > 0.92f, copysign(far, x), fma(x, near, x));
}
inline Vec<double> erf(Vec<double> x) {
  return lanes(x, [](double v) { return std::erf(v); });
}

/// What functors::normal_tail gives.
template <class T>
struct NormalTail {
  Vec<T> density, beyond;
};
/// The density is 2^-s / sqrt(2 pi), s = (log2(e) / 2) t^2, and what lies beyond is that times
/// Mills' ratio, here a quotient of polynomials in u = sqrt(s). Its error is 5e-8 near 0, where
/// much lies beyond, and grows to 7e-6 at t = 14, where nothing does.
inline NormalTail<float> normal_tail(Vec<float> t) {
  using F = detail::Format<float>;
  const Vec<float> u = min(Vec<float>(15), t * 0.84932180f), s = fma(-u, u, 0);
  const Vec<float> n = round(s), r = s - n;
  const Vec<bits_t<float>> k = bit_cast<bits_t<float>>(n + F::magic) - std::bit_cast<int>(F::magic);
  const Vec<float> scaled =
      detail::polynomial<float>(r, 0x1.988454p-2f, 0x1.1b2984p-2f, 0x1.8889eap-4f, 0x1.6ad36ap-6f,
                                0x1.f9d54cp-9f, 0x1.14556ep-11f);
  const Vec<float> density = detail::times_power_of_two(scaled, n, k);
  const Vec<float> above =
      detail::polynomial<float>(u, 0x1.40d932p+0f, 0x1.f3c17cp-1f, 0x1.6a864p-2f, 0x1.b2896p-5f);
  const Vec<float> below = detail::polynomial<float>(u, 1.0f, 0x1.b7debp+0f, 0x1.341912p+0f,
                                                     0x1.aa0026p-2f, 0x1.ffde3ep-5f);
  return {density, density * above / below};
}
inline NormalTail<double> normal_tail(Vec<double> t) {
  return {0.39894228040143268 * exp(-0.5 * t * t),
          lanes(t, [](double v) { return 0.5 * std::erfc(v * 0.70710678118654752); })};
}

template <class T>
inline Vec<T> sin(Vec<T> x) {
  return lanes(x, [](T v) { return std::sin(v); });
}
template <class T>
inline Vec<T> cos(Vec<T> x) {
  return lanes(x, [](T v) { return std::cos(v); });
}
template <class T>
inline Vec<T> pow(Vec<T> x, Vec<T> a) {
  return lanes(x, a, [](T v, T p) { return std::pow(v, p); });
}
template <class T>
inline Vec<T> atan2(Vec<T> y, Vec<T> x) {
  return lanes(y, x, [](T b, T a) { return std::atan2(b, a); });
}

}  // namespace tessera::kernels::cpu
