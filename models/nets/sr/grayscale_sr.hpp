#pragma once

#include "tessera/models/nets/sr/blocks.hpp"
#include "tessera/models/nets/sr/conv_body.hpp"
#include "tessera/models/nets/sr/swin_body.hpp"
#include "tessera/models/nets/sr/transformer_body.hpp"
#include "tessera/models/one_of.hpp"

namespace tessera::models {

/// What maps features to features of the same shape between head and tail.
using Backbone = OneOf<ConvBody, TransformerBody, SwinBody>;
using BackboneConfig = std::variant<ConvBodyConfig, TransformerBodyConfig, SwinBodyConfig>;

struct GrayscaleSrConfig {
  int64_t scale = 2;      // 2, 4, 8 with residual ends; any with plain ones
  int64_t channels = 64;  // of the features
  bool plain = false;     // ends of one convolution each, and a bicubic skip
  BackboneConfig body = ConvBodyConfig();
};

/// The network of EigenSR, which enlarges images of one channel:
///   z = head(x),  z' = z + body(z),  y = tail(z').
/// Head and tail are residual blocks with instance norm: log2(scale) + 2 at the small size, and in
/// the tail as many doublings. With plain ends the head is a convolution, the tail one before a
/// pixel shuffle, and bicubic interpolation of x is added to y: EDSR's layout, small and quick.
/// x [n, 1, h, w] -> [n, 1, scale h, scale w]; sizes as the body takes them.
struct GrayscaleSr {
  OneOf<Conv2d, ResidualStack<ResBlock>> head;
  Backbone body;
  OneOf<SubPixelConv, ResidualStack<UpBlock>> tail;
  int64_t scale = 2;
  bool bicubic_skip = false;

  static GrayscaleSr make(const GrayscaleSrConfig& config, Rng& rng);
  Var operator()(const Var& x) const;

  static void visit(auto& self, auto&& f) {
    f("head", self.head);
    f("body", self.body);
    f("tail", self.tail);
  }
};

/// Low-rank updates of this rank for every attention of a transformer body, which change nothing
/// before they are trained; other bodies have none and stay as they are.
void add_low_rank_updates(GrayscaleSr& network, int64_t rank, Rng& rng);

/// What is fine-tuned after the body was trained elsewhere: head, tail and the body's low-rank
/// updates. For models::Part.
bool is_fine_tuned(std::string_view path);

}  // namespace tessera::models
