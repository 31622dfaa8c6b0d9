#pragma once

#include <cstdint>

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/host_device.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Uniform quantisation: code = clamp(round(x / scale) + zero, lowest, highest), x ~ scale * (code - zero).
/// `round` goes to nearest, halves to even; NaN gives `lowest`.
///
/// Granularity is a matter of shapes. scale (f32; f64 for f64 x) and zero (i32, of scale's shape, or absent)
/// have x's rank, each extent that of x or 1: [1, 1] for a tensor, [rows, 1] for rows or tokens, [1, columns] for
/// channels; groups of g along a row are x seen as [rows, groups, g] with scale [rows, groups, 1]. All operands
/// are contiguous; x and y are floating, arithmetic is in f32 (f64 for f64).
namespace tessera::kernels {

struct QuantizeParams {
  int32_t lowest = -128, highest = 127;
};

struct QuantizeKernels {
  /// codes: i8 or u8, which must hold [lowest, highest].
  void (*quantize)(Stream&, View x, View scale, View zero, const QuantizeParams&, View codes);
  void (*dequantize)(Stream&, View codes, View scale, View zero, View y);
  /// y = dequantize(quantize(x)) without the codes. mask (bool, optional): the code was not clamped; NaN is not.
  /// slope (x's dtype, optional): dy / dscale with the rounding taken as the identity, round(x / scale) - x / scale
  /// where not clamped, else the bound minus zero (learned step sizes, Esser et al. 2020, eq. 3). y may be x.
  void (*fake_quantize)(Stream&, View x, View scale, View zero, const QuantizeParams&, View y, View mask,
                        View slope);
  /// Two codes in [-8, 7] to a byte, as Int4 below: codes i8 [rows, columns], packed u8 [rows, (columns + 1) / 2].
  void (*pack_int4)(Stream&, View codes, View packed);
  void (*unpack_int4)(Stream&, View packed, View codes);
};

inline void quantize(Stream& s, View x, View scale, View zero, const QuantizeParams& p, View codes) {
  call("quantize", s.device(), &Backend::quantize, &QuantizeKernels::quantize, s, x, scale, zero, p, codes);
}
inline void dequantize(Stream& s, View codes, View scale, View zero, View y) {
  call("dequantize", s.device(), &Backend::quantize, &QuantizeKernels::dequantize, s, codes, scale, zero, y);
}
inline void fake_quantize(Stream& s, View x, View scale, View zero, const QuantizeParams& p, View y,
                          View mask = {}, View slope = {}) {
  call("fake_quantize", s.device(), &Backend::quantize, &QuantizeKernels::fake_quantize, s, x, scale, zero, p,
       y, mask, slope);
}
inline void pack_int4(Stream& s, View codes, View packed) {
  call("pack_int4", s.device(), &Backend::quantize, &QuantizeKernels::pack_int4, s, codes, packed);
}
inline void unpack_int4(Stream& s, View packed, View codes) {
  call("unpack_int4", s.device(), &Backend::quantize, &QuantizeKernels::unpack_int4, s, packed, codes);
}

/// The nibble code, shared by all devices: byte j of a row holds columns 2j (low) and 2j + 1 (high), each as
/// code + 8.
struct Int4 {
  TS_HD static uint8_t pack(int even, int odd) {
    return static_cast<uint8_t>(((even + 8) & 15) | (((odd + 8) & 15) << 4));
  }
  TS_HD static int even(uint8_t byte) { return (byte & 15) - 8; }
  TS_HD static int odd(uint8_t byte) { return (byte >> 4) - 8; }
};

}  // namespace tessera::kernels
