#include "tessera/models/nets/sr/swin_body.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/layers/attention.hpp"

namespace tessera::models {
namespace {

// [n, h, w, c] -> [n, windows, window^2, c] and back.
Var windows_of(const Var& x, int64_t m) {
  const int64_t n = x.size(0), h = x.size(1), w = x.size(2), c = x.size(3);
  const Var cut = autograd::reshape(x, {n, h / m, m, w / m, m, c});
  return autograd::reshape(autograd::permute(cut, {0, 1, 3, 2, 4, 5}),
                           {n, h / m * (w / m), m * m, c});
}
Var image_of(const Var& windows, int64_t m, const Shape& image) {
  const int64_t n = image[0], h = image[1], w = image[2], c = image[3];
  const Var cut = autograd::reshape(windows, {n, h / m, w / m, m, m, c});
  return autograd::reshape(autograd::permute(cut, {0, 1, 3, 2, 4, 5}), image);
}

// y[i] = x[(i + shift) mod extent] along the rows and the columns.
Var rolled(const Var& x, int64_t rows, int64_t columns) {
  const auto roll = [](const Var& y, int axis, int64_t by) {
    const int64_t extent = y.size(axis);
    return autograd::concat(
        Vars{autograd::narrow(y, axis, by, extent - by), autograd::narrow(y, axis, 0, by)}, axis);
  };
  return roll(roll(x, 1, rows), 2, columns);
}

// Which pixels of a window were neighbours before the image was rolled: bool [windows, 1, window^2,
// window^2]. Those that came around, the last `shift` rows and columns, are apart from the rest.
Tensor neighbours(int64_t h, int64_t w, int64_t m, int64_t shift, Device device) {
  const auto part = [&](const Shape& shape, double value) {
    return Var(autograd::full(shape, value, DType::f32, device));
  };
  const Var rows = autograd::concat(Vars{part({h - shift, 1}, 0), part({shift, 1}, 2)}, 0);
  const Var columns = autograd::concat(Vars{part({1, w - shift}, 0), part({1, shift}, 1)}, 1);
  const Var label = windows_of(autograd::reshape(rows + columns, {1, h, w, 1}), m);
  const int64_t count = label.size(1);
  return autograd::equal(autograd::reshape(label, {count, 1, m * m, 1}),
                         autograd::reshape(label, {count, 1, 1, m * m}));
}

Var channels_last(const Var& x) { return autograd::permute(x, {0, 2, 3, 1}); }
Var channels_first(const Var& x) { return autograd::permute(x, {0, 3, 1, 2}); }

}  // namespace

WindowAttention WindowAttention::make(int64_t width, int64_t window, int64_t heads, Rng& rng) {
  TS_CHECK(window >= 1 && heads >= 1 && width % heads == 0, "WindowAttention: width ", width,
           " in ", heads, " heads, windows of ", window);
  WindowAttention layer;
  layer.heads = heads;
  const int64_t offsets = 2 * window - 1, pixels = window * window;
  layer.relative_position_bias_table = truncated_normal({offsets * offsets, heads}, 0.02, rng);
  layer.relative_position_index = Tensor::empty({pixels, pixels}, DType::i64, Device::cpu());
  int64_t* index = layer.relative_position_index.host_mutable<int64_t>().data();
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t j = 0; j < pixels; ++j)
      *index++ =
          (i / window - j / window + window - 1) * offsets + i % window - j % window + window - 1;
  layer.qkv = Linear::make(width, 3 * width, rng);
  layer.proj = Linear::make(width, width, rng);
  return layer;
}

Var WindowAttention::operator()(const Var& x, const Tensor& mask) const {
  const Vars parts = autograd::split(qkv(x), -1, 3);
  const Var bias = autograd::gather_rows(relative_position_bias_table, relative_position_index);
  return proj(
      attend(parts[0], parts[1], parts[2], heads, autograd::permute(bias, {2, 0, 1}), mask));
}

SwinBlock SwinBlock::make(int64_t width, int64_t window, int64_t shift, int64_t heads,
                          int64_t hidden, Rng& rng) {
  SwinBlock block;
  block.window = window;
  block.shift = shift;
  block.norm1 = LayerNorm::make(width);
  block.norm2 = LayerNorm::make(width);
  block.attn = WindowAttention::make(width, window, heads, rng);
  block.fc1 = Linear::make(width, hidden, rng);
  block.fc2 = Linear::make(hidden, width, rng);
  return block;
}

Var SwinBlock::operator()(const Var& x) const {
  const int64_t h = x.size(1), w = x.size(2);
  Tensor mask;
  Var y = norm1(x);
  if (shift > 0) {
    mask = neighbours(h, w, window, shift, x.device());
    y = rolled(y, shift, shift);
  }
  y = image_of(attn(windows_of(y, window), mask), window, x.shape());
  if (shift > 0) y = rolled(y, h - shift, w - shift);
  y = x + y;
  return y + fc2(autograd::gelu(fc1(norm2(y))));
}

Var ResidualSwinGroup::operator()(const Var& x) const {
  Var y = x;
  for (const SwinBlock& block : blocks) y = block(y);
  return x + channels_last(conv(channels_first(y)));
}

SwinBody SwinBody::make(int64_t channels, const SwinBodyConfig& c, Rng& rng) {
  SwinBody body;
  body.norm_in = LayerNorm::make(channels);
  body.norm = LayerNorm::make(channels);
  for (int64_t g = 0; g < c.groups; ++g) {
    ResidualSwinGroup group;
    for (int64_t i = 0; i < c.depth; ++i)
      group.blocks.push_back(SwinBlock::make(channels, c.window, i % 2 ? c.window / 2 : 0, c.heads,
                                             c.hidden_ratio * channels, rng));
    group.conv = Conv2d::same(channels, channels, 3, rng);
    body.groups.push_back(std::move(group));
  }
  body.conv_after_body = Conv2d::same(channels, channels, 3, rng);
  return body;
}

Var SwinBody::operator()(const Var& x) const {
  const int64_t window =
      groups.empty() || groups[0].blocks.empty() ? 1 : groups[0].blocks[0].window;
  TS_CHECK(x.rank() == 4 && x.size(2) % window == 0 && x.size(3) % window == 0,
           "SwinBody: windows of ", window, " x ", window, " do not tile ", x);
  Var y = norm_in(channels_last(x));
  for (const ResidualSwinGroup& group : groups) y = group(y);
  return conv_after_body(channels_first(norm(y)));
}

}  // namespace tessera::models
