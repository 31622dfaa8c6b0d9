#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// An uncompressed Windows bitmap of 1, 8, 24 or 32 bits per pixel: u8 [height, width] where every
/// colour of its palette is grey, else u8 [height, width, 3] as red, green, blue. The first row is
/// the picture's top, whichever order the file has. Throws an `io` Error that names the file, the
/// byte and what was expected.
Tensor load_bmp(const std::string& path);
/// The same from memory; `name` stands for the file in errors.
Tensor parse_bmp(std::span<const std::byte> bytes, std::string_view name);

}  // namespace tessera
