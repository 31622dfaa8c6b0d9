#pragma once

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// How codes are stored. Whether scales are per tensor, channel or group is read from their shape.
struct QuantScheme {
  int bits = 8;           // 2 to 8
  bool is_signed = true;  // codes are i8, else u8
  bool packed = false;    // two 4-bit codes per byte of u8 along the last axis; bits <= 4
};

/// A tensor of small integer codes: value = (code - zero) * scale. `scales` (and `zeros`) are f32
/// of the codes' rank and have in each dimension an extent that divides the shape's: [o, 1] is one
/// scale per row, [o, k / 32] one per 32 consecutive columns.
struct QuantizedTensor {
  Tensor codes;
  Tensor scales;
  Tensor zeros;  // undefined: all zero
  QuantScheme scheme;
  Shape shape;  // of the values; codes of a packed tensor have half the last extent, rounded up

  /// Throws unless dtypes, shapes, devices and the scheme fit together.
  void validate() const;
  DType code_dtype() const { return scheme.is_signed && !scheme.packed ? DType::i8 : DType::u8; }
  /// Bytes of codes, scales and zeros.
  int64_t bytes() const;
};

/// "int4 [64, 256] in blocks of [1, 32] on cpu"
std::string to_string(const QuantizedTensor& tensor);

}  // namespace tessera
