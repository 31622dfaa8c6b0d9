#pragma once

#include "tessera/models/layers/conv.hpp"
#include "tessera/models/layers/norm.hpp"

/// What networks for super-resolution are made of. Images are [n, channels, h, w]; convolutions of
/// 3 x 3 have zeros around and a bias, and start as PyTorch's.
namespace tessera::models {

/// Two convolutions with instance norm around a shortcut, which is a convolution of 1 x 1 with
/// instance norm where the channels change:
///   y = relu(IN(conv2(relu(IN(conv1(x))))) + shortcut(x));   the last of a stack: without IN, and
///   without the relu at the end.
struct ResBlock {
  Conv2d conv1, conv2, match_conv;
  InstanceNorm norm1, norm2, match_norm;
  bool last = false;

  static ResBlock make(int64_t in, int64_t out, Rng& rng, bool last = false);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("conv1", self.conv1);
    f("norm1", self.norm1);
    f("conv2", self.conv2);
    f("norm2", self.norm2);
    f("match_conv", self.match_conv);
    f("match_norm", self.match_norm);
  }
};

/// relu(IN(pixel_shuffle(conv(x), 2))), then a residual block: twice the height and width.
struct UpBlock {
  Conv2d conv;  // channels -> 4 channels
  InstanceNorm norm;
  ResBlock res;

  static UpBlock make(int64_t channels, Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("up.conv", self.conv);
    f("up.norm", self.norm);
    f("res", self.res);
  }
};

/// A stack `block1`, `blocks`, `blockn` of residual blocks; in -> channels ... channels -> out.
template <class Block>
struct ResidualStack {
  ResBlock block1;
  std::vector<Block> blocks;
  ResBlock blockn;

  static ResidualStack make(int64_t in, int64_t channels, int64_t out, int64_t blocks, Rng& rng) {
    ResidualStack stack;
    stack.block1 = ResBlock::make(in, channels, rng);
    for (int64_t i = 0; i < blocks; ++i) {
      if constexpr (std::same_as<Block, ResBlock>)
        stack.blocks.push_back(Block::make(channels, channels, rng));
      else
        stack.blocks.push_back(Block::make(channels, rng));
    }
    stack.blockn = ResBlock::make(channels, out, rng, true);
    return stack;
  }
  Var operator()(const Var& x) const {
    Var y = block1(x);
    for (const Block& block : blocks) y = block(y);
    return blockn(y);
  }

  static void visit(auto& self, auto&& f) {
    f("block1", self.block1);
    f("blocks", self.blocks);
    f("blockn", self.blockn);
  }
};

/// pixel_shuffle(conv(x), scale), one convolution of 3 x 3 to scale^2 channels: [n, c, h, w] -> [n,
/// 1, scale h, scale w].
struct SubPixelConv {
  Conv2d conv;
  int64_t scale = 2;

  static SubPixelConv make(int64_t channels, int64_t scale, Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) { f("conv", self.conv); }
};

}  // namespace tessera::models
