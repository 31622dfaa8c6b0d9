#pragma once

#include "tessera/autograd/ops/normalization.hpp"
#include "tessera/models/module.hpp"

namespace tessera::models {

/// Batch normalisation over all axes but 1 of x [n, c, ...] (Ioffe and Szegedy 2015). In training,
/// normalises by the batch's mean and biased variance and moves the running ones in place by
/// `momentum` (the running variance takes the unbiased one); otherwise uses the running ones.
struct BatchNorm {
  Var weight, bias;                  // [c]
  Tensor running_mean, running_var;  // [c]
  double momentum = 0.1, epsilon = 1e-5;

  static BatchNorm make(int64_t channels);
  /// `tail`: a residual to add, a relu, in the same pass.
  Var operator()(const Var& x, const ForwardContext& context,
                 const autograd::BatchNormTail& tail = {}) const;

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
    f("running_mean", self.running_mean);
    f("running_var", self.running_var);
  }
};

/// Normalisation of each channel of each sample of x [n, c, ...] by its own mean and biased
/// variance (Ulyanov et al. 2016), in training as in evaluation.
struct InstanceNorm {
  Var weight, bias;  // [c]
  double epsilon = 1e-5;

  static InstanceNorm make(int64_t channels);
  Var operator()(const Var& x) const { return autograd::instance_norm(x, weight, bias, epsilon); }

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

/// Normalisation over the last axis (Ba et al. 2016). weight, bias [width], or [runs, width] of
/// several runs for x [n, runs, width].
struct LayerNorm {
  Var weight, bias;
  double epsilon = 1e-5;

  static LayerNorm make(int64_t width, double epsilon = 1e-5);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

}  // namespace tessera::models
