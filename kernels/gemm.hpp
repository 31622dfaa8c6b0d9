#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Matrix products.
namespace tessera::kernels {

enum class GemmVariant : uint8_t {
  automatic,  // what choose_gemm says
  own,        // packed and tiled; the same bits for any thread count
  vendor,     // OpenBLAS, cuBLAS; throws where the build or the dtype has none
};

/// What a product applies to each element before storing it; the formulas of the UnaryOps of these
/// names.
enum class Activation : uint8_t { none, relu, gelu, gelu_tanh, silu };

enum class BiasAxis : uint8_t { column, row };  // bias[j] or bias[i] is added to c[i, j]

struct GemmParams {
  double alpha = 1;
  double beta = 0;  // at 0, c is not read and may hold anything
  View bias = {};   // absent, or contiguous with one value per column (or row) of c, in c's dtype
  BiasAxis bias_axis = BiasAxis::column;
  Activation activation = Activation::none;
  bool deterministic =
      true;  // `automatic` keeps to variants whose bits do not depend on the thread count
  GemmVariant variant = GemmVariant::automatic;
};

struct GemmKernels {
  /// c[.., m, n] = activation(alpha * a[.., m, k] b[.., k, n] + beta * c + bias)
  ///
  /// Equal ranks >= 2 and equal leading (batch) extents; a batch stride of 0 repeats an operand. In
  /// the last two dimensions each matrix is row- or column-contiguous with any leading dimension,
  /// so a transpose is a matter of strides. a, b: one floating dtype; c: the same, or f32 when they
  /// are halves. Sums run in f32 (f64 for f64); halves round once, at the end. k = 0 is a sum of
  /// nothing. c overlaps neither a nor b.
  void (*gemm)(Stream&, View a, View b, View c, const GemmParams&);
};

inline void gemm(Stream& s, View a, View b, View c, const GemmParams& p = {}) {
  call("gemm", s.device(), &Backend::gemm, &GemmKernels::gemm, s, a, b, c, p);
}

/// The variant that `automatic` means for one m x n x k product. `has_vendor`: the build links a
/// vendor library that knows the dtype.
constexpr GemmVariant choose_gemm(int64_t m, int64_t n, int64_t k, DType dtype, bool deterministic,
                                  bool has_vendor) {
  if (deterministic || !has_vendor || is_half(dtype)) return GemmVariant::own;
  // Below some 100^3 the vendor's call and packing cost more than its micro-kernel gains; skinny
  // products are bound by memory, where ours reads operands in place.
  const bool large = m * n * k >= 1'000'000 && m >= 64 && n >= 64 && k >= 64;
  return large ? GemmVariant::vendor : GemmVariant::own;
}

}  // namespace tessera::kernels
