#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// One array in the IDX format of MNIST: two zero bytes, the element type, the rank, big-endian
/// extents, big-endian elements. A gzip-compressed file is recognised by its first bytes. Types u8,
/// i8, i16, i32, f32, f64. Throws an `io` Error that names the file, the byte and
/// what was expected.
Tensor load_idx(const std::string& path);
/// The same from memory; `name` stands for the file in errors.
Tensor parse_idx(std::span<const std::byte> bytes, std::string_view name);

}  // namespace tessera
