#pragma once

#include "tessera/bench/support/bench.hpp"

/// Floors of kernels that memory bounds: plain loops over as many bytes as the kernel moves, on all
/// threads.
namespace tessera::bench {

/// std::memcpy of bytes / 2, by pieces.
Work copy_floor(double bytes);

/// a[i] = b[i] + 3 c[i] on arrays of bytes / 12 floats.
Work triad_floor(double bytes);

}  // namespace tessera::bench
