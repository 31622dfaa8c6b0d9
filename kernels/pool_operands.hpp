#pragma once

#include <algorithm>
#include <cmath>

#include "tessera/kernels/conv.hpp"
#include "tessera/kernels/pool.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/host_device.hpp"

/// Operands of the pool family, checked against the contract of the family's header, and the linear
/// maps along one axis that its averages and interpolations are made of.
namespace tessera::kernels {

struct PoolExtents {
  int64_t planes, height, width, out_height, out_width;
  TS_HD int64_t in_size() const { return height * width; }
  TS_HD int64_t out_size() const { return out_height * out_width; }
};

inline PoolExtents check_images(const char* name, const View& x, const View& y) {
  TS_CHECK(x.rank == 4 && y.rank == 4 && x.shape[0] == y.shape[0] && x.shape[1] == y.shape[1], name,
           ": images ", x.dims(), " and ", y.dims(),
           " must agree in the first two of four dimensions");
  TS_CHECK(is_float(x.dtype) && x.dtype == y.dtype, name, ": one floating dtype expected, got ",
           x.dtype, " and ", y.dtype);
  TS_CHECK(x.contiguous() && y.contiguous(), name, ": contiguous images expected");
  TS_CHECK(y.numel() == 0 || x.numel() > 0, name, ": images ", x.dims(), " have no pixels to make ",
           y.dims(), " of");
  return {x.shape[0] * x.shape[1], x.shape[2], x.shape[3], y.shape[2], y.shape[3]};
}

inline void check_pool_index(const char* name, const View& y, const View& index) {
  TS_CHECK(index.dtype == DType::i64 && index.dims() == y.dims() && index.contiguous(), name,
           ": contiguous i64 indices of shape ", y.dims(), " expected, got ", index.dtype, " ",
           index.dims());
}

inline void check_windows(const char* name, const PoolExtents& e, const PoolParams& p) {
  const int64_t in[] = {e.height, e.width}, out[] = {e.out_height, e.out_width};
  for (int i = 0; i < 2; ++i) {
    TS_CHECK(p.window[i] > 0 && p.stride[i] > 0 && p.dilation[i] > 0, name, ": window ",
             p.window[i], ", stride ", p.stride[i], ", dilation ", p.dilation[i], " along axis ",
             i + 2);
    TS_CHECK(p.padding[i] >= 0 && 2 * p.padding[i] <= p.window[i], name, ": padding ", p.padding[i],
             " along axis ", i + 2, " must be at most half the window ", p.window[i]);
    const int64_t whole = conv_extent(in[i], p.window[i], p.stride[i], p.padding[i], p.dilation[i]);
    const bool one_more = out[i] == whole + 1 && (out[i] - 1) * p.stride[i] - p.padding[i] < in[i];
    TS_CHECK(out[i] == whole || one_more, name, ": extent ", in[i], " gives ", whole,
             " windows along axis ", i + 2, ", got ", out[i]);
  }
}

inline PoolExtents check_max_pool(const View& x, const View& y, const View& index,
                                  const PoolParams& p) {
  const PoolExtents e = check_images("max_pool", x, y);
  check_pool_index("max_pool", y, index);
  check_windows("max_pool", e, p);
  for (int axis = 0; axis < 2; ++axis) {  // dilated windows can miss a small image
    const int64_t in = axis ? e.width : e.height, out = axis ? e.out_width : e.out_height;
    for (int64_t i = 0; i < out; ++i) {
      bool hit = false;
      for (int64_t r = 0; r < p.window[axis]; ++r) {
        const int64_t at = i * p.stride[axis] - p.padding[axis] + r * p.dilation[axis];
        hit = hit || (at >= 0 && at < in);
      }
      TS_CHECK(hit, "max_pool: window ", i, " along axis ", axis + 2, " holds no pixel of ",
               x.dims());
    }
  }
  return e;
}

/// A linear map along one axis: output i = (sum of weight * input over its taps) / divisor(i).
struct PoolAxis {
  enum class Kind : uint8_t { windows, parts, nearest, bilinear, bicubic, imresize };

  Kind kind;
  int64_t in, out;
  int64_t window = 1, stride = 1, padding = 0;
  bool count_padding = true, align_corners = false;

  static PoolAxis windows(int64_t in, int64_t out, int axis, const PoolParams& p) {
    return {Kind::windows,  in, out, p.window[axis], p.stride[axis], p.padding[axis],
            p.count_padding};
  }
  static PoolAxis parts(int64_t in, int64_t out) { return {Kind::parts, in, out}; }
  static PoolAxis resample(int64_t in, int64_t out, const ResampleParams& p) {
    constexpr Kind kinds[] = {Kind::nearest, Kind::bilinear, Kind::bicubic, Kind::imresize};
    return {kinds[static_cast<int>(p.mode)],
            in,
            out,
            1,
            1,
            0,
            true,
            p.align_corners && p.mode != ResampleMode::imresize};
  }

  /// Calls body(input, weight) for the taps of output i; an input may come more than once.
  template <class Body>
  TS_HD void taps(int64_t i, Body&& body) const {
    if (kind == Kind::windows || kind == Kind::parts) {
      for (int64_t j = first_input(i); j < last_input(i); ++j) body(j, 1.0);
      return;
    }
    if (kind == Kind::nearest) return body(i * in / out, 1.0);
    double at =
        align_corners
            ? (out > 1 ? static_cast<double>(i * (in - 1)) / static_cast<double>(out - 1) : 0)
            : (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) -
                  0.5;
    if (kind == Kind::bilinear && at < 0) at = 0;
    const auto j = static_cast<int64_t>(std::floor(at));
    if (kind == Kind::imresize) {
      const auto last = static_cast<int64_t>(std::floor(at + reach()));
      for (int64_t k = static_cast<int64_t>(std::ceil(at - reach())); k <= last; ++k)
        body(mirrored(k), keys_kernel(2 * std::abs(at - static_cast<double>(k)) / reach(), -0.5));
      return;
    }
    const double t = at - static_cast<double>(j);
    if (kind == Kind::bilinear) {
      body(clamped(j), 1 - t);
      body(clamped(j + 1), t);
      return;
    }
    constexpr double a = -0.75;
    body(clamped(j - 1), keys_kernel(t + 1, a));
    body(clamped(j), keys_kernel(t, a));
    body(clamped(j + 1), keys_kernel(1 - t, a));
    body(clamped(j + 2), keys_kernel(2 - t, a));
  }

  TS_HD double divisor(int64_t i) const {
    if (kind == Kind::parts) return static_cast<double>(last_input(i) - first_input(i));
    if (kind == Kind::imresize) {
      double sum = 0;
      taps(i, [&](int64_t, double weight) { sum += weight; });
      return sum;
    }
    if (kind != Kind::windows) return 1;
    // A last window that only starts inside counts its part within the padded image.
    const int64_t start = i * stride - padding, end = start + window;
    const int64_t counted = count_padding ? (end < in + padding ? end : in + padding) - start
                                          : last_input(i) - first_input(i);
    return static_cast<double>(counted > 1 ? counted : 1);
  }

  /// All outputs that have input j among their taps lie in [first_output(j), last_output(j)).
  TS_HD int64_t first_output(int64_t j) const {
    int64_t first = 0;
    if (kind == Kind::windows)
      first = (j + padding - window + stride) / stride;
    else if (kind == Kind::parts)
      first = j * out / in - 1;
    else if (!align_corners)
      first = static_cast<int64_t>(std::floor(output_at(static_cast<double>(j) - reach() - 1)));
    else if (in > 1)
      first = (j - 3) * (out - 1) / (in - 1) - 1;
    return first < 0 ? 0 : first;
  }
  TS_HD int64_t last_output(int64_t j) const {
    int64_t last = out;
    if (kind == Kind::windows)
      last = (j + padding) / stride + 1;
    else if (kind == Kind::parts)
      last = (j + 1) * out / in + 2;
    else if (!align_corners)
      last = static_cast<int64_t>(std::ceil(output_at(static_cast<double>(j) + reach() + 1))) + 1;
    else if (in > 1)
      last = (j + 3) * (out - 1) / (in - 1) + 2;
    return last > out ? out : last;
  }

 private:
  /// Keys (1981), a cubic in the distance d: one for d <= 1, one for 1 < d <= 2.
  TS_HD static double keys_kernel(double d, double a) {
    return d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  }
  /// How far from its own place an output reads, in inputs.
  TS_HD double reach() const {
    return kind == Kind::imresize && out < in
               ? 2 * static_cast<double>(in) / static_cast<double>(out)
               : 2;
  }
  /// ... 1 0 | 0 1 .. in - 1 | in - 1 ..., as often as needed
  TS_HD int64_t mirrored(int64_t j) const {
    j = (j % (2 * in) + 2 * in) % (2 * in);
    return j < in ? j : 2 * in - 1 - j;
  }
  TS_HD int64_t clamped(int64_t j) const { return j < 0 ? 0 : j < in ? j : in - 1; }
  TS_HD double output_at(double input) const {
    return (input + 0.5) * static_cast<double>(out) / static_cast<double>(in) - 0.5;
  }
  /// The inputs of a window or part.
  TS_HD int64_t first_input(int64_t i) const {
    if (kind == Kind::parts) return i * in / out;
    const int64_t start = i * stride - padding;
    return start > 0 ? start : 0;
  }
  TS_HD int64_t last_input(int64_t i) const {
    if (kind == Kind::parts) return ((i + 1) * in + out - 1) / out;
    const int64_t end = i * stride - padding + window;
    return end < in ? end : in;
  }
};

}  // namespace tessera::kernels
