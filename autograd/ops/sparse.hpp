#pragma once

#include "tessera/autograd/op.hpp"
#include "tessera/runtime/csr.hpp"

namespace tessera::autograd {

/// A constant sparse matrix [rows, columns] with what derivatives need, made when first asked for
/// and kept: its transpose, and where each entry of that lies in the matrix. A cheap handle.
/// Per-entry Vars ("edge values") are in the order of its entries, [entries] or [entries, heads].
class SparseMatrix {
 public:
  explicit SparseMatrix(CsrMatrix matrix);

  const CsrMatrix& matrix() const;
  int64_t rows() const { return matrix().rows; }
  int64_t columns() const { return matrix().cols; }
  int64_t entries() const { return matrix().nnz(); }
  Device device() const { return matrix().device(); }

  /// The transpose, sharing everything with this one. Of a matrix that says it is symmetric, itself
  /// where only its own values matter.
  SparseMatrix transposed() const;
  /// i32 [entries]: entry i of the transpose is entry permutation()[i] of this matrix.
  const Tensor& permutation() const;

  /// diag(rows) A diag(columns) for a matrix A without stored values, of which nothing is stored
  /// either: products scale what they gather and what they write. rows [rows], columns [columns],
  /// f64; undefined ones are ones. Shares everything else with A.
  SparseMatrix scaled(const Tensor& rows, const Tensor& columns) const;
  bool has_scales() const { return row_scale_.defined() || column_scale_.defined(); }
  /// The factors in f64 for f64 operands, else in f32; undefined without.
  Tensor row_scale(DType operand) const { return row_scale_.of(operand); }
  Tensor column_scale(DType operand) const { return column_scale_.of(operand); }
  /// Whether entries and factors are those of the transpose.
  bool symmetric() const;

 private:
  struct Data;
  struct Scale {
    Tensor wide, narrow;  // f64, f32
    bool defined() const { return wide.defined(); }
    Tensor of(DType operand) const { return operand == DType::f64 ? wide : narrow; }
  };
  explicit SparseMatrix(std::shared_ptr<Data> data) : data_(std::move(data)) {}
  friend SparseMatrix exchanged_scales(const SparseMatrix& a);

  std::shared_ptr<Data> data_;
  bool flipped_ = false;
  Scale row_scale_, column_scale_;
};

/// Dense operands are [n, width], or [n, heads, width] with one set of entry values per head.

/// A x with the matrix's own values, or ones.
Var spmm(const SparseMatrix& a, const Var& x);
/// A x with given entry values, which are differentiated too.
Var spmm(const SparseMatrix& pattern, const Var& values, const Var& x);
/// One number per entry (i, j) (and head): the inner product of a[i] and b[j]; a [rows, ...], b
/// [columns, ...].
Var sddmm(const SparseMatrix& pattern, const Var& a, const Var& b);
/// a[i] + b[j] for every entry (i, j); a [rows] or [rows, heads], b [columns] or [columns, heads].
Var edge_add(const SparseMatrix& pattern, const Var& a, const Var& b);
/// Softmax of entry values over each row, per head.
Var edge_softmax(const SparseMatrix& pattern, const Var& scores);
/// y[i, j] = the largest x[c, j] over the columns c of row i's entries, 0 in a row without entries;
/// the first of equal ones takes the gradient. x [columns, width].
Var aggregate_max(const SparseMatrix& pattern, const Var& x);

/// Sum, mean and maximum of the rows of x [n, width] that belong to each segment: `offsets` (i32 or
/// i64, [segments + 1], ascending from 0 to n) says where each begins. Empty segments give 0.
Var segment_sum(const Var& x, const Tensor& offsets);
Var segment_mean(const Var& x, const Tensor& offsets);
Var segment_max(const Var& x, const Tensor& offsets);
/// The transpose of segment_sum: row s of x [segments, width] for every row of segment s; `rows` =
/// n.
Var segment_expand(const Var& x, const Tensor& offsets, int64_t rows);

}  // namespace tessera::autograd
