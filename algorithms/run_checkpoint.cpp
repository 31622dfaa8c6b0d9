#include "tessera/algorithms/run_checkpoint.hpp"

namespace tessera::algorithms {

const std::string& RunCheckpoint::text(const std::string& key) const {
  const auto found = checkpoint_.metadata.find(key);
  if (found == checkpoint_.metadata.end())
    throw Error(ErrorKind::io, concat(path_, ": no '", key, "': not from this experiment"));
  return found->second;
}

void RunCheckpoint::expect(const std::string& key, const std::string& wanted) const {
  TS_CHECK(text(key) == wanted, path_, " cannot be resumed with another ", key, ": it has ",
           text(key), ", now it is ", wanted);
}

}  // namespace tessera::algorithms
