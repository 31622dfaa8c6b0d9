#pragma once

#include <optional>

#include "tessera/autograd/op.hpp"
#include "tessera/runtime/rng.hpp"

namespace tessera::autograd {

struct AttentionOptions {
  std::optional<double> scale = {};  // 1 / sqrt(dim) unless given
  bool causal = false;               // query i sees key j where j - keys <= i - queries
  Tensor mask = {};  // bool, broadcasts to [..., queries, keys]: true where the query sees the key
  Tensor key_lengths = {};  // i32 / i64 of the leading extents: keys from there on are hidden
  double dropout = 0;       // of probabilities, regenerated from `rng` in the gradient
  RngState rng = {};
};

/// softmax(scale * q k' + bias) v without storing the [queries, keys] matrix. q [..., queries,
/// dim], k [..., keys, dim], v [..., keys, value_dim], equal leading extents; bias: empty, or
/// broadcasting to
/// [..., queries, keys]. A query that sees no key gives 0.
Var scaled_dot_product_attention(const Var& q, const Var& k, const Var& v, const Var& bias = {},
                                 const AttentionOptions& options = {});

}  // namespace tessera::autograd
