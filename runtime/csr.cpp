#include "tessera/runtime/csr.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

namespace tessera {
namespace {

constexpr int64_t index_limit = std::numeric_limits<int32_t>::max();

void check_extents(std::string_view operation, int64_t rows, int64_t cols) {
  TS_CHECK(rows >= 0 && cols >= 0 && rows < index_limit && cols < index_limit, operation, ": ",
           rows, " x ", cols, " is not a size that 32-bit indices can address");
}

struct Pattern {
  std::vector<int32_t> row_ptr, col, permutation;
};

/// The transpose by counting: entries keep their order within a column, so columns come out rising.
Pattern transpose_pattern(int64_t rows, int64_t cols, std::span<const int32_t> row_ptr,
                          std::span<const int32_t> col) {
  Pattern t{std::vector<int32_t>(cols + 1), std::vector<int32_t>(col.size()),
            std::vector<int32_t>(col.size())};
  for (const int32_t c : col) ++t.row_ptr[c + 1];
  std::partial_sum(t.row_ptr.begin(), t.row_ptr.end(), t.row_ptr.begin());
  std::vector<int32_t> next(t.row_ptr.begin(), t.row_ptr.end() - 1);
  for (int64_t i = 0; i < rows; ++i) {
    for (int32_t e = row_ptr[i]; e < row_ptr[i + 1]; ++e) {
      const int32_t at = next[col[e]]++;
      t.col[at] = static_cast<int32_t>(i);
      t.permutation[at] = e;
    }
  }
  return t;
}

/// values[permutation[t]] for all t, on the host; whole entries are moved, whatever they hold.
Tensor permute_entries(const Tensor& values, std::span<const int32_t> permutation) {
  const Tensor from = values.to(Device::cpu()).clone();
  Tensor to = Tensor::empty(from.shape(), from.dtype(), Device::cpu());
  const size_t bytes = from.numel() == 0 ? 0 : from.numel() / from.size(0) * size_of(from.dtype());
  const auto* source = static_cast<const std::byte*>(from.data());
  auto* target = static_cast<std::byte*>(to.data());
  for (size_t t = 0; t < permutation.size() && bytes > 0; ++t)
    std::copy_n(source + permutation[t] * bytes, bytes, target + t * bytes);
  return to;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  const size_t bytes = a.numel() * size_of(a.dtype());
  return bytes == 0 || std::equal(static_cast<const std::byte*>(a.data()),
                                  static_cast<const std::byte*>(a.data()) + bytes,
                                  static_cast<const std::byte*>(b.data()));
}

/// True when the matrix equals its transpose. Rows are compared as the transpose has them, sorted
/// by column, so a matrix with unsorted rows goes through two transposes.
bool equals_transpose(int64_t n, std::span<const int32_t> row_ptr, std::span<const int32_t> col,
                      const Tensor& values) {
  const Pattern t = transpose_pattern(n, n, row_ptr, col);
  if (!std::equal(row_ptr.begin(), row_ptr.end(), t.row_ptr.begin())) return false;
  const Pattern sorted = transpose_pattern(n, n, t.row_ptr, t.col);
  if (sorted.col != t.col) return false;
  if (!values.defined()) return true;
  std::vector<int32_t> order(col.size());
  for (size_t e = 0; e < order.size(); ++e) order[e] = t.permutation[sorted.permutation[e]];
  return same_bytes(permute_entries(values, t.permutation), permute_entries(values, order));
}

void check_pattern(int64_t rows, int64_t cols, std::span<const int32_t> row_ptr,
                   std::span<const int32_t> col) {
  const auto nnz = static_cast<int64_t>(col.size());
  TS_CHECK(row_ptr[0] == 0, "csr: row_ptr[0] must be 0, got ", row_ptr[0]);
  for (int64_t i = 0; i < rows; ++i)
    TS_CHECK(row_ptr[i] <= row_ptr[i + 1], "csr: row_ptr falls from ", row_ptr[i], " to ",
             row_ptr[i + 1], " at row ", i);
  TS_CHECK(row_ptr[rows] == nnz, "csr: row_ptr ends with ", row_ptr[rows], " but there are ", nnz,
           " columns");
  for (int64_t e = 0; e < nnz; ++e)
    TS_CHECK(col[e] >= 0 && col[e] < cols, "csr: entry ", e, " has column ", col[e],
             ", outside [0, ", cols, ")");
}

void check_values(const Tensor& values, int64_t nnz, Device device) {
  TS_CHECK(is_float(values.dtype()), "csr: values must be floating, got ", values.dtype());
  TS_CHECK((values.rank() == 1 || values.rank() == 2) && values.size(0) == nnz,
           "csr: values must be [", nnz, "] or [", nnz, ", heads], got ", values.shape());
  TS_CHECK(values.device() == device, "csr: values are on ", values.device(), ", indices on ",
           device);
}

}  // namespace

CsrMatrix CsrMatrix::from_parts(int64_t rows, int64_t cols, const Tensor& row_ptr,
                                const Tensor& col, const Tensor& values) {
  check_extents("csr", rows, cols);
  TS_CHECK(row_ptr.defined() && row_ptr.dtype() == DType::i32 && row_ptr.shape() == Shape{rows + 1},
           "csr: row_ptr must be i32 [", rows + 1, "], got ", to_string(row_ptr));
  TS_CHECK(
      col.defined() && col.dtype() == DType::i32 && col.rank() == 1 && col.numel() < index_limit,
      "csr: col must be i32 of rank 1, got ", to_string(col));
  TS_CHECK(row_ptr.device() == col.device(), "csr: row_ptr is on ", row_ptr.device(), ", col on ",
           col.device());
  if (values.defined()) check_values(values, col.numel(), col.device());

  CsrMatrix matrix{rows, cols, row_ptr.contiguous() ? row_ptr : row_ptr.clone(),
                   col.contiguous() ? col : col.clone(),
                   !values.defined() || values.contiguous() ? values : values.clone()};
  const Tensor host_row_ptr = matrix.row_ptr.to(Device::cpu()),
               host_col = matrix.col.to(Device::cpu());
  const auto pointers = host_row_ptr.host<int32_t>(), columns = host_col.host<int32_t>();
  check_pattern(rows, cols, pointers, columns);
  matrix.symmetric = rows == cols && equals_transpose(rows, pointers, columns, matrix.values);
  return matrix;
}

CsrMatrix CsrMatrix::from_edges(int64_t rows, int64_t cols, std::span<const int64_t> row,
                                std::span<const int64_t> col, std::span<const float> values,
                                const EdgeOptions& options) {
  using Duplicates = EdgeOptions::Duplicates;
  using SelfLoops = EdgeOptions::SelfLoops;
  check_extents("from_edges", rows, cols);
  TS_CHECK(row.size() == col.size(), "from_edges: ", row.size(), " rows but ", col.size(),
           " columns");
  TS_CHECK(values.empty() || values.size() == row.size(), "from_edges: ", values.size(),
           " values for ", row.size(), " edges");
  TS_CHECK(rows == cols || (!options.symmetrize && options.self_loops == SelfLoops::keep),
           "from_edges: self loops and symmetry need a square matrix, got ", rows, " x ", cols);
  TS_CHECK(static_cast<int64_t>(2 * row.size()) + rows < index_limit, "from_edges: ", row.size(),
           " edges are more than 32-bit indices can address");

  struct Entry {
    int32_t row, col, edge;  // edge: its number in the input, or -1 for an added self loop
  };
  std::vector<Entry> entries;
  entries.reserve(row.size() * (options.symmetrize ? 2 : 1) + static_cast<size_t>(rows));
  for (size_t k = 0; k < row.size(); ++k) {
    TS_CHECK(row[k] >= 0 && row[k] < rows, "from_edges: edge ", k, " has row ", row[k],
             ", outside [0, ", rows, ")");
    TS_CHECK(col[k] >= 0 && col[k] < cols, "from_edges: edge ", k, " has column ", col[k],
             ", outside [0, ", cols, ")");
    const auto i = static_cast<int32_t>(row[k]), j = static_cast<int32_t>(col[k]);
    const auto edge = static_cast<int32_t>(k);
    if (i == j && options.self_loops == SelfLoops::remove) continue;
    entries.push_back({i, j, edge});
    if (options.symmetrize && i != j) entries.push_back({j, i, edge});
  }
  if (options.self_loops == SelfLoops::add) {
    std::vector<bool> has_loop(rows);
    for (const Entry& e : entries)
      if (e.row == e.col) has_loop[e.row] = true;
    for (int32_t i = 0; i < rows; ++i)
      if (!has_loop[i]) entries.push_back({i, i, -1});
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.row != b.row ? a.row < b.row : a.col < b.col;
  });

  std::vector<int32_t> row_ptr(rows + 1), columns;
  std::vector<float> sums;
  columns.reserve(entries.size());
  sums.reserve(values.empty() ? 0 : entries.size());
  const Entry* previous = nullptr;
  for (const Entry& e : entries) {
    const float value = values.empty() || e.edge < 0 ? 1.0f : values[e.edge];
    const bool duplicate = previous && previous->row == e.row && previous->col == e.col;
    previous = &e;
    if (duplicate && options.duplicates != Duplicates::keep) {
      TS_CHECK(options.duplicates == Duplicates::merge, "from_edges: edge ", e.edge, " repeats (",
               e.row, ", ", e.col, ")");
      if (!values.empty()) sums.back() += value;
      continue;
    }
    ++row_ptr[e.row + 1];
    columns.push_back(e.col);
    if (!values.empty()) sums.push_back(value);
  }
  std::partial_sum(row_ptr.begin(), row_ptr.end(), row_ptr.begin());

  const auto nnz = static_cast<int64_t>(columns.size());
  return from_parts(rows, cols, Tensor::from(row_ptr, {rows + 1}, Device::cpu()),
                    Tensor::from(columns, {nnz}, Device::cpu()),
                    values.empty() ? Tensor() : Tensor::from(sums, {nnz}, Device::cpu()));
}

CsrMatrix CsrMatrix::to(Device device) const {
  CsrMatrix moved = *this;
  moved.row_ptr = row_ptr.to(device);
  moved.col = col.to(device);
  if (values.defined()) moved.values = values.to(device);
  return moved;
}

CsrMatrix CsrMatrix::with_values(const Tensor& new_values) const {
  if (new_values.defined()) check_values(new_values, nnz(), device());
  CsrMatrix changed = *this;
  changed.values =
      !new_values.defined() || new_values.contiguous() ? new_values : new_values.clone();
  changed.symmetric = false;
  return changed;
}

CsrTranspose CsrMatrix::transpose() const {
  const Tensor host_row_ptr = row_ptr.to(Device::cpu()), host_col = col.to(Device::cpu());
  const Pattern t =
      transpose_pattern(rows, cols, host_row_ptr.host<int32_t>(), host_col.host<int32_t>());
  CsrTranspose result;
  result.matrix = {
      cols,
      rows,
      Tensor::from(t.row_ptr, {cols + 1}, device()),
      Tensor::from(t.col, {nnz()}, device()),
      values.defined() ? permute_entries(values, t.permutation).to(device()) : Tensor(),
      symmetric};
  result.permutation = Tensor::from(t.permutation, {nnz()}, device());
  return result;
}

std::string to_string(const CsrMatrix& matrix) {
  return concat("csr ", matrix.rows, " x ", matrix.cols, ", ", matrix.nnz(), " entries",
                matrix.values.defined() ? concat(" of ", matrix.values.dtype()) : std::string(),
                " on ", matrix.device());
}

}  // namespace tessera
