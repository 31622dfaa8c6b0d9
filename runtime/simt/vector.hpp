#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tessera/runtime/half.hpp"

/// Vectors for the arithmetic of tensor-core instructions, in the compiler's own extension so that
/// each instruction set level (levels.hpp) makes of them what it can.
namespace tessera::simt {

// Everything here is inlined: that no two levels pass vectors alike does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

template <class T, int n>
struct VectorOf {
  typedef T type __attribute__((vector_size(sizeof(T) * n)));
};
template <class T, int n>
using Vector = typename VectorOf<T, n>::type;

template <class T, int n>
[[gnu::always_inline]] inline Vector<T, n> load_vector(const T* from) {
  Vector<T, n> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class T, class V>
[[gnu::always_inline]] inline void store_vector(T* to, const V& v) {
  std::memcpy(to, &v, sizeof v);
}

/// Halves in the low 16 bits of words, as floats; exact.
template <class T, int n>
[[gnu::always_inline]] inline Vector<float, n> widen_half(const Vector<uint32_t, n>& bits) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>);
  if constexpr (std::is_same_v<T, bf16>) return reinterpret_cast<Vector<float, n>>(bits << 16);
  const Vector<uint32_t, n> magnitude = (bits & 0x7fffu) << 13;
  const auto scaled = reinterpret_cast<Vector<float, n>>(magnitude) * 0x1p112f;
  const auto special = reinterpret_cast<Vector<uint32_t, n>>(magnitude >= 0x7c00u << 13);
  return reinterpret_cast<Vector<float, n>>(reinterpret_cast<Vector<uint32_t, n>>(scaled) |
                                            (special & 0x7f800000u) | (bits & 0x8000u) << 16);
}

}  // namespace tessera::simt
