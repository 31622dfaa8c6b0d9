#include "tessera/models/nets/sr/transformer_body.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/pool.hpp"
#include "tessera/autograd/ops/shape.hpp"

namespace tessera::models {
namespace {

template <class Layer>
Var feed_forward(const Layer& layer, const Var& tokens) {
  return layer.linear2(autograd::relu(layer.linear1(tokens)));
}

}  // namespace

EncoderLayer EncoderLayer::make(int64_t width, int64_t heads, int64_t hidden, Rng& rng) {
  EncoderLayer layer;
  layer.self_attn = MultiHeadAttention::make(width, heads, rng);
  layer.linear1 = Linear::make(width, hidden, rng);
  layer.linear2 = Linear::make(hidden, width, rng);
  layer.norm1 = LayerNorm::make(width);
  layer.norm2 = LayerNorm::make(width);
  return layer;
}

Var EncoderLayer::operator()(const Var& tokens) const {
  const Var n = norm1(tokens);
  const Var t = tokens + self_attn(n, n, n);
  return t + feed_forward(*this, norm2(t));
}

DecoderLayer DecoderLayer::make(int64_t width, int64_t heads, int64_t hidden, Rng& rng) {
  DecoderLayer layer;
  layer.self_attn = MultiHeadAttention::make(width, heads, rng);
  layer.multihead_attn = MultiHeadAttention::make(width, heads, rng);
  layer.linear1 = Linear::make(width, hidden, rng);
  layer.linear2 = Linear::make(hidden, width, rng);
  layer.norm1 = LayerNorm::make(width);
  layer.norm2 = LayerNorm::make(width);
  layer.norm3 = LayerNorm::make(width);
  return layer;
}

Var DecoderLayer::operator()(const Var& tokens, const Var& memory, const Var& query) const {
  const Var n = norm1(tokens), asking = n + query;
  Var t = tokens + self_attn(asking, asking, n);
  t = t + multihead_attn(norm2(t) + query, memory, memory);
  return t + feed_forward(*this, norm3(t));
}

TransformerBody TransformerBody::make(int64_t channels, const TransformerBodyConfig& c, Rng& rng) {
  TS_CHECK(c.patch >= 1 && c.size >= c.patch && c.size % c.patch == 0,
           "TransformerBody: patches of ", c.patch, " do not tile images of ", c.size);
  const int64_t width = channels * c.patch * c.patch, hidden = c.hidden_ratio * width;
  const int64_t side = c.size / c.patch, tokens = side * side;
  TransformerBody body;
  body.size = c.size;
  body.patch = c.patch;
  body.linear_encoding = Linear::make(width, width, rng);
  body.mlp_in = Linear::make(width, hidden, rng);
  body.mlp_out = Linear::make(hidden, width, rng);
  body.query_embed = Embedding::make(1, tokens * width, rng);
  body.positions = Embedding::make(tokens, width, rng);
  for (int64_t i = 0; i < c.layers; ++i)
    body.encoder.push_back(EncoderLayer::make(width, c.heads, hidden, rng));
  for (int64_t i = 0; i < c.layers; ++i)
    body.decoder.push_back(DecoderLayer::make(width, c.heads, hidden, rng));
  if (c.rank > 0) body.add_low_rank_updates(c.rank, rng);
  return body;
}

void TransformerBody::add_low_rank_updates(int64_t rank, Rng& rng) {
  const auto add = [&](MultiHeadAttention& attention) {
    attention.lora = LowRankUpdate::make(attention.out_proj.weight.size(0), rank, rng);
  };
  for (EncoderLayer& layer : encoder) add(layer.self_attn);
  for (DecoderLayer& layer : decoder) {
    add(layer.self_attn);
    add(layer.multihead_attn);
  }
}

Var TransformerBody::operator()(const Var& x) const {
  TS_CHECK(x.rank() == 4 && x.size(2) == size && x.size(3) == size,
           "TransformerBody: wants images [batch, channels, ", size, ", ", size, "], got ", x);
  const Var cut = autograd::pixel_unshuffle(x, patch);
  const Var tokens = autograd::transpose(autograd::flatten(cut, 2), 1, 2);
  Var t = tokens + linear_encoding(tokens) + positions.weight;
  for (const EncoderLayer& layer : encoder) t = layer(t);
  const Var memory = t;
  const Var query = autograd::reshape(query_embed.weight, positions.weight.shape());
  for (const DecoderLayer& layer : decoder) t = layer(t, memory, query);
  t = t + mlp_out(autograd::relu(mlp_in(t)));
  return autograd::pixel_shuffle(autograd::reshape(autograd::transpose(t, 1, 2), cut.shape()),
                                 patch);
}

}  // namespace tessera::models
