#pragma once

#include <span>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/data/graph.hpp"
#include "tessera/models/module.hpp"

namespace tessera::models {

/// The mean cross-entropy over the training nodes of each of several runs side by side; of one
/// logit per node, the binary one of labels 0 and 1.
class NodeLoss {
 public:
  /// labels: i32 or i64 [nodes]; a split for each run.
  NodeLoss(const Tensor& labels, std::span<const Split> splits);
  /// [runs, 1] of logits [nodes, runs, classes] or, of one run, [nodes, classes].
  Var operator()(const Var& logits) const;

 private:
  Tensor rows_, offsets_, labels_;  // labels: of each node, once for each run
  Tensor positive_;                 // the same as f32 [.., 1]
};

}  // namespace tessera::models
