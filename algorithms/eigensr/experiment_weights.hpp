#pragma once

#include <string>

#include "tessera/algorithms/eigensr/network.hpp"

namespace tessera::algorithms::eigensr {

/// A network with what makes it, in a safetensors file: options and scale are JSON in its metadata.
struct StoredNetwork {
  NetworkOptions options;
  int64_t scale = 2;
  int64_t low_rank = 0;  // of updates that are there; 0: none
  Network network;
};
void save_network(const std::string& path, const StoredNetwork& stored);
/// On the host. Throws an `io` Error naming the file when it is no such file, and what
/// `load_state` throws when tensors do not fit the options.
StoredNetwork load_network(const std::string& path);

}  // namespace tessera::algorithms::eigensr
