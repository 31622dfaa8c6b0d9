#include "tessera/models/nets/sr/blocks.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/pool.hpp"

namespace tessera::models {

ResBlock ResBlock::make(int64_t in, int64_t out, Rng& rng, bool last) {
  ResBlock block;
  block.last = last;
  block.conv1 = Conv2d::same(in, out, 3, rng);
  block.conv2 = Conv2d::same(out, out, 3, rng);
  if (in != out) block.match_conv = Conv2d::same(in, out, 1, rng);
  if (last) return block;
  block.norm1 = InstanceNorm::make(out);
  block.norm2 = InstanceNorm::make(out);
  if (in != out) block.match_norm = InstanceNorm::make(out);
  return block;
}

Var ResBlock::operator()(const Var& x) const {
  const auto normed = [&](const InstanceNorm& norm, const Var& h) { return last ? h : norm(h); };
  Var shortcut = x;
  if (match_conv.weight.defined()) shortcut = normed(match_norm, match_conv(x));
  const Var h = autograd::relu(normed(norm1, conv1(x)));
  const Var y = normed(norm2, conv2(h)) + shortcut;
  return last ? y : autograd::relu(y);
}

UpBlock UpBlock::make(int64_t channels, Rng& rng) {
  UpBlock block;
  block.conv = Conv2d::same(channels, 4 * channels, 3, rng);
  block.norm = InstanceNorm::make(channels);
  block.res = ResBlock::make(channels, channels, rng);
  return block;
}

Var UpBlock::operator()(const Var& x) const {
  return res(autograd::relu(norm(autograd::pixel_shuffle(conv(x), 2))));
}

SubPixelConv SubPixelConv::make(int64_t channels, int64_t scale, Rng& rng) {
  return {Conv2d::same(channels, scale * scale, 3, rng), scale};
}

Var SubPixelConv::operator()(const Var& x) const { return autograd::pixel_shuffle(conv(x), scale); }

}  // namespace tessera::models
