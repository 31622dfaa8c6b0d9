#pragma once

#include <bit>
#include <cstdint>

#include "tessera/runtime/host_device.hpp"

namespace tessera {

/// IEEE 754 binary16 and bfloat16 storage types, bit-compatible with CUDA's `__half` and
/// `__nv_bfloat16`. They convert to and from float with round-to-nearest-even, to the bit (NaN
/// included) as the F16C and AVX-512 instructions do; arithmetic is done in float by whoever loads
/// them.
struct f16 {
  uint16_t bits;

  f16() = default;
  TS_HD explicit f16(float value) : bits(from_float(value)) {}
  TS_HD operator float() const { return to_float(bits); }

  TS_HD static f16 from_bits(uint16_t bits) {
    f16 h;
    h.bits = bits;
    return h;
  }

  TS_HD static uint16_t from_float(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t sign = (u >> 16) & 0x8000u;
    const uint32_t magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u)  // NaN: quiet, with the upper bits of its payload
      return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
    if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to inf
    if (magnitude < 0x38800000u) {  // subnormal or zero: let a float add do the rounding
      const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
      return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(rounded) - 0x3f000000u));
    }
    const uint32_t odd = (magnitude >> 13) & 1u;
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
  }

  TS_HD static float to_float(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t magnitude = bits & 0x7fffu;
    if (magnitude > 0x7c00u)  // NaN: quiet, with its payload
      return std::bit_cast<float>(sign | 0x7fc00000u | ((magnitude & 0x1ffu) << 13));
    if (magnitude == 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u);
    if (magnitude >= 0x0400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
    const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(subnormal));
  }
};

struct bf16 {
  uint16_t bits;

  bf16() = default;
  TS_HD explicit bf16(float value) : bits(from_float(value)) {}
  TS_HD operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

  TS_HD static bf16 from_bits(uint16_t bits) {
    bf16 h;
    h.bits = bits;
    return h;
  }

  TS_HD static uint16_t from_float(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
    return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
};

static_assert(sizeof(f16) == 2 && sizeof(bf16) == 2);

}  // namespace tessera
