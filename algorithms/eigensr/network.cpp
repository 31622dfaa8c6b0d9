#include "tessera/algorithms/eigensr/network.hpp"

namespace tessera::algorithms::eigensr {

Network make_network(const NetworkOptions& options, int64_t scale, Rng& rng) {
  return Network::make({.scale = scale,
                        .channels = options.channels,
                        .plain = options.plain,
                        .body = {.blocks = options.blocks}},
                       rng);
}

Device device_of(const Network& network) { return models::parameters(network).at(0).device(); }

}  // namespace tessera::algorithms::eigensr
