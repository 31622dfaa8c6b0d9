#pragma once

#include "tessera/kernels/spmm.hpp"
#include "tessera/tests/support/values.hpp"

namespace tessera::test {

/// A matrix on the device `simt` whose rows have `degree` entries each, at columns that are 31
/// apart; so have its columns where `nodes` is a power of two.
struct RegularGraph {
  int64_t nodes, degree;
  Tensor row_ptr, col, values;

  explicit RegularGraph(int64_t n, int64_t d = 8) : nodes(n), degree(d) {
    std::vector<int32_t> starts{0}, columns;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t e = 0; e < d; ++e) columns.push_back(static_cast<int32_t>((i * 7 + e * 31) % n));
      starts.push_back(static_cast<int32_t>(columns.size()));
    }
    row_ptr = Tensor::from(starts, {n + 1}, Device::simt());
    col = Tensor::from(columns, {d * n}, Device::simt());
    values = uniform({d * n}, DType::f32, 1).to(Device::simt());
  }
  int64_t nnz() const { return nodes * degree; }
  kernels::CsrView view() const { return view(row_ptr, col); }
  /// The same sizes, another pattern.
  kernels::CsrView view(const Tensor& starts, const Tensor& columns) const {
    return {nodes,
            nodes,
            nnz(),
            starts.view().as<const int32_t>(),
            columns.view().as<const int32_t>(),
            values.view()};
  }
};

}  // namespace tessera::test
