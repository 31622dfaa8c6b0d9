#include "tessera/models/nets/msnet.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/pool.hpp"

namespace tessera::models {
namespace {

Var resized(const Var& x, const Var& like) {
  return autograd::resample2d(x, like.size(2), like.size(3),
                              {.mode = autograd::ResampleMode::bilinear});
}

}  // namespace

MsNet MsNet::make(int64_t channels, int64_t hidden, int64_t scales, Rng& rng) {
  TS_CHECK(channels >= 1 && hidden >= 1 && scales >= 1, "MsNet: ", scales, " scales of ", channels,
           " channels, ", hidden, " inside");
  MsNet net;
  for (int64_t l = 0; l < scales; ++l) {
    Scale scale;
    scale.narrow = Conv2d::same(channels, hidden, 3, rng);
    scale.widen = Conv2d::same(hidden, channels, 3, rng);
    scale.up = Conv2d::same(channels, channels, 1, rng);
    scale.inner = Conv2d::same(channels, channels, 1, rng);
    scale.output = Conv2d::same(channels, channels, 1, rng);
    net.scales.push_back(std::move(scale));
  }
  return net;
}

Vars MsNet::operator()(const Var& x) const {
  Vars encoded;
  Var input = x;
  int64_t rate = 1;
  for (size_t l = 0; l < scales.size(); ++l, rate *= 2) {
    TS_CHECK(x.size(2) >= rate && x.size(3) >= rate, "MsNet: ", x, " is smaller than scale ", l);
    const Scale& s = scales[l];
    Var e = autograd::relu(input + s.widen(autograd::relu(s.narrow(input))));
    if (rate > 1) e = autograd::average_pool2d(e, {.window = {rate, rate}, .stride = {rate, rate}});
    if (l + 1 < scales.size()) input = input + s.up(resized(e, x));
    encoded.push_back(std::move(e));
  }
  Vars outputs(scales.size());
  Var sum;
  for (size_t l = scales.size(); l-- > 0;) {
    Var inner = autograd::relu(scales[l].inner(resized(encoded[l], x)));
    if (sum.defined()) inner = inner + sum;
    outputs[l] = scales[l].output(inner);
    sum = sum.defined() ? sum + outputs[l] : outputs[l];
  }
  return outputs;
}

}  // namespace tessera::models
