#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/half.hpp"

namespace tessera {

/// i16 and u16 are what sensors and files store: they are moved, converted and read by the kernels
/// that say so (linalg.hpp), and computed with by no other.
enum class DType : uint8_t { f32, f64, f16, bf16, i64, i32, i8, u8, bool_, i16, u16 };
inline constexpr int dtype_count = 11;

constexpr size_t size_of(DType dtype) {
  constexpr size_t sizes[dtype_count] = {4, 8, 2, 2, 8, 4, 1, 1, 1, 2, 2};
  return sizes[static_cast<int>(dtype)];
}

constexpr bool is_float(DType dtype) { return dtype <= DType::bf16; }
constexpr bool is_half(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }
constexpr bool is_integer(DType dtype) { return dtype >= DType::i64 && dtype != DType::bool_; }

/// "f32", "bf16", "i64", "bool", ...
std::string_view to_string(DType dtype);
/// The inverse of `to_string`; throws on an unknown name.
DType parse_dtype(std::string_view name);

template <class T>
inline constexpr DType dtype_of = [] {
  static_assert(sizeof(T) == 0, "no DType for this C++ type");
  return DType::f32;
}();
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<f16> = DType::f16;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<int8_t> = DType::i8;
template <>
inline constexpr DType dtype_of<uint8_t> = DType::u8;
template <>
inline constexpr DType dtype_of<bool> = DType::bool_;
template <>
inline constexpr DType dtype_of<int16_t> = DType::i16;
template <>
inline constexpr DType dtype_of<uint16_t> = DType::u16;

/// The type in which values of T are computed and summed: double for double, float for every other
/// floating type, T itself otherwise.
template <class T>
struct compute_type {
  using type = T;
};
template <>
struct compute_type<f16> {
  using type = float;
};
template <>
struct compute_type<bf16> {
  using type = float;
};
template <class T>
using compute_t = typename compute_type<T>::type;

[[noreturn]] void unsupported_dtype(std::string_view operation, DType dtype);

/// Calls `body.template operator()<T>()` with the C++ type of a floating dtype; throws an
/// `unsupported` Error that names `operation` for any other.
template <class Body>
decltype(auto) for_float(DType dtype, std::string_view operation, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body.template operator()<float>();
    case DType::f64:
      return body.template operator()<double>();
    case DType::f16:
      return body.template operator()<f16>();
    case DType::bf16:
      return body.template operator()<bf16>();
    default:
      unsupported_dtype(operation, dtype);
  }
}

/// As `for_float`, for the index dtypes i32 and i64.
template <class Body>
decltype(auto) for_index(DType dtype, std::string_view operation, Body&& body) {
  switch (dtype) {
    case DType::i32:
      return body.template operator()<int32_t>();
    case DType::i64:
      return body.template operator()<int64_t>();
    default:
      unsupported_dtype(operation, dtype);
  }
}

/// As `for_float`, for every dtype that is computed with: all but i16 and u16.
template <class Body>
decltype(auto) for_computed(DType dtype, std::string_view operation, Body&& body) {
  switch (dtype) {
    case DType::i64:
      return body.template operator()<int64_t>();
    case DType::i32:
      return body.template operator()<int32_t>();
    case DType::i8:
      return body.template operator()<int8_t>();
    case DType::u8:
      return body.template operator()<uint8_t>();
    case DType::bool_:
      return body.template operator()<bool>();
    default:
      return for_float(dtype, operation, body);
  }
}

/// As `for_float`, for every dtype.
template <class Body>
decltype(auto) for_any(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::i16:
      return body.template operator()<int16_t>();
    case DType::u16:
      return body.template operator()<uint16_t>();
    default:
      return for_computed(dtype, "for_any", body);
  }
}

/// Calls body with the unsigned integer of the dtype's size: one instance moves all dtypes of it.
template <class Body>
decltype(auto) for_bits(DType dtype, Body&& body) {
  switch (size_of(dtype)) {
    case 1:
      return body.template operator()<uint8_t>();
    case 2:
      return body.template operator()<uint16_t>();
    case 4:
      return body.template operator()<uint32_t>();
    default:
      return body.template operator()<uint64_t>();
  }
}

}  // namespace tessera
