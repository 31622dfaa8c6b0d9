#pragma once

#include "tessera/autograd/op.hpp"

/// Activation functions, elementwise. Those with a kink have derivative 0 (relu) or
/// the left slope (leaky_relu, elu) at 0, and second derivative 0 there.
namespace tessera::autograd {

Var relu(const Var& x);
/// g where y > 0, else 0: what relu, whose result y was, does to tangents and cotangents. Linear in
/// g; y is constant.
Var relu_gradient(const Var& g, const Tensor& y);
Var leaky_relu(const Var& x, double slope = 0.01);
/// x for x > 0, else alpha * (exp(x) - 1)
Var elu(const Var& x, double alpha = 1.0);
Var tanh(const Var& x);
/// 1 / (1 + exp(-x))
Var sigmoid(const Var& x);
/// log(1 + exp(x))
Var softplus(const Var& x);
/// x * Phi(x), with the normal distribution function itself
Var gelu(const Var& x);
/// the approximation of gelu by tanh
Var gelu_tanh(const Var& x);
/// x * sigmoid(x)
Var silu(const Var& x);

}  // namespace tessera::autograd
