#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "tessera/runtime/io/byte_source.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// Element types as files store them. Those without a DType widen on reading: u32 to i64,
/// u64 to i64 with an error for a value that does not fit.
enum class StoredType : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  bool_
};
inline constexpr int stored_type_count = 13;

std::string_view to_string(StoredType type);
size_t size_of(StoredType type);
/// The dtype of a tensor read from elements of `type`.
DType dtype_of_stored(StoredType type);
StoredType stored_type(DType dtype);

/// The bytes of `shape` elements; throws at the source's position when an extent is negative or the
/// count is beyond 2^60 even without its zeros.
uint64_t byte_count(const ByteSource& source, const Shape& shape, StoredType type);

/// Reads `shape.numel()` elements in row-major order to a new CPU tensor. Bytes of a bool must be 0
/// or 1.
Tensor read_elements(ByteSource& source, const Shape& shape, StoredType type, std::endian order,
                     std::string_view what);

/// The position of the first byte that is neither 0 nor 1, or -1.
int64_t find_invalid_bool(std::span<const std::byte> bytes);

}  // namespace tessera
