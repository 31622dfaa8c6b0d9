#pragma once

#include "tessera/kernels/cuda/ptx.cuh"

/// Reductions over the lanes of a warp and the warps of a block, always in the same order.
namespace tessera::kernels::cuda {

struct Sum {
  template <class T>
  TS_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Maximum {
  template <class T>
  TS_DEVICE T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct Minimum {
  template <class T>
  TS_DEVICE T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};

/// Combines the values of the lanes of each segment of `width`; every lane gets the result.
template <class T, class Combine>
TS_DEVICE T warp_reduce(T value, Combine combine, uint32_t width = warp_size) {
#pragma unroll
  for (uint32_t bits = warp_size / 2; bits > 0; bits /= 2)
    if (bits < width) value = combine(value, shuffle_xor(value, bits));
  return value;
}

/// Each lane gets the values of the lanes up to its own, combined.
template <class T, class Combine>
TS_DEVICE T warp_scan(T value, Combine combine) {
#pragma unroll
  for (uint32_t distance = 1; distance < warp_size; distance *= 2) {
    const T left = shuffle_up(value, distance);
    if (lane_index() >= distance) value = combine(left, value);
  }
  return value;
}

/// Combines the values of all threads of a one-dimensional block of whole warps; every thread gets
/// the result. `scratch` is shared memory for 32 values, free again when the next barrier has
/// passed.
template <class T, class Combine>
TS_DEVICE T block_reduce(T value, Combine combine, T* scratch) {
  value = warp_reduce(value, combine);
  const uint32_t warps = block_size().x / warp_size;
  if (lane_index() == 0) scratch[warp_index()] = value;
  sync_block();
  T total = scratch[0];
  for (uint32_t w = 1; w < warps; ++w) total = combine(total, scratch[w]);
  sync_block();
  return total;
}

}  // namespace tessera::kernels::cuda
