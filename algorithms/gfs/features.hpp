#pragma once

#include <span>
#include <vector>

#include "tessera/models/data/graph.hpp"
#include "tessera/models/layers/graph/features.hpp"

/// A graph's node features as GFS takes them: all entries of the matrix have mean 0 and deviation 1
/// together. Columns keep their own means: what a neighbourhood adds up to then depends on its
/// size, which is part of what TFI sees.
namespace tessera::algorithms::gfs {

class StandardFeatures {
 public:
  /// (X - mean) / deviation (n - 1) over all entries, in f64; deviation 1 where none vary. Throws
  /// naming the graph when it has no features, and the node and feature where one is not finite.
  explicit StandardFeatures(const models::GraphData& graph);

  int64_t nodes() const { return nodes_; }
  int64_t features() const { return features_; }
  bool sparse() const { return !dense_.defined(); }
  double of(double raw) const { return (raw - mean_) / deviation_; }

  /// Calls entry(node, x) for the entries of a column: all of them, or those stored in a sparse
  /// matrix, the others being of(0).
  template <class F>
  void each_entry(int64_t feature, F&& entry) const {
    if (sparse()) {
      const auto first = columns_.row_ptr.host<int32_t>(), node = columns_.col.host<int32_t>();
      const auto f = static_cast<size_t>(feature);
      for (auto e = static_cast<size_t>(first[f]); e < static_cast<size_t>(first[f + 1]); ++e)
        entry(static_cast<size_t>(node[e]), of(values_.empty() ? 1.0 : values_[e]));
    } else {
      const auto x = dense_.host<float>();
      const auto width = static_cast<size_t>(features_);
      for (size_t i = 0; i < static_cast<size_t>(nodes_); ++i)
        entry(i, of(x[i * width + static_cast<size_t>(feature)]));
    }
  }
  /// The whole column; out [nodes].
  void column(int64_t feature, std::span<double> out) const;

  /// For networks: the features are `x` plus `shift` in every entry, the zeros of a sparse x too.
  struct Input {
    models::NodeFeatures x;
    double shift = 0;
  };
  Input input(Device device) const;

 private:
  int64_t nodes_, features_;
  double mean_ = 0, deviation_ = 1;
  Tensor dense_;                // f32 [nodes, features]
  CsrMatrix rows_, columns_;    // sparse: the matrix, and its transpose
  std::vector<double> values_;  // of the transpose's entries; empty: ones
};

}  // namespace tessera::algorithms::gfs
