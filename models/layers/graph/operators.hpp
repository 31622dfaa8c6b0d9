#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/runtime/csr.hpp"

namespace tessera::models {

/// A sparse matrix for products with entry values, and one weight for each entry.
struct WeightedPattern {
  autograd::SparseMatrix pattern;
  Tensor wide, narrow;  // [entries, 1] in f64, in f32

  const Tensor& weights(DType operand) const { return operand == DType::f64 ? wide : narrow; }
};

/// A graph on one device, with the sparse matrices that networks multiply by: made when first asked
/// for and kept. A cheap handle. A is the 0/1 adjacency without self-loops, D its degrees; with
/// `self_loops`, A + I and its row sums take their places. No matrix stores values: normalisations
/// are factors of rows and columns, and the transpose of a symmetric graph's matrix is the matrix
/// with the factors exchanged. Rows of isolated nodes are 0.
class GraphOperators {
 public:
  /// adjacency: square, on the host; values and self-loops are ignored.
  GraphOperators(const CsrMatrix& adjacency, Device device);

  int64_t nodes() const;
  Device device() const;

  const autograd::SparseMatrix& pattern(bool self_loops) const;      // A
  const autograd::SparseMatrix& symmetric(bool self_loops) const;    // D^-1/2 A D^-1/2
  const autograd::SparseMatrix& random_walk(bool self_loops) const;  // D^-1 A
  /// Entries of D^-1/2 A D^-1/2 in the order of `pattern(false)`: [entries, 1], f64 or f32.
  Tensor symmetric_values(DType dtype) const;
  /// D2^-1/2 A2 D2^-1/2 for the graph A2 of the nodes two steps away that are no neighbours: (A^2 >
  /// 0) without A and I (Zhu et al. 2020, H2GCN).
  const autograd::SparseMatrix& two_hop() const;
  /// `structural_proximity` for radius 0 .. radii - 1.
  const std::vector<WeightedPattern>& structural(int64_t radii) const;

 private:
  struct Data;
  std::shared_ptr<Data> data_;
};

}  // namespace tessera::models
