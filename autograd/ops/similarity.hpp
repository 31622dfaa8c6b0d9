#pragma once

#include <limits>
#include <span>

#include "tessera/autograd/op.hpp"
#include "tessera/runtime/csr.hpp"
#include "tessera/runtime/rng.hpp"

namespace tessera::autograd {

/// Which nodes of a SimilarityGraph are linked.
struct SimilarityOptions {
  /// Cosines from `least` on and below `below` link. They are those of f32: rows of features are
  /// divided by their lengths, multiplied and added up in order, each step rounded. Where that
  /// makes 1 of a cosine is luck, so from 1 - 1e-6 on all are 1.
  double least = 0.9;
  double below = std::numeric_limits<double>::infinity();
  double diagonal = 2;  // entry (i, i), whatever the features
  double keep = 1;      // the probability that a link stays, by numbers from `rng`, which the graph
  RngState rng = {};    // uses n (n - 1) / 2 of
};

/// The constant symmetric matrix of a graph that links nodes with similar features: entry (i, j) is
/// 1 where the cosine of f_i and f_j is within the bounds, (i, i) is `diagonal`. A node without
/// features (all 0) is linked to none. No entry is stored: products find the links anew (see
/// kernels::SimilarityParams). Nodes whose features have one direction are linked to the same nodes
/// and stand for one another, so that a product costs groups^2 (features + width) and nodes * width
/// operations; with keep < 1 every node is a group of its own. A cheap handle.
class SimilarityGraph {
 public:
  /// features: floating [n, width] on the host, finite. The graph is on `device`.
  SimilarityGraph(const Tensor& features, const SimilarityOptions& options, Device device);

  int64_t nodes() const;
  int64_t groups() const;
  Device device() const;
  const SimilarityOptions& options() const;
  /// Sums of the rows, without factors: f64 [n].
  const Tensor& degrees() const;

  /// diag(rows) A diag(columns); f64 [n], undefined ones are ones.
  SimilarityGraph scaled(const Tensor& rows, const Tensor& columns) const;
  /// D^-1 A and D^-1/2 A D^-1/2 with D the degrees; rows of degree 0 are 0.
  SimilarityGraph random_walk() const;
  SimilarityGraph symmetric() const;
  /// The same with the factors exchanged: the transpose.
  SimilarityGraph transposed() const;
  bool is_symmetric() const;

  /// All entries, without factors, as a matrix on the host: for what needs them one by one. Has
  /// values (f32) where the diagonal is neither 0 nor 1. Throws when there are 2^31 or more.
  CsrMatrix matrix() const;

  /// A x for x [n, width] or [n, heads, width], in x's dtype.
  Tensor times(const Tensor& x) const;
  /// Writes it to y, of x's shape; rows of either may lie apart where they have one axis.
  void times(const Tensor& x, const Tensor& y) const;

 private:
  struct Data;
  struct Scale {
    Tensor wide, narrow;  // f64, f32
  };
  std::shared_ptr<const Data> data_;
  Scale row_scale_, column_scale_;
};

/// A x; x [n, width] or [n, heads, width].
Var spmm(const SimilarityGraph& a, const Var& x);
/// A_r x_r for every run r: x [n, runs, width], one graph for each run, all of n nodes on x's
/// device.
Var spmm(std::span<const SimilarityGraph> of_runs, const Var& x);

}  // namespace tessera::autograd
