#pragma once

#include "tessera/models/module.hpp"

namespace tessera::models {

/// y = x W' + b. weight [out, in], bias [out] or undefined; x [..., in].
struct Linear {
  Var weight, bias;

  /// Uniform in +-1/sqrt(in) for both, as PyTorch starts.
  static Linear make(int64_t in, int64_t out, Rng& rng, bool with_bias = true);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

}  // namespace tessera::models
