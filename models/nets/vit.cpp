#include "tessera/models/nets/vit.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"

namespace tessera::models {
namespace {

constexpr double epsilon = 1e-6;

Linear truncated(int64_t in, int64_t out, Rng& rng) {
  return {truncated_normal({out, in}, 0.02, rng), constant({out}, 0.0)};
}

}  // namespace

Var VitMlp::operator()(const Var& x) const { return fc2(autograd::gelu(fc1(x))); }

Var VitBlock::operator()(const Var& x) const {
  const Var h = x + attn(norm1(x));
  return h + mlp(norm2(h));
}

Var PatchEmbedding::operator()(const Var& x) const {
  return autograd::patch_embed(x, proj.weight, proj.bias);
}

Vit Vit::make(const VitConfig& c, Rng& rng) {
  TS_CHECK(c.image_size % c.patch_size == 0, "Vit: patches of ", c.patch_size,
           " do not tile images of ", c.image_size);
  const int64_t side = c.image_size / c.patch_size;
  Vit net;
  autograd::Conv2dParams patches;
  patches.stride[0] = patches.stride[1] = c.patch_size;
  net.patch_embed.proj = Conv2d::make(c.channels, c.width, c.patch_size, patches, rng, true);
  net.cls_token = truncated_normal({1, 1, c.width}, 0.02, rng);
  net.pos_embed = truncated_normal({1, 1 + side * side, c.width}, 0.02, rng);
  for (int64_t i = 0; i < c.depth; ++i) {
    VitBlock block;
    block.norm1 = LayerNorm::make(c.width, epsilon);
    block.norm2 = LayerNorm::make(c.width, epsilon);
    block.attn = {truncated(c.width, 3 * c.width, rng), truncated(c.width, c.width, rng), c.heads};
    block.mlp = {truncated(c.width, c.mlp_ratio * c.width, rng),
                 truncated(c.mlp_ratio * c.width, c.width, rng)};
    net.blocks.push_back(std::move(block));
  }
  net.norm = LayerNorm::make(c.width, epsilon);
  net.head = truncated(c.width, c.classes, rng);
  return net;
}

Var Vit::operator()(const Var& x) const {
  TS_CHECK(x.rank() == 4, "Vit: wants images [batch, channels, h, w], got ", x);
  const Var patches = patch_embed(x);
  const Var token = autograd::broadcast_to(cls_token, {x.size(0), 1, cls_token.size(2)});
  Var h = autograd::concat(Vars{token, patches}, 1) + pos_embed;
  for (const VitBlock& block : blocks) h = block(h);
  return head(norm(autograd::select(h, 1, 0)));
}

}  // namespace tessera::models
