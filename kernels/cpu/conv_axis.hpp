#pragma once

#include <cstdint>
#include <vector>

/// One axis of a convolution, or of its transpose, as sums over shifted planes.
///
/// A strided convolution reads every stride-th pixel. Sorting the pixels of the padded source into
/// planes by their index modulo the stride turns it into one of stride 1: output i is a sum over
/// taps of plane[tap.plane][i + tap.shift]. The transpose writes every stride-th pixel: its outputs
/// fall into as many classes, each a convolution of stride 1 with those taps of the filter that
/// reach it.
namespace tessera::kernels::cpu {

struct ConvAxis {
  struct Tap {
    int64_t filter;  // index into the filter
    int64_t plane, shift;
  };
  struct Output {
    int64_t first, count;  // output i is element first + i * output_step of the result
    std::vector<Tap> taps;
  };

  int64_t source_step = 1;      // position j of plane p holds source element
  std::vector<int64_t> starts;  // starts[p] + j * source_step, or zero where there is none
  int64_t output_step = 1;
  std::vector<Output> outputs;

  /// n outputs read the planes up to position n + reach() - 1.
  int64_t reach() const;
  /// Outputs of the largest class.
  int64_t count() const;
};

/// outputs[i] = sum over r < filter of source[i * stride - padding + r * dilation] w[r]
ConvAxis forward_axis(int64_t outputs, int64_t filter, int64_t stride, int64_t padding,
                      int64_t dilation);

/// outputs[i * stride - padding + r * dilation] += source[i] w[r], for all i and r < filter
ConvAxis transposed_axis(int64_t outputs, int64_t filter, int64_t stride, int64_t padding,
                         int64_t dilation);

}  // namespace tessera::kernels::cpu
