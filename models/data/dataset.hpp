#pragma once

#include <cstdint>
#include <vector>

#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::models {

/// The tensors that belong to one example, e.g. {image [3, 32, 32], label []}, or, with one more
/// leading dimension, to a batch of them.
using Sample = std::vector<Tensor>;

/// Examples by number, on the host. `get` may be called from another thread than the one that owns
/// the data set, but not from two at a time.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  /// Example `index` in [0, size). Whatever is random in it (crops, flips) comes from `rng`.
  virtual Sample get(int64_t index, Rng rng) const = 0;
};

}  // namespace tessera::models
