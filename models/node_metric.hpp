#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tessera/models/data/graph.hpp"

/// How well logits tell the classes of nodes.
namespace tessera::models {

enum class NodeMetric : uint8_t {
  automatic,  // ROC AUC with two classes, else accuracy (Platonov et al. 2023)
  accuracy,
  auc,  // area under the ROC curve of class 1
};
std::string_view to_string(NodeMetric metric);  // "auto", "accuracy", "auc"
void parse(std::string_view text, NodeMetric& metric);

/// What `metric` means for a graph of so many classes, never automatic. Throws where AUC is asked
/// of other than two.
NodeMetric metric_for(NodeMetric metric, int64_t classes);

/// Throws naming run, part and counts unless every part of the split has what the metric needs:
/// nodes of both classes for AUC.
void check_split(NodeMetric metric, const Tensor& labels, const Split& split, size_t run);

/// Of the nodes listed: the share whose class is right, or the AUC of the logit of class 1 less
/// that of class 0. `metric` is not automatic; logits [n, classes] of any strides, or [n, 1] of two
/// classes; labels i32 or i64 [n].
double node_score(NodeMetric metric, const Tensor& logits, const Tensor& labels,
                  std::span<const int64_t> nodes);

}  // namespace tessera::models
