#include "tessera/models/layers/attention.hpp"

#include "tessera/autograd/ops/attention.hpp"
#include "tessera/autograd/ops/shape.hpp"

namespace tessera::models {

SelfAttention SelfAttention::make(int64_t width, int64_t heads, Rng& rng) {
  TS_CHECK(heads > 0 && width % heads == 0, "SelfAttention: width ", width, " does not split into ",
           heads, " heads");
  return {Linear::make(width, 3 * width, rng), Linear::make(width, width, rng), heads};
}

Var SelfAttention::operator()(const Var& x) const {
  const int64_t batch = x.size(0), tokens = x.size(1), width = x.size(2);
  const Var split = autograd::reshape(qkv(x), {batch, tokens, 3, heads, width / heads});
  const auto part = [&](int64_t i) {  // [batch, heads, tokens, width / heads], a view
    return autograd::transpose(autograd::select(split, 2, i), 1, 2);
  };
  const Var y = autograd::scaled_dot_product_attention(part(0), part(1), part(2));
  return proj(autograd::reshape(autograd::transpose(y, 1, 2), {batch, tokens, width}));
}

}  // namespace tessera::models
