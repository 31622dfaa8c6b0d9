#pragma once

#include "tessera/autograd/op.hpp"

/// Elementary functions, elementwise.
namespace tessera::autograd {

Var exp(const Var& x);
Var expm1(const Var& x);
Var log(const Var& x);
Var log1p(const Var& x);
Var sqrt(const Var& x);
Var rsqrt(const Var& x);  // 1 / sqrt(x)
Var sin(const Var& x);
Var cos(const Var& x);
Var erf(const Var& x);

}  // namespace tessera::autograd
