#pragma once

#include "tessera/autograd/op.hpp"

namespace tessera::autograd {

/// Sums over `axes` (negative ones count from the end), which are removed unless `keep_axes`.
Var sum(const Var& x, const Axes& axes, bool keep_axes = false);
/// Sum over everything: shape [].
Var sum(const Var& x);
Var mean(const Var& x, const Axes& axes, bool keep_axes = false);
Var mean(const Var& x);

/// A view by the trailing-dimensions rule; the transpose of `sum_to`.
Var broadcast_to(const Var& x, const Shape& shape);
/// Sums over the axes along which `shape` broadcasts to x's shape.
Var sum_to(const Var& x, const Shape& shape);

}  // namespace tessera::autograd
