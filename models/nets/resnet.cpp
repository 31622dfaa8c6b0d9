#include "tessera/models/nets/resnet.hpp"

#include "tessera/autograd/ops/pool.hpp"
#include "tessera/autograd/ops/shape.hpp"

namespace tessera::models {
namespace {

Conv2d conv3x3(int64_t in, int64_t out, int64_t stride, Rng& rng) {
  autograd::Conv2dParams params;
  params.stride[0] = params.stride[1] = stride;
  params.padding[0] = params.padding[1] = 1;
  return Conv2d::make(in, out, 3, params, rng);
}

// Every stride-th pixel; the new channels are zeros, half of them before and half behind.
Var shortcut(const Var& x, int64_t channels, int64_t stride) {
  Var y = x;
  if (stride != 1) {
    y = autograd::slice(y, 2, 0, y.size(2), stride);
    y = autograd::slice(y, 3, 0, y.size(3), stride);
  }
  const int64_t extra = channels - x.size(1);
  if (extra == 0) return y;
  return autograd::pad(y, {0, extra / 2, 0, 0}, {0, extra - extra / 2, 0, 0});
}

std::vector<BasicBlock> stage(int64_t blocks, int64_t in, int64_t out, int64_t stride, Rng& rng) {
  std::vector<BasicBlock> out_blocks;
  out_blocks.reserve(static_cast<size_t>(blocks));
  for (int64_t i = 0; i < blocks; ++i)
    out_blocks.push_back(BasicBlock::make(i ? out : in, out, i ? 1 : stride, rng));
  return out_blocks;
}

}  // namespace

BasicBlock BasicBlock::make(int64_t in, int64_t out, int64_t stride, Rng& rng) {
  BasicBlock block;
  block.conv1 = conv3x3(in, out, stride, rng);
  block.conv2 = conv3x3(out, out, 1, rng);
  block.bn1 = BatchNorm::make(out);
  block.bn2 = BatchNorm::make(out);
  block.stride = stride;
  return block;
}

Var BasicBlock::operator()(const Var& x, const ForwardContext& context) const {
  Var h = bn1(conv1(x), context, {.relu = true});
  h = conv2(h);
  return bn2(h, context, {.relu = true, .residual = shortcut(x, h.size(1), stride)});
}

ResNet ResNet::make(int64_t blocks, const std::vector<int64_t>& widths, int64_t classes, Rng& rng) {
  TS_CHECK(widths.size() == 3 && blocks > 0,
           "ResNet: wants three widths and at least one block, got ", widths.size(), " and ",
           blocks);
  ResNet net;
  net.conv1 = conv3x3(3, widths[0], 1, rng);
  net.bn1 = BatchNorm::make(widths[0]);
  net.layer1 = stage(blocks, widths[0], widths[0], 1, rng);
  net.layer2 = stage(blocks, widths[0], widths[1], 2, rng);
  net.layer3 = stage(blocks, widths[1], widths[2], 2, rng);
  net.fc = Linear::make(widths[2], classes, rng);
  return net;
}

ResNet ResNet::make(int depth, int64_t classes, Rng& rng) {
  TS_CHECK(depth >= 8 && (depth - 2) % 6 == 0,
           "ResNet: depth must be 6 n + 2 (20, 32, 44, 56, 110), is ", depth);
  return make((depth - 2) / 6, {16, 32, 64}, classes, rng);
}

Var ResNet::operator()(const Var& x, const ForwardContext& context) const {
  TS_CHECK(x.rank() == 4 && x.size(1) == 3, "ResNet: wants images [batch, 3, h, w], got ", x);
  Var h = bn1(conv1(x), context, {.relu = true});
  for (const auto* blocks : {&layer1, &layer2, &layer3})
    for (const BasicBlock& block : *blocks) h = block(h, context);
  return fc(autograd::global_average_pool(h));
}

}  // namespace tessera::models
