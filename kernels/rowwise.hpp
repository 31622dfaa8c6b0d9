#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Kernels that reduce over rows and then touch each element of the row again: softmax,
/// normalisation, fused losses.
///
/// Common to all of them. Operands are contiguous. Activations (x, y, gy, gx, logits) share one
/// floating dtype and are computed in its compute dtype: float for halves, itself otherwise. Saved
/// statistics (mean, rstd, lse) are of the compute dtype. Per-channel parameters and their
/// gradients (gamma, beta, ggamma, gbeta, class weights) are of the activations' dtype or of the
/// compute dtype, each for itself. An output may be the same memory as an activation input of the
/// same shape. A default View leaves an optional operand out. Sums run in fixed blocks: the bits do
/// not depend on the thread count.
namespace tessera::kernels {

/// rstd = 1 / sqrt(variance + epsilon); running = (1 - momentum) * running + momentum * batch,
/// where the batch variance is the unbiased one (divided by count - 1) for the running variance
/// only.
struct BatchNormParams {
  double epsilon = 1e-5;
  double momentum = 0.1;
};

/// What batch norm does to the channels (axis 1) of x [n, channels, ...]:
/// z = (x - mean) * rstd * gamma + beta, and then relu(z) if `relu`. All are [channels]; gamma and
/// beta are optional.
struct BatchNormMap {
  View mean, rstd, gamma = {}, beta = {};
  bool relu = false;
};

enum class LossReduction : uint8_t { none, sum, mean };

struct CrossEntropyParams {
  double label_smoothing = 0;  // in [0, 1]
  int64_t ignore_index = -100;
  LossReduction reduction = LossReduction::mean;
};

/// Operands of a loss beside logits and targets, both optional.
struct LossSelection {
  /// [classes]. cross_entropy: the factor of each class. binary_cross_entropy: the factor of the
  /// positive term, log(sigmoid(x)), of each column.
  View class_weights = {};
  /// bool [n]: the rows that count; or i32 / i64 [m]: the numbers of those rows, where a row that
  /// is named twice counts twice.
  View rows = {};
};

struct RowwiseKernels {
  /// y = exp(x - lse) and y = x - lse with lse = log(sum(exp(x))) over the last dimension. A row of
  /// -inf alone gives NaN, as does a row with NaN or +inf.
  void (*softmax)(Stream&, View x, View y);
  void (*log_softmax)(Stream&, View x, View y);
  /// gx = y * (gy - sum(gy * y)), and gx = gy - exp(y) * sum(gy); y is the forward result.
  void (*softmax_gradient)(Stream&, View y, View gy, View gx);
  void (*log_softmax_gradient)(Stream&, View y, View gy, View gx);

  /// y = (x - mean) * rstd * gamma + beta over the last dimension, rstd = 1 / sqrt(variance +
  /// epsilon). gamma, beta: [last], optional. mean, rstd: [all but last], optional outputs.
  void (*layer_norm)(Stream&, View x, View gamma, View beta, double epsilon, View y, View mean,
                     View rstd);
  /// All of gx, ggamma, gbeta in one call, each optional.
  void (*layer_norm_gradient)(Stream&, View x, View gamma, View mean, View rstd, View gy, View gx,
                              View ggamma, View gbeta);
  /// y = x * rstd * gamma with rstd = 1 / sqrt(mean(x^2) + epsilon); otherwise as layer_norm.
  void (*rms_norm)(Stream&, View x, View gamma, double epsilon, View y, View rstd);
  void (*rms_norm_gradient)(Stream&, View x, View gamma, View rstd, View gy, View gx, View ggamma);

  /// Mean and rstd per channel (axis 1) of x [n, channels, ...]. running_mean, running_var:
  /// [channels], optional, updated in place; they then need more than one value per channel.
  void (*batch_statistics)(Stream&, View x, const BatchNormParams&, View mean, View rstd,
                           View running_mean, View running_var);
  /// y = z(x), or z(x) + residual, or relu of either. residual: x's shape, optional.
  void (*batch_norm)(Stream&, View x, const BatchNormMap&, View residual, View y);
  /// Gradient of `batch_norm` without a residual. `batch_statistics` says that mean and rstd came
  /// from x itself. gx, ggamma, gbeta are optional.
  void (*batch_norm_gradient)(Stream&, View x, const BatchNormMap&, View gy, bool batch_statistics,
                              View gx, View ggamma, View gbeta);
  /// The tangents of mean and rstd where x moves by dx.
  void (*batch_statistics_tangent)(Stream&, View x, View mean, View rstd, View dx, View dmean,
                                   View drstd);
  /// The tangent of `batch_norm` where x, the map's operands and the residual move by dx, `moves`
  /// and dresidual, each optional. y: the result of `batch_norm`, wanted where relu was taken of a
  /// sum with a residual.
  void (*batch_norm_tangent)(Stream&, View x, const BatchNormMap&, View y, View dx,
                             const BatchNormMap& moves, View dresidual, View dy);
  /// The tangent of `batch_norm_gradient` (with batch statistics) where x, gamma and gy move by dx,
  /// dgamma and dgy, each optional: what a Hessian-vector product wants. Outputs optional, not the
  /// memory of an input.
  void (*batch_norm_gradient_tangent)(Stream&, View x, const BatchNormMap&, View gy, View dx,
                                      View dgamma, View dgy, View dgx, View dggamma, View dgbeta);

  /// Per (sample, group of neighbouring channels) of x [n, channels, ...]; `groups` divides
  /// channels, and groups == channels is instance norm. gamma, beta: [channels], optional. mean,
  /// rstd: [n, groups].
  void (*group_norm)(Stream&, View x, int64_t groups, View gamma, View beta, double epsilon, View y,
                     View mean, View rstd);
  void (*group_norm_gradient)(Stream&, View x, int64_t groups, View gamma, View mean, View rstd,
                              View gy, View gx, View ggamma, View gbeta);

  /// Softmax cross-entropy of logits [n, classes] against `target`: either labels, i32 / i64 [n],
  /// or probabilities, [n, classes] of the logits' dtype. With p = softmax(logits), class weights w
  /// (1 where absent) and smoothed target t' = (1 - smoothing) * t + smoothing / classes, a row
  /// costs -sum_c w_c t'_c log p_c; a row whose label is ignore_index costs 0. `mean` divides the
  /// sum by the weights of the labels that counted (their number without class weights), by the
  /// number of rows with probabilities; over nothing it is NaN. Other labels outside [0, classes)
  /// throw. loss: one element; for reduction none [n], or [m] when `rows` is a list; of the logits'
  /// or compute dtype. Rows outside a bool `rows` cost 0. lse: [n], optional, log-sum-exp of every
  /// row that counted, which the gradient wants.
  void (*cross_entropy)(Stream&, View logits, View target, const LossSelection&,
                        const CrossEntropyParams&, View loss, View lse);
  /// glogits from gloss (loss's shape); every row is written, zero where it does not count.
  void (*cross_entropy_gradient)(Stream&, View logits, View target, const LossSelection&,
                                 const CrossEntropyParams&, View lse, View gloss, View glogits);

  /// Binary cross-entropy of logits [n] or [n, classes] against target probabilities of the same
  /// shape and dtype: an element costs -(w t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x))). `mean`
  /// divides by the number of elements that counted. loss: one element; for reduction none the
  /// logits' shape, the first extent m when `rows` is a list.
  void (*binary_cross_entropy)(Stream&, View logits, View target, const LossSelection&,
                               LossReduction, View loss);
  void (*binary_cross_entropy_gradient)(Stream&, View logits, View target, const LossSelection&,
                                        LossReduction, View gloss, View glogits);
};

inline void softmax(Stream& s, View x, View y) {
  call("softmax", s.device(), &Backend::rowwise, &RowwiseKernels::softmax, s, x, y);
}
inline void log_softmax(Stream& s, View x, View y) {
  call("log_softmax", s.device(), &Backend::rowwise, &RowwiseKernels::log_softmax, s, x, y);
}
inline void softmax_gradient(Stream& s, View y, View gy, View gx) {
  call("softmax_gradient", s.device(), &Backend::rowwise, &RowwiseKernels::softmax_gradient, s, y,
       gy, gx);
}
inline void log_softmax_gradient(Stream& s, View y, View gy, View gx) {
  call("log_softmax_gradient", s.device(), &Backend::rowwise, &RowwiseKernels::log_softmax_gradient,
       s, y, gy, gx);
}
inline void layer_norm(Stream& s, View x, View gamma, View beta, double epsilon, View y,
                       View mean = {}, View rstd = {}) {
  call("layer_norm", s.device(), &Backend::rowwise, &RowwiseKernels::layer_norm, s, x, gamma, beta,
       epsilon, y, mean, rstd);
}
inline void layer_norm_gradient(Stream& s, View x, View gamma, View mean, View rstd, View gy,
                                View gx, View ggamma = {}, View gbeta = {}) {
  call("layer_norm_gradient", s.device(), &Backend::rowwise, &RowwiseKernels::layer_norm_gradient,
       s, x, gamma, mean, rstd, gy, gx, ggamma, gbeta);
}
inline void rms_norm(Stream& s, View x, View gamma, double epsilon, View y, View rstd = {}) {
  call("rms_norm", s.device(), &Backend::rowwise, &RowwiseKernels::rms_norm, s, x, gamma, epsilon,
       y, rstd);
}
inline void rms_norm_gradient(Stream& s, View x, View gamma, View rstd, View gy, View gx,
                              View ggamma = {}) {
  call("rms_norm_gradient", s.device(), &Backend::rowwise, &RowwiseKernels::rms_norm_gradient, s, x,
       gamma, rstd, gy, gx, ggamma);
}
inline void batch_statistics(Stream& s, View x, const BatchNormParams& p, View mean, View rstd,
                             View running_mean = {}, View running_var = {}) {
  call("batch_statistics", s.device(), &Backend::rowwise, &RowwiseKernels::batch_statistics, s, x,
       p, mean, rstd, running_mean, running_var);
}
inline void batch_norm(Stream& s, View x, const BatchNormMap& map, View residual, View y) {
  call("batch_norm", s.device(), &Backend::rowwise, &RowwiseKernels::batch_norm, s, x, map,
       residual, y);
}
inline void batch_norm_gradient(Stream& s, View x, const BatchNormMap& map, View gy,
                                bool batch_statistics, View gx, View ggamma = {}, View gbeta = {}) {
  call("batch_norm_gradient", s.device(), &Backend::rowwise, &RowwiseKernels::batch_norm_gradient,
       s, x, map, gy, batch_statistics, gx, ggamma, gbeta);
}
inline void batch_statistics_tangent(Stream& s, View x, View mean, View rstd, View dx, View dmean,
                                     View drstd) {
  call("batch_statistics_tangent", s.device(), &Backend::rowwise,
       &RowwiseKernels::batch_statistics_tangent, s, x, mean, rstd, dx, dmean, drstd);
}
inline void batch_norm_tangent(Stream& s, View x, const BatchNormMap& map, View y, View dx,
                               const BatchNormMap& moves, View dresidual, View dy) {
  call("batch_norm_tangent", s.device(), &Backend::rowwise, &RowwiseKernels::batch_norm_tangent, s,
       x, map, y, dx, moves, dresidual, dy);
}
inline void batch_norm_gradient_tangent(Stream& s, View x, const BatchNormMap& map, View gy,
                                        View dx, View dgamma, View dgy, View dgx, View dggamma = {},
                                        View dgbeta = {}) {
  call("batch_norm_gradient_tangent", s.device(), &Backend::rowwise,
       &RowwiseKernels::batch_norm_gradient_tangent, s, x, map, gy, dx, dgamma, dgy, dgx, dggamma,
       dgbeta);
}
inline void group_norm(Stream& s, View x, int64_t groups, View gamma, View beta, double epsilon,
                       View y, View mean = {}, View rstd = {}) {
  call("group_norm", s.device(), &Backend::rowwise, &RowwiseKernels::group_norm, s, x, groups,
       gamma, beta, epsilon, y, mean, rstd);
}
inline void group_norm_gradient(Stream& s, View x, int64_t groups, View gamma, View mean, View rstd,
                                View gy, View gx, View ggamma = {}, View gbeta = {}) {
  call("group_norm_gradient", s.device(), &Backend::rowwise, &RowwiseKernels::group_norm_gradient,
       s, x, groups, gamma, mean, rstd, gy, gx, ggamma, gbeta);
}
inline void cross_entropy(Stream& s, View logits, View target, const LossSelection& selection,
                          const CrossEntropyParams& p, View loss, View lse = {}) {
  call("cross_entropy", s.device(), &Backend::rowwise, &RowwiseKernels::cross_entropy, s, logits,
       target, selection, p, loss, lse);
}
inline void cross_entropy_gradient(Stream& s, View logits, View target,
                                   const LossSelection& selection, const CrossEntropyParams& p,
                                   View lse, View gloss, View glogits) {
  call("cross_entropy_gradient", s.device(), &Backend::rowwise,
       &RowwiseKernels::cross_entropy_gradient, s, logits, target, selection, p, lse, gloss,
       glogits);
}
inline void binary_cross_entropy(Stream& s, View logits, View target,
                                 const LossSelection& selection, LossReduction reduction,
                                 View loss) {
  call("binary_cross_entropy", s.device(), &Backend::rowwise, &RowwiseKernels::binary_cross_entropy,
       s, logits, target, selection, reduction, loss);
}
inline void binary_cross_entropy_gradient(Stream& s, View logits, View target,
                                          const LossSelection& selection, LossReduction reduction,
                                          View gloss, View glogits) {
  call("binary_cross_entropy_gradient", s.device(), &Backend::rowwise,
       &RowwiseKernels::binary_cross_entropy_gradient, s, logits, target, selection, reduction,
       gloss, glogits);
}

}  // namespace tessera::kernels
