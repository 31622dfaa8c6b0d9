#pragma once

#include "tessera/autograd/op.hpp"

namespace tessera::autograd {

/// [..., m, k] x [..., k, n] -> [..., m, n]; leading axes broadcast. Transposed operands
/// (`transpose`) are read through their strides, not copied.
Var matmul(const Var& a, const Var& b);

/// The same for matrices that lie interleaved: y[i, r, j] = sum over k of a[i, r, k] b[k, r, j] for
/// a [m, batch, k], b [k, batch, n], y [m, batch, n]. Row i holds that of every matrix side by
/// side, which is how sparse products over all of them read it.
Var matmul_interleaved(const Var& a, const Var& b);

/// x weight' + bias: x [..., in], weight [out, in], bias [out] or empty; one product with the bias
/// fused.
Var linear(const Var& x, const Var& weight, const Var& bias = {});

}  // namespace tessera::autograd
