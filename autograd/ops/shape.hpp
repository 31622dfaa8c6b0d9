#pragma once

#include "tessera/autograd/op.hpp"

namespace tessera::autograd {

/// Rearrangements; views where the strides allow, else one copy.
Var reshape(const Var& x, const Shape& shape);  // one extent may be -1
Var permute(const Var& x, const Axes& axes);
Var transpose(const Var& x, int axis_a, int axis_b);

}  // namespace tessera::autograd
