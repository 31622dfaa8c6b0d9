#pragma once

#include <string>

#include "tessera/models/checkpoint.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/error.hpp"

/// Checkpoints of a whole run of an experiment, read back by `--resume`.
namespace tessera::algorithms {

/// A checkpoint file and the checks that it belongs to the run that goes on from it.
class RunCheckpoint {
 public:
  /// Reads `path`; throws as `models::Checkpoint::load` does.
  explicit RunCheckpoint(const std::string& path)
      : path_(path), checkpoint_(models::Checkpoint::load(path)) {}

  const models::Checkpoint& state() const { return checkpoint_; }

  /// The text kept under `key`; an `io` Error where there is none: of another experiment.
  const std::string& text(const std::string& key) const;

  /// The struct kept under `key` as JSON; throws as `parse_config` does.
  template <class T>
  T parsed(const std::string& key) const {
    T value;
    parse_config(value, text(key), path_);
    return value;
  }

  /// Throws unless `key` is kept with the text `wanted`: the data, or the seed, is another.
  void expect(const std::string& key, const std::string& wanted) const;

  /// Throws, naming what differs, unless the kept "config" is `wanted`.
  template <class Config>
  void expect_config(const Config& wanted) const {
    const std::string difference = config_difference(parsed<Config>("config"), wanted);
    TS_CHECK(difference.empty(), path_, " cannot be resumed with another config: ", difference);
  }

 private:
  std::string path_;
  models::Checkpoint checkpoint_;
};

}  // namespace tessera::algorithms
