#pragma once

#include "tessera/autograd/op.hpp"
#include "tessera/kernels/pool.hpp"

/// Pooling and resampling of images [n, c, h, w].
namespace tessera::autograd {

/// {.window = {2, 2}, .stride = {2, 2}, .padding = {0, 0}, .dilation = {1, 1}, .count_padding =
/// true}
using Pool2dParams = kernels::PoolParams;
using ResampleParams = kernels::ResampleParams;
using kernels::ResampleMode;

/// Largest of each window; the first of equal ones takes the gradient.
Var max_pool2d(const Var& x, const Pool2dParams& params = {});
Var average_pool2d(const Var& x, const Pool2dParams& params = {});
/// Averages over windows that divide the image into height x width parts.
Var adaptive_average_pool2d(const Var& x, int64_t height, int64_t width);
/// [n, c, h, w] -> [n, c]
Var global_average_pool(const Var& x);
/// Interpolates to height x width points: nearest, bilinear or bicubic.
Var resample2d(const Var& x, int64_t height, int64_t width, const ResampleParams& params = {});

}  // namespace tessera::autograd
