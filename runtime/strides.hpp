#pragma once

#include <optional>

#include "tessera/runtime/shape.hpp"

namespace tessera {

/// The strides with which elements laid out as (`shape`, `strides`) are read as `wanted`, an equal
/// number of them in the same order; none where no strides do.
std::optional<Shape> reshaped_strides(const Shape& shape, const Shape& strides,
                                      const Shape& wanted);

}  // namespace tessera
