#pragma once

#include "tessera/models/layers/attention.hpp"
#include "tessera/models/layers/embedding.hpp"
#include "tessera/models/layers/norm.hpp"

/// The body of the Image Processing Transformer (Chen et al. 2021), in its layout and names; layer
/// norms with eps 1e-5. Tokens are [n, tokens, width].
namespace tessera::models {

/// t += attn(n, n, n) with n = norm1(t), then t += linear2(relu(linear1(norm2(t)))).
struct EncoderLayer {
  MultiHeadAttention self_attn;
  Linear linear1, linear2;
  LayerNorm norm1, norm2;

  static EncoderLayer make(int64_t width, int64_t heads, int64_t hidden, Rng& rng);
  Var operator()(const Var& tokens) const;

  static void visit(auto& self, auto&& f) {
    f("self_attn", self.self_attn);
    f("linear1", self.linear1);
    f("linear2", self.linear2);
    f("norm1", self.norm1);
    f("norm2", self.norm2);
  }
};

/// With a query embedding q and the encoder's result m:
///   t += attn(n + q, n + q, n), n = norm1(t);   t += attn(norm2(t) + q, m, m);
///   t += linear2(relu(linear1(norm3(t)))).
struct DecoderLayer {
  MultiHeadAttention self_attn, multihead_attn;
  Linear linear1, linear2;
  LayerNorm norm1, norm2, norm3;

  static DecoderLayer make(int64_t width, int64_t heads, int64_t hidden, Rng& rng);
  Var operator()(const Var& tokens, const Var& memory, const Var& query) const;

  static void visit(auto& self, auto&& f) {
    f("self_attn", self.self_attn);
    f("multihead_attn", self.multihead_attn);
    f("linear1", self.linear1);
    f("linear2", self.linear2);
    f("norm1", self.norm1);
    f("norm2", self.norm2);
    f("norm3", self.norm3);
  }
};

struct TransformerBodyConfig {
  int64_t size = 48;  // height and width of images
  int64_t patch = 3;  // height and width of a token
  int64_t layers = 12, heads = 12;
  int64_t hidden_ratio = 4;  // of the feed-forward layers
  int64_t rank = 0;          // of low-rank updates in every attention; 0: none
};

/// With width = channels patch^2 and t = the patches as tokens:
///   t = t + linear_encoding(t) + positions;  m = encoder(t);  t = decoder(m, m, queries);
///   t = t + mlp_out(relu(mlp_in(t))), put together to an image again.
/// x [n, channels, size, size] -> the same.
struct TransformerBody {
  Linear linear_encoding, mlp_in, mlp_out;
  Embedding query_embed;  // [1, tokens * width], a row for each task
  Embedding positions;    // [tokens, width]
  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
  int64_t size = 48, patch = 3;

  static TransformerBody make(int64_t channels, const TransformerBodyConfig& config, Rng& rng);
  Var operator()(const Var& x) const;

  /// Gives every attention a low-rank update, which changes nothing before it is trained.
  void add_low_rank_updates(int64_t rank, Rng& rng);

  static void visit(auto& self, auto&& f) {
    f("linear_encoding", self.linear_encoding);
    f("mlp_head.0", self.mlp_in);
    f("mlp_head.3", self.mlp_out);
    f("query_embed", self.query_embed);
    f("encoder.layers", self.encoder);
    f("decoder.layers", self.decoder);
    f("position_encoding.pe", self.positions);
  }
};

}  // namespace tessera::models
