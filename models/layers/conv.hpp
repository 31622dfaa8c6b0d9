#pragma once

#include "tessera/autograd/ops/conv.hpp"
#include "tessera/models/module.hpp"

namespace tessera::models {

/// Two-dimensional convolution of x [n, in, h, w]. weight [out, in / groups, r, s], bias [out] or
/// undefined.
struct Conv2d {
  Var weight, bias;
  autograd::Conv2dParams params;

  /// He et al. (2015), fan out, no bias: how residual networks start.
  static Conv2d make(int64_t in, int64_t out, int64_t filter, const autograd::Conv2dParams& params,
                     Rng& rng, bool with_bias = false);
  /// With bias, stride 1 and zeros around that keep the extents (of an odd filter); uniform in
  /// +-1/sqrt(fan in) for both, as PyTorch starts.
  static Conv2d same(int64_t in, int64_t out, int64_t filter, Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

}  // namespace tessera::models
