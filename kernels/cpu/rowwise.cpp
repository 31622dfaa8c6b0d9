#include "tessera/kernels/cpu/rowwise.hpp"

#include "tessera/kernels/cpu/backend.hpp"

namespace tessera::kernels::cpu {

const RowwiseKernels rowwise_kernels{
    .softmax = softmax,
    .log_softmax = log_softmax,
    .softmax_gradient = softmax_gradient,
    .log_softmax_gradient = log_softmax_gradient,
    .layer_norm = layer_norm,
    .layer_norm_gradient = layer_norm_gradient,
    .rms_norm = rms_norm,
    .rms_norm_gradient = rms_norm_gradient,
    .batch_statistics = batch_statistics,
    .batch_norm = batch_norm,
    .batch_norm_gradient = batch_norm_gradient,
    .batch_statistics_tangent = batch_statistics_tangent,
    .batch_norm_tangent = batch_norm_tangent,
    .batch_norm_gradient_tangent = batch_norm_gradient_tangent,
    .group_norm = group_norm,
    .group_norm_gradient = group_norm_gradient,
    .cross_entropy = cross_entropy,
    .cross_entropy_gradient = cross_entropy_gradient,
    .binary_cross_entropy = binary_cross_entropy,
    .binary_cross_entropy_gradient = binary_cross_entropy_gradient,
};

}  // namespace tessera::kernels::cpu
