#pragma once

#include <limits>

#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/reduce.hpp"

/// What reductions do with an element, and what they ask of their operands, on every device.
namespace tessera::kernels {

/// What enters of an element, how two partial results become one, and what changes nothing.
template <ReduceOp op>
struct Reducer {
  static constexpr bool logical = op == ReduceOp::any || op == ReduceOp::all;  // of bytes 0 and 1
  static constexpr bool sums =
      op != ReduceOp::product && op != ReduceOp::maximum && op != ReduceOp::minimum && !logical;

  template <class V>
  TS_HD static V term(V x) {
    if constexpr (op == ReduceOp::sum_of_squares) return functors::multiply(x, x);
    if constexpr (op == ReduceOp::sum_of_abs) return functors::absolute(x);
    return x;
  }
  template <class V>
  TS_HD static V combine(V a, V b) {
    if constexpr (op == ReduceOp::product) return functors::multiply(a, b);
    if constexpr (op == ReduceOp::maximum || op == ReduceOp::any) return functors::maximum(a, b);
    if constexpr (op == ReduceOp::minimum || op == ReduceOp::all) return functors::minimum(a, b);
    if constexpr (sums) return functors::add(a, b);
  }
  template <class T>
  TS_HD static constexpr T identity() {
    using Limits = std::numeric_limits<T>;
    if constexpr (op == ReduceOp::product || op == ReduceOp::all) return 1;
    if constexpr (op == ReduceOp::maximum)
      return Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    if constexpr (op == ReduceOp::minimum)
      return Limits::has_infinity ? Limits::infinity() : Limits::max();
    return 0;
  }
};

inline void check_reduce(ReduceOp op, const View& x, const View& y) {
  TS_CHECK(x.rank == y.rank, "reduce: from shape ", x.dims(), " to ", y.dims());
  for (int d = 0; d < x.rank; ++d)
    TS_CHECK(y.shape[d] == x.shape[d] || y.shape[d] == 1, "reduce: from shape ", x.dims(), " to ",
             y.dims());
  TS_CHECK(y.contiguous(), "reduce: the output must be contiguous");
  TS_CHECK(x.dtype == y.dtype, "reduce: from ", x.dtype, " to ", y.dtype);
  if (op == ReduceOp::any || op == ReduceOp::all) {
    TS_CHECK(x.dtype == DType::bool_, "reduce: any and all need bool, got ", x.dtype);
    return;
  }
  if (x.dtype == DType::bool_ || (op == ReduceOp::mean && !is_float(x.dtype)))
    unsupported_dtype(op == ReduceOp::mean ? "mean" : "reduce", x.dtype);
  const bool has_result =
      x.numel() > 0 || y.numel() == 0 || (op != ReduceOp::maximum && op != ReduceOp::minimum);
  TS_CHECK(has_result, "reduce: the ", op == ReduceOp::maximum ? "maximum" : "minimum",
           " of no elements, shape ", x.dims());
}

inline void check_arg_extreme(const char* operation, const View& x, int axis, const View& y) {
  TS_CHECK(axis >= 0 && axis < x.rank, operation, ": axis ", axis, " of shape ", x.dims());
  Shape expected = x.dims();
  expected[axis] = 1;
  TS_CHECK(y.dims() == expected && y.contiguous() && y.dtype == DType::i64, operation, " of shape ",
           x.dims(), " along axis ", axis, ": output ", y.dtype, " ", y.dims(),
           ", expected contiguous i64 ", expected);
  TS_CHECK(x.shape[axis] > 0 || y.numel() == 0, operation, ": no elements along axis ", axis,
           " of shape ", x.dims());
}

inline void check_dot(const View& x0, const View& x1, const View& y) {
  TS_CHECK(x0.dims() == x1.dims() && x0.dtype == x1.dtype, "dot: operands ", x0.dtype, " ",
           x0.dims(), " and ", x1.dtype, " ", x1.dims());
  TS_CHECK(x0.contiguous() && x1.contiguous(), "dot: operands must be contiguous");
  TS_CHECK(y.dtype == DType::f64 && y.numel() == 1, "dot: the result must be one f64, is ", y.dtype,
           " ", y.dims());
  if (!is_float(x0.dtype)) unsupported_dtype("dot", x0.dtype);
}

inline void check_cumulative_sum(const View& x, int axis, const View& y) {
  TS_CHECK(axis >= 0 && axis < x.rank, "cumulative_sum: axis ", axis, " of shape ", x.dims());
  TS_CHECK(x.dims() == y.dims() && x.dtype == y.dtype && y.contiguous(), "cumulative_sum: from ",
           x.dtype, " ", x.dims(), " to ", y.dtype, " ", y.dims(),
           ", which must be equal, and contiguous");
  if (x.dtype == DType::bool_) unsupported_dtype("cumulative_sum", x.dtype);
}

}  // namespace tessera::kernels
