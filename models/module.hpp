#pragma once

#include <concepts>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/runtime/rng.hpp"

/// A module is a plain struct. The type of a member tells its role: a Var is a parameter, a Tensor
/// a buffer, another module or a vector of modules a child. One static function names them:
///
///   struct Linear {
///     Var weight, bias;
///     Var operator()(const Var& x) const { return linear(x, weight, bias); }
///     static void visit(auto& self, auto&& f) { f("weight", self.weight); f("bias", self.bias); }
///   };
///
/// Names are dotted paths ("layers.0.weight"); an undefined parameter or buffer (a layer without
/// bias) is left out. Everything below follows from `visit`, in its order.
namespace tessera::models {

using autograd::Inputs;
using autograd::Var;
using autograd::Vars;

namespace detail {

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

template <class Leaf>
struct Walker {
  std::string prefix;
  Leaf& leaf;

  template <class Member>
  void operator()(std::string_view name, Member& member) const {
    using T = std::remove_const_t<Member>;
    std::string path = prefix;
    path += name;
    if constexpr (std::same_as<T, Var> || std::same_as<T, Tensor>) {
      if (member.defined()) leaf(path, member);
    } else if constexpr (is_vector<T>) {
      for (size_t i = 0; i < member.size(); ++i)
        Walker{path + ".", leaf}(std::to_string(i), member[i]);
    } else {
      T::visit(member, Walker{path + ".", leaf});
    }
  }
};

}  // namespace detail

/// Calls leaf(path, member) for every defined Var and Tensor below `module`.
template <class M, class Leaf>
void for_each_leaf(M& module, Leaf leaf) {
  std::remove_const_t<M>::visit(module, detail::Walker<Leaf>{"", leaf});
}

template <class M, class F>
void for_each_parameter(M& module, F f) {
  for_each_leaf(module, [&](const std::string& path, auto& member) {
    if constexpr (std::same_as<std::remove_cvref_t<decltype(member)>, Var>) f(path, member);
  });
}

template <class M, class F>
void for_each_buffer(M& module, F f) {
  for_each_leaf(module, [&](const std::string& path, auto& member) {
    if constexpr (std::same_as<std::remove_cvref_t<decltype(member)>, Tensor>) f(path, member);
  });
}

template <class M>
Vars parameters(const M& module) {
  Vars out;
  for_each_parameter(module, [&](const std::string&, const Var& p) { out.push_back(p); });
  return out;
}

template <class M>
std::vector<std::string> parameter_names(const M& module) {
  std::vector<std::string> out;
  for_each_parameter(module, [&](const std::string& path, const Var&) { out.push_back(path); });
  return out;
}

/// Number of parameter elements.
template <class M>
int64_t count_parameters(const M& module) {
  int64_t n = 0;
  for_each_parameter(module, [&](const std::string&, const Var& p) { n += p.numel(); });
  return n;
}

/// A copy of `module` whose parameters are `values`, in visiting order. Buffers are shared.
template <class M>
M with_parameters(const M& module, Inputs values) {
  M copy = module;
  size_t i = 0;
  for_each_parameter(copy, [&](const std::string& path, Var& p) {
    TS_CHECK(i < values.size() && values[i].shape() == p.shape(), "with_parameters: parameter ",
             path, " has shape ", p.shape(), i < values.size() ? ", given " : ", none given",
             i < values.size() ? to_string(values[i].shape()) : std::string());
    p = values[i++];
  });
  TS_CHECK(i == values.size(), "with_parameters: ", values.size(), " values for ", i,
           " parameters");
  return copy;
}

/// `loss(model)` as a function of the model's parameters.
template <class M, class Loss>
autograd::Fn loss_of_parameters(const M& model, Loss&& loss) {
  return [&model, &loss](Inputs values) -> Var { return loss(with_parameters(model, values)); };
}

/// Loss and gradients (in visiting order) of a scalar function of the model; the loss is multiplied
/// by `seed` before differentiation.
template <class M, class Loss>
autograd::ValueAndGrad value_and_grad(const M& model, Loss&& loss, double seed = 1.0) {
  return autograd::value_and_grad(loss_of_parameters(model, loss), parameters(model), seed);
}

/// Hessian-vector product of a scalar function of the model; v in visiting order.
template <class M, class Loss>
Vars hvp(const M& model, Loss&& loss, Inputs v) {
  return autograd::hvp(loss_of_parameters(model, loss), parameters(model), v);
}

/// v' H v without a tape.
template <class M, class Loss>
Var vhv(const M& model, Loss&& loss, Inputs v) {
  return autograd::vhv(loss_of_parameters(model, loss), parameters(model), v);
}

/// Copies with floating parameters and buffers converted, or moved.
template <class M>
M cast(const M& module, DType dtype) {
  M copy = module;
  for_each_leaf(copy, [&](const std::string&, auto& member) {
    using T = std::remove_cvref_t<decltype(member)>;
    if (!is_float(member.dtype())) return;
    if constexpr (std::same_as<T, Var>)
      member = Var(autograd::convert(member.value(), dtype));
    else
      member = autograd::convert(member, dtype);
  });
  return copy;
}

template <class M>
M to(const M& module, Device device) {
  M copy = module;
  for_each_leaf(copy, [&](const std::string&, auto& member) {
    using T = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::same_as<T, Var>)
      member = Var(member.value().to(device));
    else
      member = member.to(device);
  });
  return copy;
}

/// A copy that shares no memory with `module`.
template <class M>
M clone(const M& module) {
  M copy = module;
  for_each_leaf(copy, [&](const std::string&, auto& member) {
    using T = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::same_as<T, Var>)
      member = Var(member.value().clone());
    else
      member = member.clone();
  });
  return copy;
}

using NamedTensors = std::map<std::string, Tensor>;

/// Parameters and buffers by path; shares memory with the module.
template <class M>
NamedTensors state(const M& module, const std::string& prefix = "") {
  NamedTensors out;
  for_each_leaf(module, [&](const std::string& path, const auto& member) {
    using T = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::same_as<T, Var>)
      out.emplace(prefix + path, member.value());
    else
      out.emplace(prefix + path, member);
  });
  return out;
}

[[noreturn]] void throw_missing(const std::string& path, const NamedTensors& given);
void throw_unexpected(const std::vector<std::string>& unexpected, size_t expected);

/// Replaces parameters and buffers by copies of the entries of `values` named prefix + path,
/// converted to the module's dtypes and device. Missing entries, other shapes and, unless
/// `partial`, entries under the prefix that the module does not have are errors that name them.
template <class M>
void load_state(M& module, const NamedTensors& values, const std::string& prefix = "",
                bool partial = false) {
  std::vector<std::string> unexpected;
  size_t used = 0;
  M loaded = module;
  NamedTensors rest = values;
  for_each_leaf(loaded, [&](const std::string& path, auto& member) {
    const auto it = values.find(prefix + path);
    if (it == values.end()) throw_missing(prefix + path, values);
    TS_CHECK(it->second.shape() == member.shape(), "load_state: ", prefix + path, " has shape ",
             it->second.shape(), ", the model wants ", member.shape());
    const Tensor source = it->second.to(member.device());
    member = autograd::convert(source, member.dtype()).clone();
    rest.erase(prefix + path);
    ++used;
  });
  if (!partial) {
    for (const auto& [name, tensor] : rest)
      if (name.starts_with(prefix)) unexpected.push_back(name);
    if (!unexpected.empty()) throw_unexpected(unexpected, used);
  }
  module = std::move(loaded);
}

/// What a forward pass needs to know beyond its input: whether dropout and batch statistics are on,
/// and where random numbers come from. A training step makes one from its own seed, so that a step
/// is a pure function of (parameters, batch, seed).
struct ForwardContext {
  bool training = false;
  Rng rng = Rng(0);
  int64_t runs = 0;  // side by side, see models/runs.hpp; 0: a plain model
};

}  // namespace tessera::models
