#pragma once

#include "tessera/autograd/op.hpp"
#include "tessera/kernels/pool.hpp"

/// Pooling, resampling and rearranging of images [n, c, h, w].
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
/// Interpolates to height x width points; see kernels/pool.hpp for the modes. Shrinking without
/// aliasing: ResampleMode::imresize.
Var resample2d(const Var& x, int64_t height, int64_t width, const ResampleParams& params = {});

/// Shi et al. (2016): channels become pixels. x [n, c f^2, h, w] -> y [n, c, f h, f w],
/// y[n, c, f i + a, f j + b] = x[n, (c f + a) f + b, i, j]; and its inverse, which cuts an image
/// into f x f patches, each a column of channels.
Var pixel_shuffle(const Var& x, int64_t factor);
Var pixel_unshuffle(const Var& x, int64_t factor);

}  // namespace tessera::autograd
