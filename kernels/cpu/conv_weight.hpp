#pragma once

#include "tessera/kernels/cpu/correlation.hpp"

/// The engine of conv_weight_gradient.
///
/// dweight[o, (r, s, c)] is a product of dy [o, pixels] with x [pixels, (s, c)] for each filter row
/// r. With the channels of a padded copy of x innermost, the s * c factors of a pixel are adjacent,
/// so the tiles of gemm read both operands where they are. Images are cut into chunks whose number
/// depends on the shape alone; each chunk sums into its own copy, and the copies are added in
/// order.
namespace tessera::kernels::cpu {

template <class E>
struct WeightGradient {
  int64_t images, groups;
  int64_t channels, filters;  // of one group
  int64_t filter_height, filter_width;
  int64_t stride[2], padding[2], dilation[2];

  Orders<const E> x;
  ImageLayout x_stride;
  int64_t height, width;

  Orders<const E> dy;
  ImageLayout dy_stride;
  int64_t out_height, out_width;

  Orders<E> dweight;  // contiguous [groups * filters, channels, filter_height, filter_width]
  E* dbias;           // null, or [groups * filters]: of the value
};

template <class E>
void accumulate_weight_gradient(Stream& stream, const WeightGradient<E>& problem);

}  // namespace tessera::kernels::cpu
