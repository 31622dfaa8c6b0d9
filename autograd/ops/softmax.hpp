#pragma once

#include "tessera/autograd/op.hpp"

namespace tessera::autograd {

/// exp(x - lse) and x - lse along an axis, with lse = log(sum(exp(x))).
Var softmax(const Var& x, int axis = -1);
Var log_softmax(const Var& x, int axis = -1);

}  // namespace tessera::autograd
