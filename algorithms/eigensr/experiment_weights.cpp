#include "tessera/algorithms/eigensr/experiment_weights.hpp"

#include "tessera/runtime/config.hpp"
#include "tessera/runtime/io/safetensors.hpp"

namespace tessera::algorithms::eigensr {
namespace {

/// The metadata as settings.
struct Header {
  NetworkOptions network;
  int64_t scale = 2, low_rank = 0;

  static void visit(auto& self, auto&& f) {
    f("network", self.network);
    f("scale", self.scale, "", Bounds::between(2, 8));
    f("low_rank", self.low_rank, "", Bounds::between(0, 1024));
  }
};
constexpr const char* header_key = "eigensr";

}  // namespace

void save_network(const std::string& path, const StoredNetwork& stored) {
  const Header header{stored.options, stored.scale, stored.low_rank};
  save_safetensors(path, models::state(stored.network),
                   {{header_key, to_string(config_json(header))}});
}

StoredNetwork load_network(const std::string& path) {
  const Safetensors file = read_safetensors(path);
  const auto found = file.metadata.find(header_key);
  if (found == file.metadata.end())
    throw Error(ErrorKind::io,
                concat(path, ": no metadata '", header_key, "': not written by this experiment"));
  Header header;
  parse_config(header, found->second, path);
  Rng rng(0);  // of values that the file's replace
  StoredNetwork stored{header.network, header.scale, header.low_rank,
                       make_network(header.network, header.scale, header.low_rank, rng)};
  try {
    models::load_state(stored.network, file.tensors);
  } catch (const Error& error) {
    throw Error(ErrorKind::io, concat(path, ": ", error.what()));
  }
  return stored;
}

}  // namespace tessera::algorithms::eigensr
