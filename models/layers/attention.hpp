#pragma once

#include "tessera/models/layers/linear.hpp"

namespace tessera::models {

/// Multi-head self-attention with one projection for queries, keys and values, in this order; each
/// is split into heads of equal width. x [batch, tokens, width] -> the same.
struct SelfAttention {
  Linear qkv, proj;
  int64_t heads = 1;

  static SelfAttention make(int64_t width, int64_t heads, Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("qkv", self.qkv);
    f("proj", self.proj);
  }
};

}  // namespace tessera::models
