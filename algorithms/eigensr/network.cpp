#include "tessera/algorithms/eigensr/network.hpp"

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::eigensr {
namespace {

constexpr std::string_view body_names[] = {"conv", "transformer", "swin"};

models::BackboneConfig body_of(const NetworkOptions& o, int64_t low_rank) {
  switch (o.body) {
    case Body::transformer:
      return models::TransformerBodyConfig{
          .size = o.size, .patch = o.token, .layers = o.layers, .heads = o.heads, .rank = low_rank};
    case Body::swin:
      return models::SwinBodyConfig{
          .window = o.window, .groups = o.groups, .depth = o.depth, .heads = o.heads};
    default:
      return models::ConvBodyConfig{.blocks = o.blocks};
  }
}

}  // namespace

std::string_view to_string(Body b) { return body_names[static_cast<int>(b)]; }
void parse(std::string_view text, Body& b) { parse_enum(text, body_names, b); }

Network make_network(const NetworkOptions& options, int64_t scale, int64_t low_rank, Rng& rng) {
  return Network::make({.scale = scale,
                        .channels = options.channels,
                        .plain = options.plain,
                        .body = body_of(options, low_rank)},
                       rng);
}

Device device_of(const Network& network) { return models::parameters(network).at(0).device(); }

void check_patch(const NetworkOptions& options, std::string_view setting, int64_t side) {
  if (options.body == Body::transformer)
    TS_CHECK(side == options.size, "eigensr: ", setting, " is ", side,
             ", but this transformer takes patches of side ", options.size);
  if (options.body == Body::swin)
    TS_CHECK(side > 0 && side % options.window == 0, "eigensr: ", setting, " is ", side,
             ", no multiple of the window ", options.window);
}

}  // namespace tessera::algorithms::eigensr
