#pragma once

#include <span>
#include <vector>

#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/module.hpp"

/// Several trainings of one network side by side. Every parameter and buffer has one more axis
/// before its last, "runs": a weight [in, out] becomes [in, runs, out], a bias [out] becomes [runs,
/// out]; activations [n, width] become [n, runs, width]. Products with a sparse matrix then serve
/// all runs at once. Each run computes what it would alone, from its own random numbers
/// (`StepRng`); only the order of long sums may depend on how many there are.
/// `ForwardContext::runs` tells layers their number.
namespace tessera::models {

/// The parameters and buffers of equal models side by side.
template <class M>
M stack_runs(const std::vector<M>& models) {
  TS_CHECK(!models.empty(), "stack_runs: no models");
  std::vector<std::vector<Var>> leaves;  // [leaf][run]
  for (const M& model : models) {
    size_t i = 0;
    for_each_leaf(model, [&](const std::string&, const auto& member) {
      if (i == leaves.size()) leaves.emplace_back();
      leaves[i++].push_back(member);
    });
  }
  M stacked = models.front();
  size_t i = 0;
  for_each_leaf(stacked, [&](const std::string&, auto& member) {
    using T = std::remove_cvref_t<decltype(member)>;
    const Tensor joined = autograd::stack(leaves[i], leaves[i].front().rank() - 1).value();
    member = T(joined);
    ++i;
  });
  return stacked;
}

/// One of them as a model of its own; shares memory.
template <class M>
M select_run(const M& stacked, int64_t run) {
  M model = stacked;
  for_each_leaf(model, [&](const std::string&, auto& member) {
    using T = std::remove_cvref_t<decltype(member)>;
    const Var of_all(member);
    member = T(of_all.value().select(of_all.rank() - 2, run));
  });
  return model;
}

/// x w: x [n, in] and w [in, out], or x [n, runs, in] and w [in, runs, out].
Var times(const Var& x, const Var& weight);

/// Dropout in training, of each run by its own numbers.
Var drop(const Var& x, double probability, ForwardContext& context);

}  // namespace tessera::models
