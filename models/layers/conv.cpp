#include "tessera/models/layers/conv.hpp"

#include <cmath>

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

Conv2d Conv2d::same(int64_t in, int64_t out, int64_t filter, Rng& rng) {
  TS_CHECK(in > 0 && out > 0 && filter % 2 == 1, "Conv2d: ", in, " to ", out,
           " channels, a filter of ", filter, " x ", filter);
  const double bound = 1 / std::sqrt(static_cast<double>(in * filter * filter));
  Conv2d layer;
  layer.weight = uniform({out, in, filter, filter}, bound, rng);
  layer.bias = uniform({out}, bound, rng);
  layer.params.padding[0] = layer.params.padding[1] = filter / 2;
  return layer;
}

Var Conv2d::operator()(const Var& x) const { return autograd::conv2d(x, weight, bias, params); }

}  // namespace tessera::models
