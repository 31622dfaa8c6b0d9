#pragma once

#include <variant>

#include "tessera/models/module.hpp"

namespace tessera::models {

/// A module that is one of several, chosen when it is made: its paths are those of the one it is.
///
///   using Backbone = OneOf<ConvBody, TransformerBody>;
///   Backbone body = ConvBody::make(16, 64, rng);
template <class... Modules>
struct OneOf : std::variant<Modules...> {
  using std::variant<Modules...>::variant;

  Var operator()(const Var& x) const {
    return std::visit([&](const auto& module) { return module(x); }, *this);
  }
  static void visit(auto& self, auto&& f) {
    std::visit([&](auto& module) { std::remove_cvref_t<decltype(module)>::visit(module, f); },
               self);
  }
};

}  // namespace tessera::models
