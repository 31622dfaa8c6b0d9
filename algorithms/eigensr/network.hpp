#pragma once

#include <string_view>

#include "tessera/models/nets/sr/grayscale_sr.hpp"
#include "tessera/models/part.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::algorithms::eigensr {

using Network = models::GrayscaleSr;

enum class Body : uint8_t {
  conv,         // EDSR's residual blocks: images of any size
  transformer,  // IPT's encoder and decoder: images of one size
  swin,         // SwinIR's groups of shifted windows: multiples of a window
};
std::string_view to_string(Body body);
void parse(std::string_view text, Body& body);

/// Which network. The defaults are for processors: 32 channels, four residual blocks, plain ends.
/// The paper's is body=transformer plain=false channels=64 layers=12 heads=12 size=48.
struct NetworkOptions {
  Body body = Body::conv;
  bool plain = true;
  int64_t channels = 32, blocks = 4;
  int64_t size = 48, token = 3, layers = 12;
  int64_t window = 8, groups = 4, depth = 6;
  int64_t heads = 4;

  static void visit(auto& self, auto&& f) {
    f("body", self.body, "conv, transformer or swin");
    f("plain", self.plain, "ends of one convolution and a bicubic skip; else residual stacks");
    f("channels", self.channels, "of the features", Bounds::between(1, 4096));
    f("blocks", self.blocks, "conv: residual blocks", Bounds::between(1, 1000));
    f("size", self.size, "transformer: side of all patches; patch and tile must be the same",
      Bounds::between(2, 1024));
    f("token", self.token, "transformer: side of a token", Bounds::between(1, 1024));
    f("layers", self.layers, "transformer: of encoder and decoder each", Bounds::between(1, 1000));
    f("window", self.window, "swin: side of a window; patch and tile must be multiples",
      Bounds::between(1, 1024));
    f("groups", self.groups, "swin: residual groups", Bounds::between(1, 1000));
    f("depth", self.depth, "swin: blocks of a group", Bounds::between(1, 1000));
    f("heads", self.heads, "transformer, swin: of attention", Bounds::between(1, 1024));
  }
};

/// Low-rank updates of a transformer body are there with `low_rank` > 0.
Network make_network(const NetworkOptions& options, int64_t scale, int64_t low_rank, Rng& rng);
Device device_of(const Network& network);

/// Throws unless the network takes patches of this side (0: whole images, of any).
void check_patch(const NetworkOptions& options, std::string_view setting, int64_t side);

}  // namespace tessera::algorithms::eigensr
