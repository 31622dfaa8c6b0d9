#pragma once

#include "tessera/models/layers/linear.hpp"

namespace tessera::models {

/// Heads side by side: softmax(q k' / sqrt(width / heads) + bias) v for q [..., queries, width] and
/// k, v [..., keys, width], each cut into heads of equal width; bias and mask as
/// `scaled_dot_product_attention` takes them for q [..., heads, queries, width / heads]. [...,
/// queries, width].
Var attend(const Var& q, const Var& k, const Var& v, int64_t heads, const Var& bias = {},
           const Tensor& mask = {});

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

/// Low-rank updates (Hu et al. 2022) of the projections to queries and values: q += B_q A_q q_in,
/// v += B_v A_v v_in. B starts at zero, so that nothing is changed at first.
struct LowRankUpdate {
  Linear w_A_q, w_B_q, w_A_v, w_B_v;  // width -> rank -> width, no bias

  static LowRankUpdate make(int64_t width, int64_t rank, Rng& rng);
  bool defined() const { return w_A_q.weight.defined(); }

  static void visit(auto& self, auto&& f) {
    f("w_A_q", self.w_A_q);
    f("w_B_q", self.w_B_q);
    f("w_A_v", self.w_A_v);
    f("w_B_v", self.w_B_v);
  }
};

/// Attention of queries [n, queries, width] to keys and values [n, keys, width], with projections
/// without bias, in the layout and names of PyTorch's MultiheadAttention.
struct MultiHeadAttention {
  Var in_proj_weight;  // [3 width, width]: to queries, keys, values
  Linear out_proj;
  LowRankUpdate lora;  // undefined: none
  int64_t heads = 1;

  static MultiHeadAttention make(int64_t width, int64_t heads, Rng& rng);
  Var operator()(const Var& query, const Var& key, const Var& value) const;

  static void visit(auto& self, auto&& f) {
    f("in_proj_weight", self.in_proj_weight);
    f("out_proj", self.out_proj);
    f("lora", self.lora);
  }
};

}  // namespace tessera::models
