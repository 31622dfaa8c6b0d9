#pragma once

#include <string>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// How a matrix is stored in low precision.
struct QuantizedScheme {
  int bits = 8;        // 2 .. 8; 4 and fewer are stored two to a byte
  int64_t group = 0;   // neighbouring elements of a row that share a scale; 0: the whole row
  bool packed() const { return bits <= 4; }
  friend bool operator==(const QuantizedScheme&, const QuantizedScheme&) = default;
};

/// A matrix [rows, columns] of low-precision codes: element (i, j) is
/// scales[i, j / group] * (code(i, j) - zeros[i, j / group]). A value struct of plain tensors on one device;
/// packing never enters the strides of a Tensor.
struct QuantizedTensor {
  int64_t rows = 0, columns = 0;
  QuantizedScheme scheme;
  Tensor codes;   // i8 [rows, columns]; packed: u8 [rows, (columns + 1) / 2], the even column in the low nibble,
                  // nibbles holding code + 8
  Tensor scales;  // f32 [rows, groups], groups = ceil(columns / group)
  Tensor zeros;   // i32 [rows, groups], or undefined: 0

  /// Throws, naming the member at fault, unless dtypes, shapes and devices are as above.
  void validate() const;
  int64_t groups() const { return scheme.group == 0 ? 1 : (columns + scheme.group - 1) / scheme.group; }
  Device device() const { return codes.device(); }
  QuantizedTensor to(Device device) const;
  /// Bytes of codes, scales and zeros.
  size_t bytes() const;
};

/// "4-bit 512 x 2048, groups of 128, on cpu"
std::string to_string(const QuantizedTensor& tensor);

}  // namespace tessera
