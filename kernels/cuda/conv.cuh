#pragma once

#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/host_device.hpp"

/// What the files of the conv family share: conv.cu holds the table and brings all functions to the
/// two problems below, conv_product.cu computes them on tensor cores, conv_direct.cu where a group
/// has few channels.
namespace tessera::kernels::cuda {

/// One axis of a convolution or, `transposed`, of its transpose, as sums over taps of a filter.
///
/// A strided transpose writes every stride-th element: its outputs fall into as many classes, each
/// of which sees only the taps that reach it.
struct ConvAxis {
  int32_t outputs, source, filter, stride, padding, dilation;
  bool transposed;

  /// Output number i is element first + i * step of the result. Tap number j is element
  /// first_tap + j * tap_step of the filter, and reads source[i * source_step + shift + j *
  /// tap_shift], zero where there is none.
  struct Class {
    int32_t first, step, count, first_tap, tap_step, taps, source_step, shift, tap_shift;
  };

  TS_HD int32_t classes() const { return transposed ? (stride < outputs ? stride : outputs) : 1; }
  /// Number 0 has the most outputs.
  TS_HD Class at(int32_t number) const {
    if (!transposed) return {0, 1, outputs, 0, 1, filter, stride, -padding, dilation};
    const int32_t period = tap_period(), last = filter < period ? filter : period;
    const int64_t reach = int64_t{number} + padding;
    int32_t tap = 0;
    while (tap < last && (reach - int64_t{tap} * dilation) % stride != 0) ++tap;
    return {.first = number,
            .step = stride,
            .count = (outputs - number + stride - 1) / stride,
            .first_tap = tap,
            .tap_step = period,
            .taps = tap < last ? (filter - tap + period - 1) / period : 0,
            .source_step = 1,
            .shift = static_cast<int32_t>((reach - int64_t{tap} * dilation) / stride),
            .tap_shift = static_cast<int32_t>(-int64_t{dilation} * period / stride)};
  }
  /// Taps of the class with the most.
  TS_HD int32_t most_taps() const { return (filter + tap_period() - 1) / tap_period(); }
  /// Every so many taps reach the same outputs: stride / gcd(stride, dilation).
  TS_HD int32_t tap_period() const {
    if (!transposed) return 1;
    int32_t divisor = stride, rest = dilation;
    while (rest != 0) {
      const int32_t next = divisor % rest;
      divisor = rest;
      rest = next;
    }
    return stride / divisor;
  }
};

/// Where an image's elements lie: element (n, c, h, w) at n * image + (h * width + w) * pixel + c *
/// channel.
struct Images {
  int32_t count, height, width;
  int64_t image, pixel, channel;  // strides

  TS_HD int32_t plane() const { return height * width; }
};

/// The operands of a function, and with tangents those of both.
template <class E>
struct Orders {
  E *value, *tangent = nullptr;
};

/// output[n, f, i, j] = activation(bias[f] + sum over channels and taps of source * weight), for
/// each group of filters and channels.
template <class E>
struct Correlation {
  const char* name;
  int32_t groups, channels, filters;  // of one group
  Orders<const E> source, weight;
  Orders<E> output;
  Images source_images, output_images;
  int64_t weight_group, weight_filter, weight_channel;  // strides; taps are adjacent
  ConvAxis rows, columns;
  const E* bias;  // of the value; null, or one per filter of all groups
  Activation activation;
  bool dual;

  int32_t classes() const { return rows.classes() * columns.classes(); }
};

/// dweight[f, c, r, s] = sum over images and outputs of dy * x.
template <class E>
struct WeightGradient {
  const char* name;
  int32_t groups, channels, filters;
  Orders<const E> x, dy;
  Orders<E> dweight;  // contiguous
  Images x_images, dy_images;
  ConvAxis rows, columns;
  bool dual;

  TS_HD int32_t taps() const { return rows.filter * columns.filter; }
};

/// Products of fewer channels and filters fill too little of a tensor core's tile (64 x 16 bytes).
inline constexpr int64_t few_channels = 8;

template <class E>
void correlate_product(Stream&, const Correlation<E>&);
template <class E>
void weight_gradient_product(Stream&, const WeightGradient<E>&);
template <class E>
void correlate_direct(Stream&, const Correlation<E>&);
template <class E>
void weight_gradient_direct(Stream&, const WeightGradient<E>&);

}  // namespace tessera::kernels::cuda
