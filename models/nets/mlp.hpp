#pragma once

#include <string>

#include "tessera/models/layers/linear.hpp"

namespace tessera::models {

enum class Activation { relu, gelu, gelu_tanh, silu, tanh };
std::string to_string(Activation activation);
Activation parse_activation(std::string_view name);
Var activate(const Var& x, Activation activation);

/// Linear layers with an activation and dropout between them.
struct Mlp {
  std::vector<Linear> layers;
  Activation activation = Activation::gelu;
  double dropout = 0;

  /// widths: input, hidden..., output.
  static Mlp make(const std::vector<int64_t>& widths, Rng& rng,
                  Activation activation = Activation::gelu, double dropout = 0);
  Var operator()(const Var& x, ForwardContext& context) const;
  Var operator()(const Var& x) const;  // inference

  static void visit(auto& self, auto&& f) { f("layers", self.layers); }
};

}  // namespace tessera::models
