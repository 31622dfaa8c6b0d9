#pragma once

#include "tessera/kernels/cpu/conv_axis.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/stream.hpp"

/// The engine of conv_forward and conv_data_gradient: sums over taps of shifted planes.
///
/// Per image (or band of rows): copy the channels of a group into zero-padded planes, converting
/// and deinterleaving on the way, small enough for the second-level cache; then run register tiles
/// of filters x pixels whose B operand is read straight from the planes. No patch matrix is ever
/// formed.
namespace tessera::kernels::cpu {

/// Four extents or strides: image, channel, row, column.
struct ImageLayout {
  int64_t image, channel, row, column;
};

/// The data of a value and of a tangent of it; the latter null where only values are computed.
/// Number k of a product is the sum over i of number i of one factor with number k - i of the
/// other.
template <class E>
struct Orders {
  E* of[2];
  int count() const { return of[1] ? 2 : 1; }
  E* operator[](int order) const { return of[order]; }
};

template <class E>
struct Correlation {
  int64_t images, groups;
  int64_t channels, filters;  // of one group: of the source, of the output

  Orders<const E> source;
  ImageLayout source_stride;
  int64_t source_height, source_width;

  Orders<E> output;
  ImageLayout output_stride;

  Orders<const E> weight;
  // Strides of the weight between groups, filters, channels and rows of taps; taps of a row are
  // adjacent.
  int64_t weight_group, weight_filter, weight_channel, weight_row;

  const E* bias;  // of the value: null, or one per filter of all groups
  Activation activation;
  ConvAxis rows, columns;
};

/// Writes every element of the output that some class of the axes covers.
template <class E>
void correlate(Stream& stream, const Correlation<E>& problem);

/// One row of a padded plane: `before` zeros, `count` elements from `first` on in steps, zeros to
/// the end.
struct PaddedRow {
  int64_t before, count, first, length;

  /// Positions j < length hold element start + j * step where that lies in [0, extent).
  PaddedRow(int64_t start, int64_t step, int64_t length, int64_t extent);
  int64_t after() const { return length - before - count; }
};

}  // namespace tessera::kernels::cpu
