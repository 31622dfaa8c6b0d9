#pragma once

#include "tessera/autograd/op.hpp"
#include "tessera/kernels/conv.hpp"

/// Two-dimensional convolution. It is linear in x and in the weight; its two transposes are ops of
/// their own, and the three together are closed under differentiation.
namespace tessera::autograd {

/// {.stride = {1, 1}, .padding = {0, 0}, .dilation = {1, 1}, .groups = 1}; `activation` must stay
/// none.
using Conv2dParams = kernels::ConvParams;

/// x [n, c, h, w], weight [o, c / groups, r, s], bias [o] or empty -> [n, o, p, q]. Depthwise:
/// groups = c.
Var conv2d(const Var& x, const Var& weight, const Var& bias = {}, const Conv2dParams& params = {});

/// The transpose of conv2d in x: x [n, c, p, q], weight [c, o / groups, r, s] -> [n, o, h, w] with
/// h = (p - 1) * stride - 2 * padding + dilation * (r - 1) + 1 + output_padding.
Var conv2d_transposed(const Var& x, const Var& weight, const Var& bias = {},
                      const Conv2dParams& params = {}, const Shape& output_padding = {0, 0});

/// Cuts x [n, c, h, w] into patches of the weight's extent and projects each: [n, patches, o].
Var patch_embed(const Var& x, const Var& weight, const Var& bias = {});

}  // namespace tessera::autograd
