#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// Writes a picture, all or nothing: u8 [height, width] as grey or u8 [height, width, 3] as red,
/// green, blue; any strides and device, both extents from 1 to 2^20. Throws an `unsupported` Error
/// that names the missing package when this build has no libpng.
void save_png(const std::string& path, const Tensor& image);

/// The pixels of a file: u8 [height, width] of grey ones, u8 [height, width, 3] of others, on the
/// host. Palettes and 16 bits become 8 bits per channel, what is transparent shows white, colours
/// become those of sRGB. Throws an `io` Error naming the file and what libpng says, and when an
/// image of that size cannot be in a file of this length; `unsupported` as `save_png`.
Tensor load_png(const std::string& path);
Tensor parse_png(std::span<const std::byte> bytes, std::string_view name);

/// False when these can only throw.
bool png_available();

}  // namespace tessera
