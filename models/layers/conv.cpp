#include "tessera/models/layers/conv.hpp"

#include "tessera/models/init.hpp"

namespace tessera::models {

Conv2d Conv2d::make(int64_t in, int64_t out, int64_t filter, const autograd::Conv2dParams& params,
                    Rng& rng, bool with_bias) {
  TS_CHECK(
      in > 0 && out > 0 && params.groups > 0 && in % params.groups == 0 && out % params.groups == 0,
      "Conv2d: ", in, " to ", out, " channels in ", params.groups, " groups");
  Conv2d layer;
  layer.params = params;
  layer.weight = he_normal({out, in / params.groups, filter, filter},
                           out / params.groups * filter * filter, rng);
  if (with_bias) layer.bias = constant({out}, 0.0);
  return layer;
}

Var Conv2d::operator()(const Var& x) const { return autograd::conv2d(x, weight, bias, params); }

}  // namespace tessera::models
