#include "tessera/models/nets/mlp.hpp"

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/random.hpp"

namespace tessera::models {
namespace {
constexpr std::string_view names[] = {"relu", "gelu", "gelu_tanh", "silu", "tanh"};
}

std::string to_string(Activation activation) {
  return std::string(names[static_cast<int>(activation)]);
}

Activation parse_activation(std::string_view name) {
  for (int i = 0; i < 5; ++i)
    if (names[i] == name) return static_cast<Activation>(i);
  throw Error(
      ErrorKind::invalid_argument,
      concat("unknown activation '", name, "': expected relu, gelu, gelu_tanh, silu or tanh"));
}

Var activate(const Var& x, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return autograd::relu(x);
    case Activation::gelu:
      return autograd::gelu(x);
    case Activation::gelu_tanh:
      return autograd::gelu_tanh(x);
    case Activation::silu:
      return autograd::silu(x);
    case Activation::tanh:
      return autograd::tanh(x);
  }
  return x;
}

Mlp Mlp::make(const std::vector<int64_t>& widths, Rng& rng, Activation activation, double dropout) {
  TS_CHECK(widths.size() >= 2, "Mlp: needs at least an input and an output width, got ",
           widths.size());
  Mlp net{{}, activation, dropout};
  for (size_t i = 0; i + 1 < widths.size(); ++i)
    net.layers.push_back(Linear::make(widths[i], widths[i + 1], rng));
  return net;
}

Var Mlp::operator()(const Var& x, ForwardContext& context) const {
  Var h = layers[0](x);
  for (size_t i = 1; i < layers.size(); ++i) {
    h = activate(h, activation);
    if (context.training && dropout > 0)
      h = autograd::dropout(h, dropout, context.rng.take(h.numel()));
    h = layers[i](h);
  }
  return h;
}

Var Mlp::operator()(const Var& x) const {
  ForwardContext inference;
  return (*this)(x, inference);
}

}  // namespace tessera::models
