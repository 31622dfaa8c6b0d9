#pragma once

#include "tessera/kernels/cuda/ptx.cuh"
#if !defined(__CUDACC__)
#include "tessera/runtime/simt/tensor.hpp"
#endif

/// Tensor cores with operands in the registers of a warp: all 32 lanes come to each call.
///
/// Fragments. Lane 4 g + t of a warp (g = lane / 4, t = lane % 4) holds, of a 16 x k matrix a
/// (rows), a k x 8 matrix b and the 16 x 8 result d, in 32-bit words of two halves, one tf32 or
/// four bytes along k:
///
///     a[0], a[1]  rows g, g + 8     word t            d[0], d[1]  row g      columns 2 t, 2 t + 1
///     a[2], a[3]  rows g, g + 8     word t + 4        d[2], d[3]  row g + 8  columns 2 t, 2 t + 1
///     b[0], b[1]  column g          words t, t + 4
///
/// So load_matrices reads a from rows along k and b from columns along k;
/// load_matrices_transposed reads them from memory that runs along the other axis.
namespace tessera::kernels::cuda {

/// `count` (1, 2, 4) matrices of 8 rows of 16 bytes in shared memory. Lane i has the address of row
/// i % 8 of matrix i / 8, a multiple of 16; lanes of i / 8 >= count have none. Lane l gets of each
/// matrix word l % 4 of row l / 4.
template <int count>
TS_DEVICE void load_matrices(uint32_t (&r)[count], const void* row) {
  static_assert(count == 1 || count == 2 || count == 4);
#if defined(__CUDACC__)
  const uint32_t address = detail::shared_address(row);
  if constexpr (count == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(address)
                 : "memory");
  else if constexpr (count == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
#else
  simt::load_matrices(r, row, count, false);
#endif
}
/// The same of matrices of 8 x 8 halves, each transposed: lane l gets the halves 2 (l % 4) and
/// 2 (l % 4) + 1 of column l / 4.
template <int count>
TS_DEVICE void load_matrices_transposed(uint32_t (&r)[count], const void* row) {
  static_assert(count == 1 || count == 2 || count == 4);
#if defined(__CUDACC__)
  const uint32_t address = detail::shared_address(row);
  if constexpr (count == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(address)
                 : "memory");
  else if constexpr (count == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
#else
  simt::load_matrices(r, row, count, true);
#endif
}
/// The inverses; compute capability 9.0.
template <int count>
TS_DEVICE void store_matrices(void* row, const uint32_t (&r)[count]) {
  static_assert(count == 1 || count == 2 || count == 4);
#if defined(__CUDACC__)
#if TS_SM90A
  const uint32_t address = detail::shared_address(row);
  if constexpr (count == 1)
    asm volatile("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%0], {%1};" ::"r"(address), "r"(r[0])
                 : "memory");
  else if constexpr (count == 2)
    asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(address),
                 "r"(r[0]), "r"(r[1])
                 : "memory");
  else
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::store_matrices(row, r, count, false);
#endif
}
template <int count>
TS_DEVICE void store_matrices_transposed(void* row, const uint32_t (&r)[count]) {
  static_assert(count == 1 || count == 2 || count == 4);
#if defined(__CUDACC__)
#if TS_SM90A
  const uint32_t address = detail::shared_address(row);
  if constexpr (count == 1)
    asm volatile("stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%0], {%1};" ::"r"(address),
                 "r"(r[0])
                 : "memory");
  else if constexpr (count == 2)
    asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(address),
                 "r"(r[0]), "r"(r[1])
                 : "memory");
  else
    asm volatile(
        "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
        "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
        : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::store_matrices(row, r, count, true);
#endif
}

/// Two halves in a word, the first in the low bits.
template <class T>
TS_DEVICE uint32_t pack_halves(T low, T high) {
  static_assert(sizeof(T) == 2);
  return static_cast<uint32_t>(low.bits) | static_cast<uint32_t>(high.bits) << 16;
}

// ---------------------------------------------------------------- d += a b

/// The sums of two pairs of f16, each rounded once.
TS_DEVICE uint32_t add_halves(uint32_t a, uint32_t b) {
#if defined(__CUDACC__)
  uint32_t sum;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
#else
  const auto half = [&](int shift) {
    const auto x = f16::from_bits(static_cast<uint16_t>(a >> shift));
    const auto y = f16::from_bits(static_cast<uint16_t>(b >> shift));
    return static_cast<uint32_t>(f16(static_cast<float>(x) + static_cast<float>(y)).bits) << shift;
  };
  return half(0) | half(16);
#endif
}

/// f16 or bf16 with float sums.
template <class T>
TS_DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>);
#if defined(__CUDACC__)
  if constexpr (std::is_same_v<T, f16>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  simt::mma_m16n8<T, 16>(d, a, b);
#endif
}
/// Half the depth: a[0], a[1] and b[0] of the table above.
template <class T>
TS_DEVICE void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>);
#if defined(__CUDACC__)
  if constexpr (std::is_same_v<T, f16>)
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
#else
  simt::mma_m16n8<T, 8>(d, a, b);
#endif
}

/// The float as tf32, rounded to nearest with ties away from zero: its low 13 bits are ignored by
/// mma_m16n8k8_tf32.
TS_DEVICE uint32_t to_tf32(float x) {
#if defined(__CUDACC__)
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#else
  const uint32_t bits = bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x != x ? 0x7fffffffu : bits;
  return (bits + 0x1000u) & 0xffffe000u;
#endif
}
/// Floats of 10 bits of fraction (tf32) with float sums.
TS_DEVICE void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  simt::mma_m16n8k8_tf32(d, a, b);
#endif
}

/// Bytes, signed or not, with 32-bit sums that wrap around.
template <class A, class B>
TS_DEVICE void mma_m16n8k32(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  constexpr bool signed_a = std::is_signed_v<A>, signed_b = std::is_signed_v<B>;
  if constexpr (signed_a && signed_b)
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else if constexpr (signed_a)
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else if constexpr (signed_b)
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  simt::mma_m16n8k32<A, B>(d, a, b);
#endif
}

/// Doubles: 8 x 8 x 4. Lane 4 g + t holds element (g, t) of a, (t, g) of b, and columns 2 t,
/// 2 t + 1 of row g of d.
TS_DEVICE void mma_m8n8k4(double (&d)[2], double a, double b) {
#if defined(__CUDACC__)
  asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
      : "+d"(d[0]), "+d"(d[1])
      : "d"(a), "d"(b));
#else
  simt::mma_m8n8k4(d, a, b);
#endif
}
/// Doubles, compute capability 9.0: a[2 i], a[2 i + 1] are rows g, g + 8 of column t + 4 i, b[i] is
/// row t + 4 i of column g, d as above.
TS_DEVICE void mma_m16n8k16(double (&d)[4], const double (&a)[8], const double (&b)[4]) {
#if defined(__CUDACC__)
#if TS_SM90A
  asm("mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7, %8, %9, %10, %11}, {%12, %13, %14, %15}, {%0, %1, %2, %3};"
      : "+d"(d[0]), "+d"(d[1]), "+d"(d[2]), "+d"(d[3])
      : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(a[4]), "d"(a[5]), "d"(a[6]), "d"(a[7]),
        "d"(b[0]), "d"(b[1]), "d"(b[2]), "d"(b[3]));
#else
  detail::missing_instruction();
#endif
#else
  simt::mma_m16n8k16(d, a, b);
#endif
}

}  // namespace tessera::kernels::cuda
