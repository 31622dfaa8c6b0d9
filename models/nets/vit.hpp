#pragma once

#include "tessera/models/layers/attention.hpp"
#include "tessera/models/layers/conv.hpp"
#include "tessera/models/layers/linear.hpp"
#include "tessera/models/layers/norm.hpp"

namespace tessera::models {

struct VitConfig {
  int64_t image_size = 224, patch_size = 16, channels = 3;
  int64_t width = 192, depth = 12, heads = 3;
  int64_t mlp_ratio = 4;
  int64_t classes = 1000;
};

/// Two linear layers with GELU (erf form) between.
struct VitMlp {
  Linear fc1, fc2;
  Var operator()(const Var& x) const;
  static void visit(auto& self, auto&& f) {
    f("fc1", self.fc1);
    f("fc2", self.fc2);
  }
};

/// Pre-norm encoder block: x + attention(norm1(x)), then x + mlp(norm2(x)).
struct VitBlock {
  LayerNorm norm1, norm2;
  SelfAttention attn;
  VitMlp mlp;
  Var operator()(const Var& x) const;
  static void visit(auto& self, auto&& f) {
    f("norm1", self.norm1);
    f("attn", self.attn);
    f("norm2", self.norm2);
    f("mlp", self.mlp);
  }
};

struct PatchEmbedding {
  Conv2d proj;                         // filter = stride = patch size
  Var operator()(const Var& x) const;  // [batch, patches, width]
  static void visit(auto& self, auto&& f) { f("proj", self.proj); }
};

/// The vision transformer of Dosovitskiy et al. (2021) with a class token, in timm's layout and
/// names; layer norm with eps 1e-6. x [batch, channels, image_size, image_size] -> logits [batch,
/// classes].
struct Vit {
  PatchEmbedding patch_embed;
  Var cls_token;  // [1, 1, width]
  Var pos_embed;  // [1, 1 + patches, width]
  std::vector<VitBlock> blocks;
  LayerNorm norm;
  Linear head;

  static Vit make(const VitConfig& config, Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("cls_token", self.cls_token);
    f("pos_embed", self.pos_embed);
    f("patch_embed", self.patch_embed);
    f("blocks", self.blocks);
    f("norm", self.norm);
    f("head", self.head);
  }
};

}  // namespace tessera::models
