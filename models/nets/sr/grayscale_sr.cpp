#include "tessera/models/nets/sr/grayscale_sr.hpp"

#include <bit>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/pool.hpp"

namespace tessera::models {
namespace {

Backbone backbone(int64_t channels, const BackboneConfig& config, Rng& rng) {
  if (const auto* c = std::get_if<TransformerBodyConfig>(&config))
    return TransformerBody::make(channels, *c, rng);
  if (const auto* c = std::get_if<SwinBodyConfig>(&config))
    return SwinBody::make(channels, *c, rng);
  return ConvBody::make(channels, std::get<ConvBodyConfig>(config), rng);
}

}  // namespace

GrayscaleSr GrayscaleSr::make(const GrayscaleSrConfig& c, Rng& rng) {
  TS_CHECK(c.scale >= 1 && c.channels >= 1, "GrayscaleSr: scale ", c.scale, ", ", c.channels,
           " channels");
  GrayscaleSr net;
  net.scale = c.scale;
  net.bicubic_skip = c.plain;
  if (c.plain) {
    net.head = Conv2d::same(1, c.channels, 3, rng);
    net.body = backbone(c.channels, c.body, rng);
    net.tail = SubPixelConv::make(c.channels, c.scale, rng);
    return net;
  }
  const auto scale = static_cast<uint64_t>(c.scale);
  TS_CHECK(scale >= 2 && std::has_single_bit(scale), "GrayscaleSr: scale ", c.scale,
           " is no power of two");
  const int64_t doublings = std::countr_zero(scale);
  net.head = ResidualStack<ResBlock>::make(1, c.channels, c.channels, doublings, rng);
  net.body = backbone(c.channels, c.body, rng);
  net.tail = ResidualStack<UpBlock>::make(c.channels, c.channels, 1, doublings, rng);
  return net;
}

Var GrayscaleSr::operator()(const Var& x) const {
  TS_CHECK(x.rank() == 4 && x.size(1) == 1, "GrayscaleSr: wants images [batch, 1, h, w], got ", x);
  const Var z = head(x);
  Var y = tail(z + body(z));
  if (!bicubic_skip) return y;
  return y + autograd::resample2d(x, scale * x.size(2), scale * x.size(3),
                                  {.mode = autograd::ResampleMode::imresize});
}

void add_low_rank_updates(GrayscaleSr& network, int64_t rank, Rng& rng) {
  if (auto* body = std::get_if<TransformerBody>(&network.body))
    body->add_low_rank_updates(rank, rng);
}

bool is_fine_tuned(std::string_view path) {
  return !path.starts_with("body.") || path.find(".lora.") != path.npos;
}

}  // namespace tessera::models
