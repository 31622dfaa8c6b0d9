#include "tessera/models/layers/linear.hpp"

#include <cmath>

#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/models/init.hpp"

namespace tessera::models {

Linear Linear::make(int64_t in, int64_t out, Rng& rng, bool with_bias) {
  TS_CHECK(in > 0 && out > 0, "Linear: ", in, " to ", out);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  Linear layer;
  layer.weight = uniform({out, in}, bound, rng);
  if (with_bias) layer.bias = uniform({out}, bound, rng);
  return layer;
}

Var Linear::operator()(const Var& x) const { return autograd::linear(x, weight, bias); }

}  // namespace tessera::models
