#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tessera/runtime/host_device.hpp"

/// From one compute type (halves are float) to another, as `copy` in kernels/copy.hpp says.
namespace tessera::kernels {

template <class From, class To>
TS_HD inline To converted(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != 0;
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
    constexpr From beyond = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
    if (x != x) return 0;
    if (x < low) return std::numeric_limits<To>::min();
    if (x >= beyond) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

/// On the way to a half, wider numbers become float by rounding to odd: of the two neighbours of an
/// inexact value the one whose last bit is set. The rounding to half that follows then gives what a
/// single rounding of the value would have.
TS_HD inline float rounded_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  const double error = x - static_cast<double>(nearest);
  const auto bits = std::bit_cast<uint32_t>(nearest);
  const bool exact = !(error > 0 || error < 0);  // NaN, and infinity, as they are
  if (exact || (bits & 1)) return nearest;
  const bool negative = bits >> 31;
  return std::bit_cast<float>((error > 0) == !negative ? bits + 1 : bits - 1);
}
TS_HD inline float rounded_to_odd(int64_t x) {
  const bool wide = x > (int64_t{1} << 52) || x < -(int64_t{1} << 52);
  const int64_t fits = wide ? (x & ~int64_t{0xfff}) | (x & 0xfff ? 0x800 : 0) : x;
  return rounded_to_odd(static_cast<double>(fits));
}
TS_HD inline float rounded_to_odd(int32_t x) { return rounded_to_odd(static_cast<double>(x)); }

/// Whether a number of type From must be rounded to odd on its way to a half.
template <class From>
inline constexpr bool wider_than_float =
    std::is_same_v<From, double> || std::is_same_v<From, int64_t> || std::is_same_v<From, int32_t>;

}  // namespace tessera::kernels
