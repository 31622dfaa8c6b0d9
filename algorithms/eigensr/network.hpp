#pragma once
// INTERIM: until models/nets/sr is merged

#include <cmath>
#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/pool.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/layers/conv.hpp"
#include "tessera/models/module.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::algorithms::eigensr {

struct NetworkOptions {
  int64_t channels = 32, blocks = 4;
  static void visit(auto& self, auto&& f) {
    f("channels", self.channels, "of the network", Bounds::between(1, 4096));
    f("blocks", self.blocks, "residual, of the body", Bounds::between(1, 1000));
  }
};
struct Network {
  std::vector<models::Conv2d> layers;
  int64_t scale = 2;
  models::Var operator()(const models::Var& x) const {
    using namespace autograd;
    models::Var z = layers[0](x), first = z;
    for (size_t k = 1; k + 2 < layers.size(); k += 2) z = z + layers[k + 1](relu(layers[k](z)));
    z = z + first;
    models::Var y = layers.back()(z);
    const int64_t n = x.size(0), h = x.size(2), w = x.size(3), s = scale;
    y = reshape(permute(reshape(y, {n, 1, s, s, h, w}), {0, 1, 4, 2, 5, 3}), {n, 1, h * s, w * s});
    return y + resample2d(x, h * s, w * s, {.mode = ResampleMode::bicubic});
  }
  static void visit(auto& self, auto&& f) { f("layers", self.layers); }
};
inline Network make_network(const NetworkOptions& o, int64_t scale, Rng& rng) {
  Network net;
  net.scale = scale;
  const auto conv = [&](int64_t in, int64_t out) {
    models::Conv2d c;
    const double bound = 1 / std::sqrt(double(in * 9));
    c.weight = models::uniform({out, in, 3, 3}, bound, rng);
    c.bias = models::uniform({out}, bound, rng);
    c.params.padding[0] = c.params.padding[1] = 1;
    return c;
  };
  net.layers.push_back(conv(1, o.channels));
  for (int64_t b = 0; b < 2 * o.blocks; ++b) net.layers.push_back(conv(o.channels, o.channels));
  net.layers.push_back(conv(o.channels, scale * scale));
  return net;
}
inline Device device_of(const Network& n) { return n.layers[0].weight.device(); }
inline void freeze_body(Network&) {}
template <class Loss>
Tensor train_step(Network& net, models::Adam& adam, Loss&& loss) {
  const auto [value, gradients] = models::value_and_grad(net, loss);
  adam.step(net, gradients);
  return value.value();
}

}  // namespace tessera::algorithms::eigensr
