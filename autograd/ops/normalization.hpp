#pragma once

#include "tessera/autograd/op.hpp"
#include "tessera/kernels/rowwise.hpp"

/// Normalisation, fused forward and in first derivatives; what is of higher order comes out of the
/// other ops. gamma and beta may be empty Vars (1 and 0); their dtype is x's, or f32 beside halves.
namespace tessera::autograd {

using kernels::BatchNormParams;  // {.epsilon = 1e-5, .momentum = 0.1}

/// (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis; gamma, beta: [last].
Var layer_norm(const Var& x, const Var& gamma = {}, const Var& beta = {}, double epsilon = 1e-5);
/// x / sqrt(mean(x^2) + epsilon) * gamma over the last axis.
Var rms_norm(const Var& x, const Var& gamma = {}, double epsilon = 1e-5);

/// What a batch norm does to its result in the same pass: adds a residual of x's shape and dtype,
/// then takes relu.
struct BatchNormTail {
  bool relu = false;
  Var residual = {};
};

/// Per channel (axis 1) of x [n, channels, ...], with the mean and variance of the batch; gamma,
/// beta: [channels]. Running statistics, where given, are updated in place, once per call whatever
/// transforms are running: new = (1 - momentum) * old + momentum * batch, with the unbiased
/// variance. Functions that run twice (`checkpoint`) update them twice: leave them out there.
/// Tapes keep x and not the result, which they compute again.
Var batch_norm(const Var& x, const Var& gamma = {}, const Var& beta = {}, Tensor running_mean = {},
               Tensor running_variance = {}, const BatchNormParams& params = {},
               const BatchNormTail& tail = {});
/// With given statistics, constant for differentiation.
Var batch_norm_inference(const Var& x, const Var& gamma, const Var& beta, const Tensor& mean,
                         const Tensor& variance, double epsilon = 1e-5,
                         const BatchNormTail& tail = {});

/// Per sample and group of neighbouring channels of x [n, channels, ...]; gamma, beta: [channels].
Var group_norm(const Var& x, int64_t groups, const Var& gamma = {}, const Var& beta = {},
               double epsilon = 1e-5);
/// Per sample and channel.
Var instance_norm(const Var& x, const Var& gamma = {}, const Var& beta = {}, double epsilon = 1e-5);

}  // namespace tessera::autograd
