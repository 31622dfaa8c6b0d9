#pragma once

#include "tessera/autograd/op.hpp"
#include "tessera/kernels/rowwise.hpp"

/// Losses. Targets are constant for differentiation unless they are Vars.
namespace tessera::autograd {

using kernels::LossReduction;  // none, sum, mean

struct CrossEntropyOptions {
  double label_smoothing = 0;
  int64_t ignore_index = -100;
  LossReduction reduction = LossReduction::mean;
  Tensor class_weights = {};  // [classes], factor of each class
  Tensor rows = {};           // bool [n]: the rows that count; or i32 / i64 [m]: their numbers
};

/// Softmax cross-entropy of logits [n, classes] against labels (i32 / i64 [n]) or probabilities
/// ([n, classes], the logits' dtype). The mean is over what counted, by class weight. A scalar, or
/// with LossReduction::none [n] ([m] when `rows` is a list).
Var cross_entropy(const Var& logits, const Tensor& target, const CrossEntropyOptions& options = {});

struct BinaryCrossEntropyOptions {
  LossReduction reduction = LossReduction::mean;
  Tensor positive_weights = {};  // [classes], factor of the positive term of each column
  Tensor rows = {};              // as above
};

/// -(t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x))) of logits [n] or [n, classes]; target: the
/// same shape and dtype.
Var binary_cross_entropy_with_logits(const Var& logits, const Tensor& target,
                                     const BinaryCrossEntropyOptions& options = {});

/// -log_probabilities[i, target[i]] of [n, classes] and labels [n].
Var nll_loss(const Var& log_probabilities, const Tensor& target,
             LossReduction reduction = LossReduction::mean);

/// Elementwise in x and target of one shape: (x - t)^2, |x - t|, and the square below `delta`
/// continued linearly: 0.5 d^2 for |d| <= delta, else delta * (|d| - delta / 2).
Var mse_loss(const Var& x, const Var& target, LossReduction reduction = LossReduction::mean);
Var l1_loss(const Var& x, const Var& target, LossReduction reduction = LossReduction::mean);
Var huber_loss(const Var& x, const Var& target, double delta = 1.0,
               LossReduction reduction = LossReduction::mean);

/// Kullback-Leibler divergence sum over the last axis of p (log p - log q), given log p and log q;
/// the mean is over rows.
Var kl_divergence(const Var& log_p, const Var& log_q,
                  LossReduction reduction = LossReduction::mean);

}  // namespace tessera::autograd
