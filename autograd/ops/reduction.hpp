#pragma once

#include "tessera/autograd/op.hpp"

/// Reductions over `axes` (negative ones count from the end), which are removed unless `keep_axes`;
/// without axes, over everything, giving shape [].
namespace tessera::autograd {

Var sum(const Var& x, const Axes& axes, bool keep_axes = false);
Var sum(const Var& x);
Var mean(const Var& x, const Axes& axes, bool keep_axes = false);
Var mean(const Var& x);
/// Mean squared distance from the mean; divides by count - correction.
Var variance(const Var& x, const Axes& axes, bool keep_axes = false, double correction = 0);
Var variance(const Var& x);

/// Extremes along one axis. The first of equal elements is the one, and takes the gradient.
Var max(const Var& x, int axis, bool keep_axis = false);
Var min(const Var& x, int axis, bool keep_axis = false);
Var max(const Var& x);
Var min(const Var& x);
Tensor argmax(const Var& x, int axis, bool keep_axis = false);  // i64
Tensor argmin(const Var& x, int axis, bool keep_axis = false);

/// Euclidean norm; its derivative at 0 is taken as 0.
Var norm(const Var& x, const Axes& axes, bool keep_axes = false);
Var norm(const Var& x);
/// log(sum(exp(x))) along an axis, without overflow; -inf where all is -inf.
Var logsumexp(const Var& x, int axis, bool keep_axis = false);
/// y[i] = x[0] + ... + x[i] along an axis.
Var cumulative_sum(const Var& x, int axis);
/// Sum of a * b over everything: shape [].
Var inner_product(const Var& a, const Var& b);

/// A view by the trailing-dimensions rule; the transpose of `sum_to`.
Var broadcast_to(const Var& x, const Shape& shape);
/// Sums over the axes along which `shape` broadcasts to x's shape.
Var sum_to(const Var& x, const Shape& shape);

}  // namespace tessera::autograd
