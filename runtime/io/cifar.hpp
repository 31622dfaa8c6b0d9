#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// The two layouts of a record in CIFAR's binary files, before its 3072 pixel bytes.
enum class CifarKind : uint8_t {
  cifar10,   // label byte, below 10
  cifar100,  // coarse label byte, below 20, then fine label byte, below 100
};

struct CifarImages {
  Tensor images;         // u8 [n, 3, 32, 32]: red, green, blue planes
  Tensor labels;         // i32 [n]
  Tensor coarse_labels;  // i32 [n], CIFAR-100 only
};

/// Throws an `io` Error that names the file, the record and the byte: a size that is no whole
/// number of records, a label out of range (which a file of the other kind has soon).
CifarImages load_cifar(const std::string& path, CifarKind kind);
/// The same from memory; `name` stands for the file in errors.
CifarImages parse_cifar(std::span<const std::byte> bytes, std::string_view name, CifarKind kind);

}  // namespace tessera
