#pragma once

#include <span>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/data/graph.hpp"
#include "tessera/models/module.hpp"

namespace tessera::models {

/// The mean cross-entropy over the training nodes of each of several runs side by side.
class NodeLoss {
 public:
  /// labels: i32 or i64 [nodes]; a split for each run.
  NodeLoss(const Tensor& labels, std::span<const Split> splits);
  /// [runs, 1] of logits [nodes, runs, classes].
  Var operator()(const Var& logits) const;

 private:
  autograd::CrossEntropyOptions selection_;
  Tensor offsets_, labels_;  // labels: of each node, once for each run
};

}  // namespace tessera::models
