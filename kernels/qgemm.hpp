#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Products with quantised operands. Both operands are contiguous along k, as a layer stores its
/// weight: a [m, k], b [n, k] -> [m, n].
namespace tessera::kernels {

/// What kernels see of a QuantizedTensor of shape [rows, k]: value = (code - zero) * scale.
struct QuantizedView {
  View codes;  // i8 or u8 [rows, k]; or u8 [rows, k / 2] of two 4-bit codes where `packed`
  View scale, zero = {};  // f32 [1 or rows, 1 or k / group]; an absent zero is 0
  bool packed = false;
  bool is_signed = true;  // of packed codes; others say it by their dtype
};

struct QgemmParams {
  View bias = {};  // absent, or n values in y's dtype, contiguous
  Activation activation = Activation::none;
};

struct QgemmKernels {
  /// c (i32 [m, n], contiguous) = sum over k of a[i, k] b[j, k], exact. a: i8 or u8; b: i8; rows
  /// may be further apart than k. k <= 65536, which keeps every sum within 32 bits.
  void (*qgemm)(Stream&, View a, View b, View c);
  /// y = activation(scale_a[i] scale_b[j] * sum (a[i, k] - zero_a[i]) (b[j, k] - zero_b[j]) +
  /// bias[j]), the sum exact. One scale per tensor or per row on each side, zeros whole numbers; a:
  /// i8 or u8, b: i8 codes, not packed. y: f32, f16 or bf16, contiguous.
  void (*qgemm_scaled)(Stream&, QuantizedView a, QuantizedView b, View y, const QgemmParams&);
  /// y = activation(x w' + bias) with w the values of a quantised weight: i8, u8 or packed codes,
  /// scales per tensor, row or group (even, and a multiple of 8 where packed). x [m, k], y [m, n]:
  /// f32, f16 or bf16, contiguous; sums in f32.
  void (*weight_only)(Stream&, View x, QuantizedView w, View y, const QgemmParams&);
};

inline void qgemm(Stream& s, View a, View b, View c) {
  call("qgemm", s.device(), &Backend::qgemm, &QgemmKernels::qgemm, s, a, b, c);
}
inline void qgemm_scaled(Stream& s, const QuantizedView& a, const QuantizedView& b, View y,
                         const QgemmParams& p = {}) {
  call("qgemm_scaled", s.device(), &Backend::qgemm, &QgemmKernels::qgemm_scaled, s, a, b, y, p);
}
inline void weight_only_gemm(Stream& s, View x, const QuantizedView& w, View y,
                             const QgemmParams& p = {}) {
  call("weight_only_gemm", s.device(), &Backend::qgemm, &QgemmKernels::weight_only, s, x, w, y, p);
}

}  // namespace tessera::kernels
