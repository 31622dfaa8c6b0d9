#pragma once

#include "tessera/kernels/cpu/conv_weight.hpp"
#include "tessera/kernels/cpu/correlation.hpp"

/// Winograd's F(4 x 4, 3 x 3) for 3 x 3 filters of stride 1: 36 products per 16 outputs instead of
/// 144.
///
///   y  = A' [ (G w G') * (B' x B) ] A            over tiles of 6 x 6 inputs and 4 x 4 outputs
///   dw = G' [ sum over tiles (A dy A') * (B' x B) ] G
///
/// * is elementwise and sums over channels, so it is 36 small matrix products. The points of the
/// interpolation are 0, +-3/4, +-3/2 and infinity: exact in binary, and with them the error is
/// about twice that of the direct sums, where the usual 0, +-1, +-2 cost five times.
namespace tessera::kernels::cpu {

/// For problems of which winograd_applies (kernels/conv.hpp) is true.
template <class E>
void correlate_winograd(Stream& stream, const Correlation<E>& problem);

template <class E>
void accumulate_weight_gradient_winograd(Stream& stream, const WeightGradient<E>& problem);

}  // namespace tessera::kernels::cpu
