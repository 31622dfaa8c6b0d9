#pragma once

#include <algorithm>
#include <string_view>

#include "tessera/kernels/indexing.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/host_device.hpp"

/// Operands of the indexing family, checked against the contract of the family's header (all but
/// the values of indices); errors name the operation, shapes and dtypes.
namespace tessera::kernels {

inline void check_index_vector(std::string_view operation, const View& index, int64_t count) {
  TS_CHECK(index.rank == 1 && index.shape[0] == count && index.contiguous(), operation,
           ": index must be contiguous [", count, "], got ", index.dims());
}
inline void check_rows(std::string_view operation, std::string_view name, const View& x) {
  TS_CHECK(x.rank == 2 && (x.stride[1] == 1 || x.shape[1] <= 1 || x.numel() == 0), operation, ": ",
           name, " must be [n, width] with contiguous rows, got ", x.dims());
}

inline void check_gather(const View& x, const View& index, const View& y) {
  check_rows("gather", "x", x);
  check_rows("gather", "y", y);
  check_index_vector("gather", index, y.shape[0]);
  TS_CHECK(x.shape[1] == y.shape[1] && x.dtype == y.dtype, "gather: x ", x.dtype, " ", x.dims(),
           " does not give y ", y.dtype, " ", y.dims());
}
inline void check_scatter_add(const View& x, const View& index, const View& y) {
  check_rows("scatter_add", "x", x);
  check_rows("scatter_add", "y", y);
  check_index_vector("scatter_add", index, x.shape[0]);
  TS_CHECK(x.shape[1] == y.shape[1] && x.dtype == y.dtype, "scatter_add: x ", x.dtype, " ",
           x.dims(), " cannot be added to rows of y ", y.dtype, " ", y.dims());
  TS_CHECK(x.shape[0] < INT32_MAX, "scatter_add: ", x.shape[0],
           " rows are more than 32-bit indices can address");
}

/// Operands of the functions along an axis as [outer, extent, inner]: `chosen` is the extent of the
/// axis in index, `full` in the operand that index points into.
struct Along {
  int64_t outer, chosen, full, inner;

  TS_HD int64_t count() const { return outer * chosen * inner; }
  TS_HD int64_t elements() const { return outer * full * inner; }
  /// The element of the indexed operand that position `k` of index means when it holds `at`.
  TS_HD int64_t position(int64_t k, int64_t at) const {
    return (k / (chosen * inner) * full + at) * inner + k % inner;
  }
};
inline Along check_along(std::string_view operation, const View& full_operand, int axis,
                         const View& index, const View& chosen_operand) {
  TS_CHECK(axis >= 0 && axis < index.rank && full_operand.rank == index.rank, operation, ": axis ",
           axis, " of ", full_operand.dims(), " by index ", index.dims());
  Shape expected = index.dims();
  expected[axis] = full_operand.shape[axis];
  TS_CHECK(full_operand.dims() == expected && chosen_operand.dims() == index.dims(), operation,
           ": operands ", full_operand.dims(), " and ", chosen_operand.dims(),
           " do not go with index ", index.dims(), " along axis ", axis);
  TS_CHECK(full_operand.dtype == chosen_operand.dtype, operation, ": dtypes ", full_operand.dtype,
           " and ", chosen_operand.dtype, " differ");
  TS_CHECK(full_operand.contiguous() && index.contiguous() && chosen_operand.contiguous(),
           operation, ": operands must be contiguous");
  Along along{1, index.shape[axis], full_operand.shape[axis], 1};
  for (int i = 0; i < axis; ++i) along.outer *= index.shape[i];
  for (int i = axis + 1; i < index.rank; ++i) along.inner *= index.shape[i];
  return along;
}

inline void check_one_hot(const View& index, const View& y) {
  TS_CHECK(y.rank == index.rank + 1 && y.contiguous() && index.contiguous() &&
               std::equal(index.shape, index.shape + index.rank, y.shape),
           "one_hot: index ", index.dims(), " does not give y ", y.dims());
}
inline void check_top_k(const View& x, const View& values, const View& index) {
  TS_CHECK(x.rank >= 1 && values.rank == x.rank && values.dims() == index.dims() &&
               std::equal(x.shape, x.shape + x.rank - 1, values.shape),
           "top_k: x ", x.dims(), " does not give values ", values.dims(), " and index ",
           index.dims());
  const int64_t n = x.shape[x.rank - 1], k = values.shape[x.rank - 1];
  TS_CHECK(k <= n, "top_k: ", k, " of ", n, " elements");
  TS_CHECK(x.dtype == values.dtype && index.dtype == DType::i64, "top_k: values are ", values.dtype,
           " and index ", index.dtype, ", expected ", x.dtype, " and i64");
  TS_CHECK(x.contiguous() && values.contiguous() && index.contiguous(),
           "top_k: operands must be contiguous");
}
inline void check_nonzero(const View& mask, const View& index, const View& count) {
  TS_CHECK(mask.dtype == DType::bool_ && mask.rank == 1 && mask.contiguous(),
           "nonzero: mask must be contiguous bool [n], got ", mask.dtype, " ", mask.dims());
  TS_CHECK(index.dtype == DType::i64 && index.dims() == mask.dims() && index.contiguous() &&
               count.dtype == DType::i64 && count.numel() == 1,
           "nonzero: index must be i64 ", mask.dims(), " and count one i64");
}

}  // namespace tessera::kernels
