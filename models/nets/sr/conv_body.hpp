#pragma once

#include "tessera/models/layers/conv.hpp"

namespace tessera::models {

struct ConvBodyConfig {
  int64_t blocks = 16;
};

/// The body of EDSR (Lim et al. 2017) in its layout and names: residual blocks x + conv(relu(conv(
/// x))) without normalisation, then one convolution, all of 3 x 3. x [n, channels, h, w] -> the
/// same, any size.
struct ConvBody {
  struct Block {
    Conv2d conv1, conv2;

    static void visit(auto& self, auto&& f) {
      f("body.0", self.conv1);
      f("body.2", self.conv2);
    }
  };
  std::vector<Block> blocks;
  Conv2d conv;

  static ConvBody make(int64_t channels, const ConvBodyConfig& config, Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    for (size_t i = 0; i < self.blocks.size(); ++i) f(std::to_string(i), self.blocks[i]);
    f(std::to_string(self.blocks.size()), self.conv);
  }
};

}  // namespace tessera::models
