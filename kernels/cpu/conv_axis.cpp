#include "tessera/kernels/cpu/conv_axis.hpp"

#include <algorithm>
#include <limits>

namespace tessera::kernels::cpu {

int64_t ConvAxis::reach() const {
  int64_t reach = 0;
  for (const Output& o : outputs)
    for (const Tap& t : o.taps) reach = std::max(reach, t.shift);
  return reach;
}

int64_t ConvAxis::count() const {
  int64_t count = 0;
  for (const Output& o : outputs) count = std::max(count, o.count);
  return count;
}

ConvAxis forward_axis(int64_t outputs, int64_t filter, int64_t stride, int64_t padding,
                      int64_t dilation) {
  ConvAxis axis;
  axis.source_step = stride;
  axis.outputs.push_back({0, outputs, {}});
  for (int64_t r = 0; r < filter; ++r) {
    const int64_t start = r * dilation % stride - padding;
    const auto found = std::find(axis.starts.begin(), axis.starts.end(), start);
    const int64_t plane = found - axis.starts.begin();
    if (found == axis.starts.end()) axis.starts.push_back(start);
    axis.outputs[0].taps.push_back({r, plane, r * dilation / stride});
  }
  return axis;
}

ConvAxis transposed_axis(int64_t outputs, int64_t filter, int64_t stride, int64_t padding,
                         int64_t dilation) {
  ConvAxis axis;
  axis.output_step = stride;
  int64_t lowest = std::numeric_limits<int64_t>::max();
  for (int64_t c = 0; c < stride; ++c) {
    // Output h belongs to class c when h + padding = i * stride + c; tap r reads source[i - r *
    // dilation / stride].
    const int64_t begin = padding > c ? (padding - c + stride - 1) / stride : 0;
    const int64_t last = outputs - 1 + padding - c;
    const int64_t count = last < 0 ? 0 : last / stride + 1 - begin;
    if (count <= 0) continue;
    axis.outputs.push_back({begin * stride + c - padding, count, {}});
    for (int64_t r = 0; r < filter; ++r)
      if (r * dilation % stride == c) {
        const int64_t shift = begin - r * dilation / stride;
        lowest = std::min(lowest, shift);
        axis.outputs.back().taps.push_back({r, 0, shift});
      }
  }
  if (lowest == std::numeric_limits<int64_t>::max()) lowest = 0;
  axis.starts.push_back(lowest);
  for (ConvAxis::Output& o : axis.outputs)
    for (ConvAxis::Tap& t : o.taps) t.shift -= lowest;
  return axis;
}

}  // namespace tessera::kernels::cpu
