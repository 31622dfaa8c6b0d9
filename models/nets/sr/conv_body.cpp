#include "tessera/models/nets/sr/conv_body.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"

namespace tessera::models {

ConvBody ConvBody::make(int64_t channels, const ConvBodyConfig& config, Rng& rng) {
  ConvBody body;
  for (int64_t i = 0; i < config.blocks; ++i) {
    Block block;
    block.conv1 = Conv2d::same(channels, channels, 3, rng);
    block.conv2 = Conv2d::same(channels, channels, 3, rng);
    body.blocks.push_back(std::move(block));
  }
  body.conv = Conv2d::same(channels, channels, 3, rng);
  return body;
}

Var ConvBody::operator()(const Var& x) const {
  Var y = x;
  for (const Block& block : blocks) y = y + block.conv2(autograd::relu(block.conv1(y)));
  return conv(y);
}

}  // namespace tessera::models
