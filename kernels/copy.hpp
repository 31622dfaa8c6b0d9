#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

namespace tessera::kernels {

struct CopyKernels {
  /// y = x converted to y's dtype; equal shapes, any strides (0 in x broadcasts), no overlap.
  /// Floating to half rounds to nearest even; floating to integer truncates towards zero,
  /// saturates, and maps NaN to 0; integer to integer keeps the low bits; anything to bool is x !=
  /// 0.
  void (*copy)(Stream&, View x, View y);
  /// y = value in every element, converted to y's dtype.
  void (*fill)(Stream&, double value, View y);
};

inline void copy(Stream& s, View x, View y) {
  call("copy", s.device(), &Backend::copy, &CopyKernels::copy, s, x, y);
}
inline void fill(Stream& s, double value, View y) {
  call("fill", s.device(), &Backend::copy, &CopyKernels::fill, s, value, y);
}

}  // namespace tessera::kernels
