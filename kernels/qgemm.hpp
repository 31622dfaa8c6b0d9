#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Products with low-precision operands. Weights are [n, k], one row per output, so both operands run along
/// memory in k.
namespace tessera::kernels {

/// What turns integer sums into numbers. Each vector has one value, or one per row of c ([m]) or column ([n]).
struct QgemmParams {
  View a_zero = {};   // i32 [1] or [m]; absent: 0
  View b_zero = {};   // i32 [1] or [n]
  View a_scale = {};  // f32 [1] or [m]; absent: 1
  View b_scale = {};  // f32 [1] or [n]
  View bias = {};     // f32 [n]
  Activation activation = Activation::none;
};

/// A matrix [rows, columns] of codes; see QuantizedTensor.
struct QuantizedView {
  int64_t rows = 0, columns = 0;
  int64_t group = 0;  // 0: whole rows
  bool packed = false;
  View codes;   // i8 [rows, columns], or packed u8 [rows, (columns + 1) / 2]
  View scales;  // f32 [rows, groups]
  View zeros;   // i32 [rows, groups], or absent
};

struct QgemmKernels {
  /// c[i, j] = activation(a_scale[i] * b_scale[j] * sum_k (a[i, k] - a_zero[i]) (b[j, k] - b_zero[j]) + bias[j]).
  /// a [m, k], b [n, k]: i8 or u8 each, contiguous. c [m, n] contiguous: f32, f16 or bf16, or i32 for the bare
  /// sums (no scales, bias or activation). Sums are exact: k <= 33025, so that they fit in 32 bits.
  void (*qgemm)(Stream&, View a, View b, View c, const QgemmParams&);
  /// y = activation(x w' + bias): x [m, k] and y [m, n] contiguous, one of f32, f16, bf16; bias of that dtype [n],
  /// or absent; sums in f32.
  void (*weight_gemm)(Stream&, View x, const QuantizedView& w, View bias, View y, Activation);
};

inline void qgemm(Stream& s, View a, View b, View c, const QgemmParams& p = {}) {
  call("qgemm", s.device(), &Backend::qgemm, &QgemmKernels::qgemm, s, a, b, c, p);
}
inline void weight_gemm(Stream& s, View x, const QuantizedView& w, View bias, View y,
                        Activation activation = Activation::none) {
  call("weight_gemm", s.device(), &Backend::qgemm, &QgemmKernels::weight_gemm, s, x, w, bias, y, activation);
}

}  // namespace tessera::kernels
