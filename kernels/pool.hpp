#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Pooling and resampling of images: x [n, c, h, w] -> y [n, c, p, q], contiguous, one floating
/// dtype, sums in f32 (f64 for f64). Every map here but the choice of the maxima is linear, and
/// comes with its transpose.
namespace tessera::kernels {

struct PoolParams {
  int64_t window[2] = {2, 2};  // rows, columns
  int64_t stride[2] = {2, 2};
  int64_t padding[2] = {0, 0};   // at most half a window: -inf for maxima, 0 for averages
  int64_t dilation[2] = {1, 1};  // of max_pool
  bool count_padding = true;  // an average divides by the window, not by its part inside the image
};

/// nearest; bilinear; bicubic: Keys' kernel with a = -0.75, borders repeat. imresize: bicubic as
/// MATLAB's function of this name, a = -0.5; along an axis that shrinks the kernel is stretched as
/// much (antialiasing); weights sum to 1; beyond the border the image is mirrored, the rim
/// repeated.
enum class ResampleMode : uint8_t { nearest, bilinear, bicubic, imresize };

struct ResampleParams {
  ResampleMode mode = ResampleMode::bilinear;
  bool align_corners = false;  // corner pixels map to corner pixels; otherwise pixel areas do. Of
                               // the linear and cubic mode only
};

struct PoolKernels {
  /// y = largest of each window; index (i64, y's shape) = its position in the h * w plane; ties
  /// take the first, NaN wins. p, q by conv_extent, or one more where the last window still starts
  /// inside (ceil mode).
  void (*max_pool)(Stream&, View x, View y, View index, const PoolParams&);
  /// y[n, c, i] = x[n, c, index[n, c, i]]: max_pool with the choice given. Indices outside the
  /// plane throw.
  void (*pool_gather)(Stream&, View x, View index, View y);
  /// x = the transpose of pool_gather: the sum of all y whose index points here.
  void (*pool_scatter)(Stream&, View y, View index, View x);
  /// Averages of windows, and the transpose.
  void (*average_pool)(Stream&, View x, View y, const PoolParams&);
  void (*average_pool_transpose)(Stream&, View y, View x, const PoolParams&);
  /// Averages over windows that divide the image into p x q parts: rows floor(i h / p) to
  /// ceil((i + 1) h / p). p = q = 1 is the global average. And the transpose.
  void (*adaptive_average_pool)(Stream&, View x, View y);
  void (*adaptive_average_pool_transpose)(Stream&, View y, View x);
  /// Interpolation from h x w to p x q points, and the transpose.
  void (*resample)(Stream&, View x, View y, const ResampleParams&);
  void (*resample_transpose)(Stream&, View y, View x, const ResampleParams&);
};

inline void max_pool(Stream& s, View x, View y, View index, const PoolParams& p = {}) {
  call("max_pool", s.device(), &Backend::pool, &PoolKernels::max_pool, s, x, y, index, p);
}
inline void pool_gather(Stream& s, View x, View index, View y) {
  call("pool_gather", s.device(), &Backend::pool, &PoolKernels::pool_gather, s, x, index, y);
}
inline void pool_scatter(Stream& s, View y, View index, View x) {
  call("pool_scatter", s.device(), &Backend::pool, &PoolKernels::pool_scatter, s, y, index, x);
}
inline void average_pool(Stream& s, View x, View y, const PoolParams& p = {}) {
  call("average_pool", s.device(), &Backend::pool, &PoolKernels::average_pool, s, x, y, p);
}
inline void average_pool_transpose(Stream& s, View y, View x, const PoolParams& p = {}) {
  call("average_pool_transpose", s.device(), &Backend::pool, &PoolKernels::average_pool_transpose,
       s, y, x, p);
}
inline void adaptive_average_pool(Stream& s, View x, View y) {
  call("adaptive_average_pool", s.device(), &Backend::pool, &PoolKernels::adaptive_average_pool, s,
       x, y);
}
inline void adaptive_average_pool_transpose(Stream& s, View y, View x) {
  call("adaptive_average_pool_transpose", s.device(), &Backend::pool,
       &PoolKernels::adaptive_average_pool_transpose, s, y, x);
}
inline void resample(Stream& s, View x, View y, const ResampleParams& p = {}) {
  call("resample", s.device(), &Backend::pool, &PoolKernels::resample, s, x, y, p);
}
inline void resample_transpose(Stream& s, View y, View x, const ResampleParams& p = {}) {
  call("resample_transpose", s.device(), &Backend::pool, &PoolKernels::resample_transpose, s, y, x,
       p);
}

}  // namespace tessera::kernels
