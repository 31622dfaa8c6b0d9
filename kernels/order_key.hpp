#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tessera/runtime/dtype.hpp"
#include "tessera/runtime/host_device.hpp"

namespace tessera::kernels {

/// The unsigned integer of T's size.
template <class T>
using order_key_t =
    std::conditional_t<sizeof(T) == 1, uint8_t,
                       std::conditional_t<sizeof(T) == 2, uint16_t,
                                          std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>>;

/// An unsigned number that orders as the values do: -0 and 0 are equal, and every NaN is the same,
/// largest key. Its complement orders the other way round.
template <class T>
TS_HD inline order_key_t<T> order_key(T x) {
  using Key = order_key_t<T>;
  constexpr Key sign = Key{1} << (8 * sizeof(T) - 1);
  if constexpr (std::is_unsigned_v<T>) {
    return static_cast<Key>(x);
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<Key>(static_cast<Key>(x) ^ sign);
  } else {
    const Key bits = std::bit_cast<Key>(x);
    // the largest finite exponent pattern plus 1 is infinity; NaNs lie beyond it
    constexpr Key infinity = std::is_same_v<T, double>  ? static_cast<Key>(0x7ff0000000000000u)
                             : std::is_same_v<T, float> ? static_cast<Key>(0x7f800000u)
                             : std::is_same_v<T, f16>   ? static_cast<Key>(0x7c00u)
                                                        : static_cast<Key>(0x7f80u);
    const Key magnitude = bits & static_cast<Key>(~sign);
    if (magnitude > infinity) return std::numeric_limits<Key>::max();
    if (magnitude == 0) return sign;
    return static_cast<Key>(bits & sign ? ~bits : bits | sign);
  }
}

}  // namespace tessera::kernels
