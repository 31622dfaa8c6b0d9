#pragma once

#include <functional>

#include "tessera/autograd/op.hpp"

namespace tessera {
struct QuantizedTensor;
}

/// Quantisation inside differentiated programs: straight-through functions and products with quantised
/// weights.
namespace tessera::autograd {

/// y = forward(x), differentiated as if it were the identity where `mask(x)` (bool) holds and constant
/// elsewhere; no mask is true everywhere. `name` is what errors say.
using TensorFunction = std::function<Tensor(const Tensor&)>;
Var straight_through(std::string_view name, const Var& x, TensorFunction forward, TensorFunction mask = {});

Var round_straight_through(const Var& x);
/// -1 for x < 0, else 1; gradients pass where |x| <= clip.
Var sign_straight_through(const Var& x, double clip = 1.0);

/// scale * clamp(round(x / scale), lowest, highest). scale: one element, or one per index of `axis`.
/// Gradients: 1 for x inside the range, 0 outside; for the scale those of learned step size quantisation
/// (round(x / s) - x / s inside, the bound outside), times `scale_gradient`.
struct FakeQuantizeParams {
  int64_t lowest = -128;
  int64_t highest = 127;
  int axis = 0;
  double scale_gradient = 1.0;
};
Var fake_quantize(const Var& x, const Var& scale, const FakeQuantizeParams& params = {});

/// x weight' + bias with a quantised weight [out, in]; linear in x, the weight is constant.
Var quantized_linear(const Var& x, const QuantizedTensor& weight, const Var& bias = {});

}  // namespace tessera::autograd
