#pragma once

#include "tessera/models/nets/sr/grayscale_sr.hpp"
#include "tessera/models/part.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::algorithms::eigensr {

using Network = models::GrayscaleSr;

/// Which network. The defaults are for processors: 32 channels, four residual blocks, plain ends.
struct NetworkOptions {
  bool plain = true;  // ends of one convolution and a bicubic skip, in place of residual stacks
  int64_t channels = 32, blocks = 4;

  static void visit(auto& self, auto&& f) {
    f("plain", self.plain, "ends of one convolution and a bicubic skip; else residual stacks");
    f("channels", self.channels, "of the features", Bounds::between(1, 4096));
    f("blocks", self.blocks, "residual ones in the body", Bounds::between(1, 1000));
  }
};

Network make_network(const NetworkOptions& options, int64_t scale, Rng& rng);
Device device_of(const Network& network);

}  // namespace tessera::algorithms::eigensr
