#pragma once

#include <span>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

struct CsrTranspose;

/// What CsrMatrix::from_edges does with edges that are not plain.
struct EdgeOptions {
  enum class Duplicates : uint8_t {
    merge,
    keep,
    reject
  };                                                     // merge adds values, or keeps one if none
  enum class SelfLoops : uint8_t { keep, remove, add };  // add: value 1 where (i, i) is missing
  Duplicates duplicates = Duplicates::merge;
  SelfLoops self_loops = SelfLoops::keep;
  bool symmetrize = false;  // every edge (i, j), i != j, also as (j, i), before duplicates
};

/// A sparse matrix in compressed rows, of plain tensors on one device. The entries of row i are
/// row_ptr[i] .. row_ptr[i + 1), in any order; entry e has column col[e] and value values[e]. Made
/// by `from_parts` or `from_edges`, which check it, so that kernels can trust the indices.
struct CsrMatrix {
  int64_t rows = 0, cols = 0;
  Tensor row_ptr;  // i32 [rows + 1], rising from 0 to nnz
  Tensor col;      // i32 [nnz], in [0, cols)
  Tensor values;   // undefined (every entry is 1), or [nnz] or [nnz, heads], any floating dtype
  bool symmetric = false;  // equals its transpose, values included

  /// Takes tensors as they are. Throws, naming the row, entry and value at fault, unless all of the
  /// above holds; tensors on another device are fetched to the host for the check.
  static CsrMatrix from_parts(int64_t rows, int64_t cols, const Tensor& row_ptr, const Tensor& col,
                              const Tensor& values = {});

  /// From `row.size()` edges in any order, on the host: edge k is the entry (row[k], col[k]) with
  /// value values[k] (f32; or no values at all). Rows come out sorted by column, equal ones in the
  /// order of edges; rows without entries are fine. Throws, naming edge number and value, on
  /// indices out of range and on duplicates when they are to be rejected.
  static CsrMatrix from_edges(int64_t rows, int64_t cols, std::span<const int64_t> row,
                              std::span<const int64_t> col, std::span<const float> values,
                              const EdgeOptions& options);
  static CsrMatrix from_edges(int64_t rows, int64_t cols, std::span<const int64_t> row,
                              std::span<const int64_t> col, const EdgeOptions& options = {}) {
    return from_edges(rows, cols, row, col, {}, options);
  }

  int64_t nnz() const { return col.numel(); }
  Device device() const { return col.device(); }
  CsrMatrix to(Device device) const;
  CsrMatrix with_values(const Tensor& new_values) const;  // same pattern; clears `symmetric`
  /// Rows of the result are sorted by column. Works on the host.
  CsrTranspose transpose() const;
};

struct CsrTranspose {
  CsrMatrix matrix;
  Tensor
      permutation;  // i32 [nnz]: entry t of the transpose is entry permutation[t] of the original
};

/// "csr 2708 x 2708, 13264 entries of f32 on cpu"
std::string to_string(const CsrMatrix& matrix);

}  // namespace tessera
