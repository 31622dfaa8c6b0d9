#pragma once

#include <cstdint>
#include <span>

#include "tessera/runtime/view.hpp"

namespace tessera::kernels::cpu {

/// output[0 .. n) from inputs[k][0 .. n), all contiguous; halves appear as float.
using TileKernel = void (*)(const void* const* inputs, void* output, int64_t n,
                            const void* parameters);

enum class Halves : uint8_t {
  widened,  // as float on the way in, rounded on the way out
  as_bits,  // moved as they are
};

/// What a kernel takes longest for: moving its operands, or computing.
enum class Bound : uint8_t { memory, arithmetic };

/// Runs an elementwise kernel over operands of any strides and equal shapes, on all threads. The
/// kernel sees contiguous memory only: operands that are strided, broadcast or half are gathered
/// into, and scattered from, buffers of some thousand bytes that stay in the first-level cache,
/// tile by tile. A null kernel passes its only input through: a copy. Where memory is
/// the bound, outputs larger than the caches are written past them, unless they overwrite an input.
void map_tiles(std::span<const View> inputs, const View& output, TileKernel kernel,
               const void* parameters = nullptr, Halves halves = Halves::widened,
               Bound bound = Bound::memory);

}  // namespace tessera::kernels::cpu
