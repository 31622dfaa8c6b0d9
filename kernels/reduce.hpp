#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

namespace tessera::kernels {

enum class ReduceOp : uint8_t {
  sum,
  mean,
  product,
  maximum,
  minimum,
  sum_of_squares,
  sum_of_abs,
  any,
  all
};

/// Reductions over the axes where y's extent is 1 and x's is not (x and y have equal rank). x: any
/// strides; y: contiguous, x's dtype (bool for any / all). Halves sum in float, float in blocks of
/// fixed size, so the bits do not depend on the thread count. An empty sum is 0, product 1, mean
/// NaN; empty maximum and minimum throw. NaN propagates through maximum and minimum.
struct ReduceKernels {
  void (*reduce)(Stream&, ReduceOp, View x, View y);
  /// index (i64, one axis reduced) of the largest / smallest element along `axis`; ties take the
  /// first, NaN counts as the extreme. y: x's shape with extent 1 at `axis`, contiguous.
  void (*argmax)(Stream&, View x, int axis, View y);
  void (*argmin)(Stream&, View x, int axis, View y);
  /// y (f64, one element) = sum of x0 * x1, accumulated in f64 for f64 and in fixed float blocks
  /// summed in f64 otherwise; x0, x1: equal shapes, contiguous, one floating dtype.
  void (*dot)(Stream&, View x0, View x1, View y);
  /// Inclusive running sum along `axis`; any strides in x, y contiguous, same dtype.
  void (*cumulative_sum)(Stream&, View x, int axis, View y);
};

inline void reduce(Stream& s, ReduceOp op, View x, View y) {
  call("reduce", s.device(), &Backend::reduce, &ReduceKernels::reduce, s, op, x, y);
}
inline void argmax(Stream& s, View x, int axis, View y) {
  call("argmax", s.device(), &Backend::reduce, &ReduceKernels::argmax, s, x, axis, y);
}
inline void argmin(Stream& s, View x, int axis, View y) {
  call("argmin", s.device(), &Backend::reduce, &ReduceKernels::argmin, s, x, axis, y);
}
inline void dot(Stream& s, View x0, View x1, View y) {
  call("dot", s.device(), &Backend::reduce, &ReduceKernels::dot, s, x0, x1, y);
}
inline void cumulative_sum(Stream& s, View x, int axis, View y) {
  call("cumulative_sum", s.device(), &Backend::reduce, &ReduceKernels::cumulative_sum, s, x, axis,
       y);
}

}  // namespace tessera::kernels
