#pragma once

#include <algorithm>

#include "tessera/kernels/functors.hpp"

/// The operands of copies and elementwise kernels, as every device sees them.
namespace tessera::kernels {

inline void check_copy(const View& x, const View& y) {
  TS_CHECK(x.dims() == y.dims(), "copy: from shape ", x.dims(), " to ", y.dims());
}

inline void check_operand_shape(const char* operation, const View& x, const View& y) {
  TS_CHECK(x.rank == y.rank && std::equal(x.shape, x.shape + x.rank, y.shape), operation,
           ": operand of shape ", x.dims(), " for an output of shape ", y.dims());
}

template <class Op>
void check_taken(const char* kind, Op op, DType dtype) {
  const bool taken =
      for_computed(dtype, kind, [&]<class S>() { return functors::accepts<compute_t<S>>(op); });
  if (!taken) unsupported_dtype(concat(kind, " op ", static_cast<int>(op)), dtype);
}

inline void check_unary(UnaryOp op, const View& x, const View& y) {
  check_operand_shape("unary", x, y);
  TS_CHECK(y.dtype == (functors::gives_bool(op) ? DType::bool_ : x.dtype), "unary: output ",
           y.dtype, " for an operand ", x.dtype);
  check_taken("unary", op, x.dtype);
}

inline void check_binary(BinaryOp op, const View& x0, const View& x1, const View& y) {
  check_operand_shape("binary", x0, y);
  check_operand_shape("binary", x1, y);
  TS_CHECK(x0.dtype == x1.dtype, "binary: operands ", x0.dtype, " and ", x1.dtype);
  TS_CHECK(y.dtype == (functors::gives_bool(op) ? DType::bool_ : x0.dtype), "binary: output ",
           y.dtype, " for operands ", x0.dtype);
  check_taken("binary", op, x0.dtype);
}

inline void check_select(const View& condition, const View& a, const View& b, const View& y) {
  for (const View* x : {&condition, &a, &b}) check_operand_shape("select", *x, y);
  TS_CHECK(condition.dtype == DType::bool_, "select: condition must be bool, is ", condition.dtype);
  TS_CHECK(a.dtype == y.dtype && b.dtype == y.dtype, "select: operands ", a.dtype, " and ", b.dtype,
           " for an output ", y.dtype);
}

inline void check_axpby(const View& x, const View& y) {
  check_operand_shape("axpby", x, y);
  TS_CHECK(x.dtype == y.dtype, "axpby: x is ", x.dtype, ", y is ", y.dtype);
  if (!is_float(y.dtype)) unsupported_dtype("axpby", y.dtype);
}

}  // namespace tessera::kernels
