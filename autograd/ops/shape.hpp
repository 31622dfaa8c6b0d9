#pragma once

#include "tessera/autograd/op.hpp"

/// Rearrangements. Axes may be negative, counting from the end.
namespace tessera::autograd {

/// Views where the strides allow, else one copy.
Var reshape(const Var& x, const Shape& shape);  // one extent may be -1
Var permute(const Var& x, const Axes& axes);
Var transpose(const Var& x, int axis_a, int axis_b);
Var squeeze(const Var& x, int axis);  // drops an axis of extent 1
Var unsqueeze(const Var& x, int axis);
/// Joins the axes from `first` on into one.
Var flatten(const Var& x, int first = 0);

/// Views of a part: [start, start + length) of an axis; every `step`-th of [start, stop); one
/// index, whose axis is dropped.
Var narrow(const Var& x, int axis, int64_t start, int64_t length);
Var slice(const Var& x, int axis, int64_t start, int64_t stop, int64_t step = 1);
Var select(const Var& x, int axis, int64_t index);
/// Consecutive parts of an axis: as many as `sizes`, or `parts` equal ones.
Vars split(const Var& x, int axis, std::span<const int64_t> sizes);
Vars split(const Var& x, int axis, int64_t parts);

/// Copies.
Var concat(Inputs x, int axis);
Var stack(Inputs x, int axis);  // along a new axis
/// Zeros around x: before[i] and after[i] of them along axis i.
Var pad(const Var& x, const Shape& before, const Shape& after);
Var flip(const Var& x, int axis);

}  // namespace tessera::autograd
