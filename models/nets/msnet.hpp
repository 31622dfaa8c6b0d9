#pragma once

#include <vector>

#include "tessera/models/layers/conv.hpp"

namespace tessera::models {

/// MSNet (Liu et al. 2024): reconstructs a hyperspectral image on several scales. Encoder l, on
/// in_l (in_0 = x):
///   e_l = average_pool(relu(in_l + conv3x3(relu(conv3x3(in_l)))), 2^l)
///   in_{l+1} = in_l + conv1x1(bilinear(e_l -> height x width))
/// decoders from the coarsest to the finest, acc = 0:
///   d_l = conv1x1(relu(conv1x1(bilinear(e_l -> height x width))) + acc),  acc += d_l.
struct MsNet {
  struct Scale {
    Conv2d narrow, widen;  // 3 x 3: channels -> hidden -> channels
    Conv2d up;             // 1 x 1
    Conv2d inner, output;  // 1 x 1, of the decoder

    static void visit(auto& self, auto&& f) {
      f("narrow", self.narrow);
      f("widen", self.widen);
      f("up", self.up);
      f("inner", self.inner);
      f("output", self.output);
    }
  };
  std::vector<Scale> scales;  // the finest first

  static MsNet make(int64_t channels, int64_t hidden, int64_t scales, Rng& rng);
  /// x [n, channels, height, width], of which each extent is at least 2^(scales - 1). The
  /// reconstructions d_0, d_1, ... of x's shape; d_0 is the result.
  Vars operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) { f("scales", self.scales); }
};

}  // namespace tessera::models
