#pragma once

#include <functional>

#include "tessera/autograd/op.hpp"
#include "tessera/kernels/quantize.hpp"
#include "tessera/runtime/quantized.hpp"

/// Quantisation inside differentiated programs: straight-through functions and products with
/// quantised weights. Derivatives of second and higher order of a straight-through function are 0:
/// what it passes on does not depend on where it is.
namespace tessera::autograd {

using kernels::code_range;
using kernels::CodeRange;  // {.lowest = -128, .highest = 127}

/// y = forward(x), differentiated as if it were the identity where `mask(x)` (bool, x's shape)
/// holds and constant elsewhere; no mask: the identity everywhere. `name` is what errors say, and
/// must outlive it.
using TensorFunction = std::function<Tensor(const Tensor&)>;
Var straight_through(std::string_view name, const Var& x, TensorFunction forward,
                     TensorFunction mask = {});

/// Nearest integer, halves to even.
Var round_straight_through(const Var& x);
/// -1 for x < 0, else 1; gradients pass where |x| <= clip.
Var sign_straight_through(const Var& x, double clip = 1.0);

/// (clamp(round(x / scale) + zero, lowest, highest) - zero) * scale. scale: x's rank and dtype (or
/// f32), with an extent in every dimension that divides x's: each entry serves that many
/// consecutive indices; zero: empty, or f32 of scale's shape, constant. Gradients: x's passes
/// inside the range; the scale's is that of learned step size quantisation (code - zero, minus x /
/// scale inside the range) times `scale_gradient`.
Var fake_quantize(const Var& x, const Var& scale, CodeRange range, const Tensor& zero = {},
                  double scale_gradient = 1.0);

/// x weight' + bias with a constant quantised weight [out, in]: x [..., in], bias [out] or empty.
Var quantized_linear(const Var& x, const QuantizedTensor& weight, const Var& bias = {});

}  // namespace tessera::autograd
