#pragma once

#include "tessera/models/layers/conv.hpp"
#include "tessera/models/layers/linear.hpp"
#include "tessera/models/layers/norm.hpp"

/// The deep features of SwinIR (Liang et al. 2021), in its layout and names; layer norms with eps
/// 1e-5, GELU in the erf form. Features are [n, h, w, width], h and w multiples of the window.
namespace tessera::models {

/// Attention among the window^2 pixels of each window [n, windows, window^2, width], with a learned
/// number per head for each offset between two pixels added to the scores.
struct WindowAttention {
  Var relative_position_bias_table;  // [(2 window - 1)^2, heads]
  Tensor relative_position_index;    // i64 [window^2, window^2]: row of the table for a pair
  Linear qkv, proj;
  int64_t heads = 1;

  static WindowAttention make(int64_t width, int64_t window, int64_t heads, Rng& rng);
  /// `mask`: bool [windows, 1, window^2, window^2], true where a pixel sees another; all if
  /// undefined.
  Var operator()(const Var& x, const Tensor& mask) const;

  static void visit(auto& self, auto&& f) {
    f("relative_position_bias_table", self.relative_position_bias_table);
    f("relative_position_index", self.relative_position_index);
    f("qkv", self.qkv);
    f("proj", self.proj);
  }
};

/// x += attention(norm1(x)) in windows, then x += fc2(gelu(fc1(norm2(x)))). With a shift the image
/// is first rolled by as many pixels up and left, and pixels that were apart do not see each other.
struct SwinBlock {
  LayerNorm norm1, norm2;
  WindowAttention attn;
  Linear fc1, fc2;
  int64_t window = 8, shift = 0;

  static SwinBlock make(int64_t width, int64_t window, int64_t shift, int64_t heads, int64_t hidden,
                        Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("norm1", self.norm1);
    f("attn", self.attn);
    f("norm2", self.norm2);
    f("mlp.fc1", self.fc1);
    f("mlp.fc2", self.fc2);
  }
};

/// x + conv(blocks(x)), every second block shifted by half a window.
struct ResidualSwinGroup {
  std::vector<SwinBlock> blocks;
  Conv2d conv;

  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("residual_group.blocks", self.blocks);
    f("conv", self.conv);
  }
};

/// SwinIR's: "light" with 60 channels; the classical one has 180 and 6 groups.
struct SwinBodyConfig {
  int64_t window = 8;
  int64_t groups = 4, depth = 6;  // blocks in each group
  int64_t heads = 6;
  int64_t hidden_ratio = 2;  // of the feed-forward layers
};

/// conv_after_body(norm(groups(norm_in(x)))). x [n, channels, h, w] -> the same, h and w multiples
/// of the window.
struct SwinBody {
  LayerNorm norm_in, norm;
  std::vector<ResidualSwinGroup> groups;
  Conv2d conv_after_body;

  static SwinBody make(int64_t channels, const SwinBodyConfig& config, Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("patch_embed.norm", self.norm_in);
    f("layers", self.groups);
    f("norm", self.norm);
    f("conv_after_body", self.conv_after_body);
  }
};

}  // namespace tessera::models
