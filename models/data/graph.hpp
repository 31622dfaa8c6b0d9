#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/runtime/csr.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::models {

/// Numbers of the nodes to train on, to choose settings with, and to report on; each ascending,
/// none empty, no node in two of them, some perhaps in none.
struct Split {
  std::vector<int64_t> train, validation, test;
};

enum class SplitKind : uint8_t {
  public_,  // the one split that the data set's authors published
  fixed,    // split number run % (number of stored splits)
  random,   // drawn per run: 60 / 20 / 20 percent of every class
};
std::string_view to_string(SplitKind kind);  // "public", "fixed", "random"
void parse(std::string_view text, SplitKind& kind);

/// A graph with one label per node, on the host.
struct GraphData {
  std::string name;
  int64_t nodes = 0;
  int64_t classes = 0;  // the largest label + 1
  CsrMatrix adjacency;  // [nodes, nodes], both directions of every edge, no self-loops, no values,
                        // columns ascending; rows of isolated nodes are empty
  std::vector<int64_t> self_loops;  // nodes that had an edge to themselves
  Tensor labels;                    // i32 [nodes]
  std::vector<int64_t> unlabelled;  // nodes whose label (0) means nothing
  // Features are dense or sparse or, in some files, absent.
  Tensor dense_features;      // f32 [nodes, features], finite
  CsrMatrix sparse_features;  // [nodes, features]; without values every entry is 1
  std::vector<Split> public_splits, fixed_splits;

  bool has_features() const { return dense_features.defined() || sparse_features.col.defined(); }
  int64_t features() const;
  /// The features as f32 [nodes, features] whichever way they are held; throws when there are none.
  Tensor features_as_dense() const;
  int64_t isolated_nodes() const;
};

/// Reads one graph from a .npz file:
///
///   edges            int [2, edges]     each undirected edge once, or more: repeated edges count
///   once, in
///                                       any order and direction; edges (v, v) go to `self_loops`
///   labels           int [nodes]        from 0
///   x                float [nodes, f]   dense features, or
///   x_shape, x_indptr, x_indices        rows of a 0/1 matrix
///   train_masks, val_masks, test_masks  bool [splits, nodes], and the same with the prefix public_
///   self_loops       int [n]            optional
///   no_label         bool [nodes]       optional
///
/// Throws an `io` Error naming the file, the member and the node or edge: members missing, of wrong
/// type or shape, node numbers and labels out of range, features not finite, splits empty or
/// overlapping.
GraphData load_graph(const std::string& path);

/// The same of arrays already read; `name` stands for the file in errors.
GraphData graph_from_arrays(const std::map<std::string, Tensor>& arrays, const std::string& name);

/// The split of run number `run`. Throws naming the splits there are when the graph has none of
/// this kind.
Split choose_split(const GraphData& graph, SplitKind kind, int64_t run, const Rng& rng);

/// Of each class the first floor(share * n) nodes in random order to train, then to validate; the
/// rest tests. Nodes without label are left out.
Split split_by_share(const GraphData& graph, double train_share, double validation_share, Rng rng);

/// `train_per_class` nodes of each class, then `validation` and `test` of the remaining nodes, at
/// random, as Planetoid's splits are (20 / 500 / 1000). Nodes without label are left out.
Split split_by_count(const GraphData& graph, int64_t train_per_class, int64_t validation,
                     int64_t test, Rng rng);

/// Divides each node's features by the sum of their absolute values; rows of zeros stay.
void normalize_feature_rows(GraphData& graph);

}  // namespace tessera::models
