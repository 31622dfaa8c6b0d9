#pragma once

#include <optional>

#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/models/data/graph.hpp"
#include "tessera/models/module.hpp"

namespace tessera::models {

/// The input of a graph network: one row per node, dense or sparse (bag of words).
class NodeFeatures {
 public:
  explicit NodeFeatures(Tensor dense) : dense_(std::move(dense)) {}
  /// `shift` [width], f32, or none: the features are the matrix plus it in every row.
  explicit NodeFeatures(CsrMatrix sparse, Tensor shift = {});

  int64_t nodes() const;
  int64_t width() const;
  bool sparse() const { return sparse_.has_value(); }

  /// x w with dropout of x's entries in training; w [width, out], or [width, runs, out] for
  /// context.runs of them, each with a dropout of its own. Sparse features cost by their entries
  /// and drop only those: zeros, and a shift, stay either way.
  Var times(const Var& weight, double dropout, ForwardContext& context) const;

 private:
  Tensor dense_;
  std::optional<autograd::SparseMatrix> sparse_;
  Tensor shift_;

  Var product(const Var& weight, double dropout, ForwardContext& context) const;
};

enum class FeatureScaling : uint8_t {
  raw,
  row,     // divided by the sum of the node's absolute values
  column,  // less the mean of the feature over all nodes, over its deviation (n - 1): z-scores;
           // features that are the same everywhere become 0
};
std::string_view to_string(FeatureScaling scaling);
void parse(std::string_view text, FeatureScaling& scaling);

/// The features of a graph on a device, sparse ones still sparse. Throws when there are none, and
/// naming node and feature where one is not finite.
NodeFeatures node_features(const GraphData& graph, FeatureScaling scaling, Device device);

}  // namespace tessera::models
