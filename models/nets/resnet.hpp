#pragma once

#include "tessera/models/layers/conv.hpp"
#include "tessera/models/layers/linear.hpp"
#include "tessera/models/layers/norm.hpp"

namespace tessera::models {

/// Two 3x3 convolutions with batch norm around a shortcut. Where the shape changes the shortcut
/// takes every second pixel and pads the new channels with zeros (option A of He et al. 2015: no
/// parameters).
struct BasicBlock {
  Conv2d conv1, conv2;
  BatchNorm bn1, bn2;
  int64_t stride = 1;

  static BasicBlock make(int64_t in, int64_t out, int64_t stride, Rng& rng);
  Var operator()(const Var& x, const ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("conv1", self.conv1);
    f("bn1", self.bn1);
    f("conv2", self.conv2);
    f("bn2", self.bn2);
  }
};

/// The CIFAR residual networks of He et al. (2015), section 4.2: depth 6 n + 2, three stages of n
/// blocks with 16, 32, 64 channels. x [batch, 3, h, w] -> logits [batch, classes].
struct ResNet {
  Conv2d conv1;
  BatchNorm bn1;
  std::vector<BasicBlock> layer1, layer2, layer3;
  Linear fc;

  static ResNet make(int depth, int64_t classes, Rng& rng);  // 20, 32, 44, 56, 110
  static ResNet make(int64_t blocks, const std::vector<int64_t>& widths, int64_t classes, Rng& rng);
  Var operator()(const Var& x, const ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("conv1", self.conv1);
    f("bn1", self.bn1);
    f("layer1", self.layer1);
    f("layer2", self.layer2);
    f("layer3", self.layer3);
    f("fc", self.fc);
  }
};

}  // namespace tessera::models
