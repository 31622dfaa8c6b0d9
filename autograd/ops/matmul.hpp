#pragma once

#include "tessera/autograd/op.hpp"

namespace tessera::autograd {

/// [..., m, k] x [..., k, n] -> [..., m, n]; leading axes broadcast. Transposed operands
/// (`transpose`) are read through their strides, not copied.
Var matmul(const Var& a, const Var& b);

/// x weight' + bias: x [..., in], weight [out, in], bias [out] or empty; one product with the bias
/// fused.
Var linear(const Var& x, const Var& weight, const Var& bias = {});

}  // namespace tessera::autograd
