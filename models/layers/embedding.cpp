#include "tessera/models/layers/embedding.hpp"

#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/models/init.hpp"

namespace tessera::models {

Embedding Embedding::make(int64_t entries, int64_t width, Rng& rng, double stddev) {
  return {normal({entries, width}, stddev, rng)};
}

Var Embedding::operator()(const Tensor& ids) const { return autograd::gather_rows(weight, ids); }

}  // namespace tessera::models
