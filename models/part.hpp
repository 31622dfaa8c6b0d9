#pragma once

#include <functional>

#include "tessera/models/module.hpp"

namespace tessera::models {

/// Some of a module's parameters and buffers, by path.
using PathFilter = std::function<bool(std::string_view path)>;

/// Those leaves of a module whose path is `chosen`, as a module of their own. What is trained of a
/// network of which the rest is frozen is a Part: gradients are taken of it, optimizers step it,
/// its state is what a file of the fine-tuning holds; the rest is constant.
///
///   Part<Vit> head{vit, [](std::string_view path) { return path.starts_with("head."); }};
///   auto [loss, gradients] =
///       value_and_grad(head, [&](const Part<Vit>& p) { return loss_of(p.whole(x)); });
///   adam.step(head, gradients);
///
/// Copies share what is not chosen, `clone` included; `to` and `cast` leave it where it is, so move
/// or convert the whole first.
template <class M>
struct Part {
  M whole;
  PathFilter chosen;

  static void visit(auto& self, auto&& f) {
    for_each_leaf(self.whole, [&](const std::string& path, auto& member) {
      if (self.chosen(path)) f(path, member);
    });
  }
};

}  // namespace tessera::models
