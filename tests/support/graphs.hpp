#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/csr.hpp"
#include "tessera/tests/support/values.hpp"

/// Sparse patterns that kernels find hard, and their views.
namespace tessera::test {

struct Graph {
  std::string name;
  CsrMatrix matrix;  // no values, rows in the order of the edges' columns, on the host
};

inline kernels::CsrView view(const CsrMatrix& m) {
  return {m.rows,
          m.cols,
          m.nnz(),
          static_cast<const int32_t*>(m.row_ptr.data()),
          static_cast<const int32_t*>(m.col.data()),
          view_or_none(m.values)};
}

/// `entries` entries whose columns are uniform; rows uniform, or with skew > 1 towards the first
/// rows.
inline CsrMatrix random_pattern(int64_t rows, int64_t cols, int64_t entries, double skew,
                                uint64_t seed) {
  Numbers next(seed);
  std::vector<int64_t> row, col;
  for (int64_t k = 0; k < entries; ++k) {
    row.push_back(
        static_cast<int64_t>(static_cast<double>(rows) * std::pow(next() * 0x1p-32, skew)));
    col.push_back(static_cast<int64_t>(next() % static_cast<uint64_t>(cols)));
  }
  return CsrMatrix::from_edges(rows, cols, row, col, {.duplicates = EdgeOptions::Duplicates::keep});
}

inline std::vector<Graph> hard_graphs() {
  std::vector<int64_t> hub, leaf;
  for (int64_t k = 0; k < 5000; ++k) hub.push_back(7), leaf.push_back(k % 61);
  const EdgeOptions keep{.duplicates = EdgeOptions::Duplicates::keep};
  return {
      {"uniform", random_pattern(300, 200, 2400, 1, 1)},
      {"power law", random_pattern(500, 80, 9000, 6, 2)},
      {"mostly empty rows", random_pattern(2000, 50, 40, 1, 3)},
      {"star: one long row", CsrMatrix::from_edges(20, 61, hub, leaf, keep)},
      {"star: one popular column", CsrMatrix::from_edges(61, 20, leaf, hub, keep)},
      {"one entry", CsrMatrix::from_edges(1, 1, std::vector<int64_t>{0}, std::vector<int64_t>{0})},
      {"no entries", CsrMatrix::from_edges(5, 4, {}, {})},
      {"no rows", CsrMatrix::from_edges(0, 4, {}, {})},
  };
}

/// The row of each entry.
inline std::vector<int64_t> entry_rows(const CsrMatrix& m) {
  const auto row_ptr = m.row_ptr.host<int32_t>();
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < m.rows; ++i) rows.insert(rows.end(), row_ptr[i + 1] - row_ptr[i], i);
  return rows;
}

}  // namespace tessera::test
