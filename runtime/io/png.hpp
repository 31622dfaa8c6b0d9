#pragma once

#include <string>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// Writes a picture, all or nothing: u8 [height, width] as grey or u8 [height, width, 3] as red,
/// green, blue; any strides and device, both extents from 1 to 2^20. Throws an `unsupported` Error
/// that names the missing package when this build has no libpng.
void save_png(const std::string& path, const Tensor& image);

/// False when `save_png` can only throw.
bool png_available();

}  // namespace tessera
