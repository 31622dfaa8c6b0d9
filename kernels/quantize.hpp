#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/host_device.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Uniform quantisation: code = clamp(round(x / scale) + zero, lowest, highest), halves round to
/// even, and back: x ~ (code - zero) * scale.
///
/// `scale` and `zero` (f32, contiguous, equal shapes; an absent zero is 0) have x's rank, and in
/// every dimension an extent that divides x's: each entry serves that many consecutive indices. For
/// a weight [o, k]: [1, 1] is per tensor, [o, 1] per channel, [o, k / 32] in groups of 32; for
/// activations [b, t, d]: [b, t, 1] is per token. x and code: contiguous.
namespace tessera::kernels {

struct CodeRange {
  int32_t lowest = -128, highest = 127;
};

/// The codes of `bits` bits: 0 .. 2^bits - 1, or -2^(bits-1) .. 2^(bits-1) - 1, from
/// -(2^(bits-1) - 1) where the range has to be symmetric.
constexpr CodeRange code_range(int bits, bool is_signed, bool symmetric = false) {
  if (!is_signed) return {0, (1 << bits) - 1};
  const int32_t half = 1 << (bits - 1);
  return {symmetric ? 1 - half : -half, half - 1};
}

/// Two 4-bit codes in a byte: the element of even index in the low half.
TS_HD constexpr uint8_t pack_int4_pair(int even, int odd) {
  return static_cast<uint8_t>((even & 15) | (odd & 15) << 4);
}
/// Element `which` (0 or 1) of a byte as 0..15, or as -8..7.
TS_HD constexpr int unpack_uint4(uint8_t byte, int which) { return byte >> (4 * which) & 15; }
TS_HD constexpr int unpack_int4(uint8_t byte, int which) {
  return (unpack_uint4(byte, which) ^ 8) - 8;
}

struct QuantizeKernels {
  /// x: floating; code: i8 or u8. NaN gives the code of 0. The range must lie in code's dtype.
  void (*quantize)(Stream&, View x, View scale, View zero, View code, CodeRange);
  void (*dequantize)(Stream&, View code, View scale, View zero, View x);
  /// y = dequantize(quantize(x)) in one pass; zero need not be an integer here. Optional outputs
  /// for gradients: inside (bool) = the code was not clamped; slope (x's dtype) = dy / dscale,
  /// which is code - zero, minus x / scale where inside.
  void (*fake_quantize)(Stream&, View x, View scale, View zero, View y, View inside, View slope,
                        CodeRange);
  /// Smallest and largest x per block; low and high: f32, shaped as a scale. NaN wins.
  void (*range)(Stream&, View x, View low, View high);
  /// The (1 - fraction)- and fraction-quantiles per block, interpolated linearly; fraction in [0.5,
  /// 1].
  void (*quantile_range)(Stream&, View x, double fraction, View low, View high);
  /// The scale (and zero) under which [low, high], widened to contain 0, just fits the codes.
  /// Without zero: symmetric, scale = max(|low|, |high|) / highest. An empty range gives scale 1.
  void (*fit_range)(Stream&, View low, View high, View scale, View zero, CodeRange);
  /// code (i8 or u8, [.., n]) to and from bytes (u8, [.., ceil(n / 2)]) of two 4-bit codes.
  void (*pack_int4)(Stream&, View code, View bytes);
  void (*unpack_int4)(Stream&, View bytes, View code);
};

inline void quantize(Stream& s, View x, View scale, View zero, View code, CodeRange range) {
  call("quantize", s.device(), &Backend::quantize, &QuantizeKernels::quantize, s, x, scale, zero,
       code, range);
}
inline void dequantize(Stream& s, View code, View scale, View zero, View x) {
  call("dequantize", s.device(), &Backend::quantize, &QuantizeKernels::dequantize, s, code, scale,
       zero, x);
}
inline void fake_quantize(Stream& s, View x, View scale, View zero, View y, View inside, View slope,
                          CodeRange range) {
  call("fake_quantize", s.device(), &Backend::quantize, &QuantizeKernels::fake_quantize, s, x,
       scale, zero, y, inside, slope, range);
}
inline void quantize_range(Stream& s, View x, View low, View high) {
  call("quantize_range", s.device(), &Backend::quantize, &QuantizeKernels::range, s, x, low, high);
}
inline void quantile_range(Stream& s, View x, double fraction, View low, View high) {
  call("quantile_range", s.device(), &Backend::quantize, &QuantizeKernels::quantile_range, s, x,
       fraction, low, high);
}
inline void fit_range(Stream& s, View low, View high, View scale, View zero, CodeRange range) {
  call("fit_range", s.device(), &Backend::quantize, &QuantizeKernels::fit_range, s, low, high,
       scale, zero, range);
}
inline void pack_int4(Stream& s, View code, View bytes) {
  call("pack_int4", s.device(), &Backend::quantize, &QuantizeKernels::pack_int4, s, code, bytes);
}
inline void unpack_int4(Stream& s, View bytes, View code) {
  call("unpack_int4", s.device(), &Backend::quantize, &QuantizeKernels::unpack_int4, s, bytes,
       code);
}

}  // namespace tessera::kernels
