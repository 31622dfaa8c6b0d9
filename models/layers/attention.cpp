#include "tessera/models/layers/attention.hpp"

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/attention.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"

namespace tessera::models {
namespace {

void check_heads(const char* name, int64_t width, int64_t heads) {
  TS_CHECK(heads > 0 && width % heads == 0, name, ": width ", width, " does not split into ", heads,
           " heads");
}

}  // namespace

Var attend(const Var& q, const Var& k, const Var& v, int64_t heads, const Var& bias,
           const Tensor& mask) {
  check_heads("attend", q.size(-1), heads);
  const auto split = [&](const Var& x) {  // [..., heads, tokens, width / heads], a view
    Shape shape = x.shape();
    shape[x.rank() - 1] = heads;
    shape.push_back(x.size(-1) / heads);
    return autograd::transpose(autograd::reshape(x, shape), -3, -2);
  };
  const Var y = autograd::transpose(
      autograd::scaled_dot_product_attention(split(q), split(k), split(v), bias, {.mask = mask}),
      -3, -2);
  return autograd::flatten(y, -2);
}

SelfAttention SelfAttention::make(int64_t width, int64_t heads, Rng& rng) {
  check_heads("SelfAttention", width, heads);
  return {Linear::make(width, 3 * width, rng), Linear::make(width, width, rng), heads};
}

Var SelfAttention::operator()(const Var& x) const {
  const Vars parts = autograd::split(qkv(x), -1, 3);
  return proj(attend(parts[0], parts[1], parts[2], heads));
}

LowRankUpdate LowRankUpdate::make(int64_t width, int64_t rank, Rng& rng) {
  TS_CHECK(rank >= 1, "LowRankUpdate: rank ", rank, " of width ", width);
  LowRankUpdate update;
  update.w_A_q = Linear::make(width, rank, rng, false);
  update.w_A_v = Linear::make(width, rank, rng, false);
  update.w_B_q.weight = constant({width, rank}, 0.0);
  update.w_B_v.weight = constant({width, rank}, 0.0);
  return update;
}

MultiHeadAttention MultiHeadAttention::make(int64_t width, int64_t heads, Rng& rng) {
  check_heads("MultiHeadAttention", width, heads);
  return {Linear::make(width, 3 * width, rng, false).weight, Linear::make(width, width, rng, false),
          LowRankUpdate(), heads};
}

Var MultiHeadAttention::operator()(const Var& query, const Var& key, const Var& value) const {
  const Vars weights = autograd::split(in_proj_weight, 0, 3);
  Var q = autograd::linear(query, weights[0]);
  const Var k = autograd::linear(key, weights[1]);
  Var v = autograd::linear(value, weights[2]);
  if (lora.defined()) {
    q = q + lora.w_B_q(lora.w_A_q(query));
    v = v + lora.w_B_v(lora.w_A_v(value));
  }
  return out_proj(attend(q, k, v, heads));
}

}  // namespace tessera::models
