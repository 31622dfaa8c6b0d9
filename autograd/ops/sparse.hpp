#pragma once

#include "tessera/autograd/op.hpp"

namespace tessera {
struct CsrMatrix;
}

namespace tessera::autograd {

/// A constant sparse matrix [rows, columns] with what derivatives need: the transpose, and where each of
/// its entries lies in the matrix. A cheap handle; made once, before training. Its entries keep the order
/// of the CsrMatrix it was made from; per-entry Vars ("edge values") are in that order.
class SparseMatrix {
 public:
  /// Computes the transpose.
  explicit SparseMatrix(CsrMatrix matrix);

  int64_t rows() const;
  int64_t columns() const;
  int64_t entries() const;
  Device device() const;
  const CsrMatrix& matrix() const;
  const CsrMatrix& transpose() const;
  /// i32 [entries]: entry i of the transpose is entry permutation[i] of the matrix.
  const Tensor& permutation() const;
  /// The same pattern seen from the other side.
  SparseMatrix transposed() const;

  struct Data;

 private:
  explicit SparseMatrix(std::shared_ptr<const Data> data, bool flipped);
  std::shared_ptr<const Data> data_;
  bool flipped_ = false;
};

/// A x with the matrix's own values: x [columns, width] -> [rows, width].
Var spmm(const SparseMatrix& a, const Var& x);
/// A x with given values [entries], which are differentiated too.
Var spmm(const SparseMatrix& pattern, const Var& values, const Var& x);
/// One number per entry (i, j) of the pattern: the inner product of a[i, :] and b[j, :]. a [rows, width],
/// b [columns, width] -> [entries].
Var sddmm(const SparseMatrix& pattern, const Var& a, const Var& b);
/// Softmax of the scores [entries] or [entries, heads] over the entries of each row.
Var edge_softmax(const SparseMatrix& pattern, const Var& scores);

/// Sum, mean and maximum of the rows of x [n, width] that belong to each segment: `offsets` (i32, [segments
/// + 1], ascending from 0 to n) says where each begins. Empty segments give 0.
Var segment_sum(const Var& x, const Tensor& offsets);
Var segment_mean(const Var& x, const Tensor& offsets);
Var segment_max(const Var& x, const Tensor& offsets);

}  // namespace tessera::autograd
