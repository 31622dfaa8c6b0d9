#pragma once

#include "tessera/kernels/cuda/ptx_async.cuh"
#if !defined(__CUDACC__)
#include "tessera/runtime/simt/warpgroup.hpp"
#endif

/// Products of a warp group (four warps, from a multiple of 128 threads on) on tensor cores, with
/// operands in shared memory; compute capability 9.0a. They go on while the threads do:
///
///     warpgroup_fence();                                  // registers and operands are ready
///     warpgroup_multiply<f16, n>(d, a, b, accumulates);   // any number of times
///     warpgroup_commit();
///     warpgroup_wait<0>();                                // d may be read, operands be
///     overwritten
///
/// What threads wrote to the operands needs fence_async_proxy before; what copies wrote does not.
/// After a wait comes a fence before the next product, even where no register has changed.
///
/// The result d (64 x n): warp w of the group holds rows 16 w to 16 w + 15; in it, lane 4 g + t
/// holds in d[4 j + i] row g (i = 0, 1) or g + 8 (i = 2, 3), column 8 j + 2 t + i % 2.
///
/// Operands. Memory that runs along the depth k (32 bytes a step) has rows of one span (swizzle
/// span32, span64, span128) and blocks of eight rows `stride_bytes` apart; steps along k within the
/// span add 32 bytes to the address. Without a swizzle, 8 x 16 bytes lie together, `leading_bytes`
/// apart along k and `stride_bytes` along the rows. Memory that runs along rows (`Major::rows`,
/// halves only) has a span of rows for each k, eight k together, blocks `stride_bytes` apart along
/// k and `leading_bytes` along the rows; without a swizzle the two change places. Blocks begin at
/// multiples of eight spans.
namespace tessera::kernels::cuda {

/// Whether these instructions exist where this is compiled for. Where they do not, the wrappers
/// trap, and a kernel that is built of them need not be compiled at all.
#if defined(__CUDACC__) && !TS_SM90A
inline constexpr bool has_warpgroup_instructions = false;
#else
inline constexpr bool has_warpgroup_instructions = true;
#endif

enum class Major { depth, rows };

/// The widths of products that there are wrappers for.
template <int n>
concept ProductWidth = n == 8 || n == 16 || n == 32 || n == 64 || n == 128 || n == 256;

/// The descriptor of an operand in shared memory.
TS_DEVICE uint64_t describe_matrix(const void* shared, uint32_t leading_bytes,
                                   uint32_t stride_bytes, Swizzle swizzle) {
#if defined(__CUDACC__)
  const auto field = [](uint32_t bytes) { return static_cast<uint64_t>(bytes >> 4 & 0x3fff); };
  const uint64_t code =
      (4 - static_cast<uint64_t>(swizzle)) % 4;  // none 0, 128 B 1, 64 B 2, 32 B 3
  return field(detail::shared_address(shared)) | field(leading_bytes) << 16 |
         field(stride_bytes) << 32 | code << 62;
#else
  return simt::matrix_descriptor(shared, leading_bytes, stride_bytes,
                                 static_cast<uint32_t>(swizzle));
#endif
}
/// The operand that begins `bytes` further on.
TS_DEVICE uint64_t advance_matrix(uint64_t descriptor, uint32_t bytes) {
  return descriptor + (bytes >> 4);
}

TS_DEVICE void warpgroup_fence() {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::warpgroup_fence();
#endif
}
TS_DEVICE void warpgroup_commit() {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::warpgroup_commit();
#endif
}
/// Until all but the last `groups` groups have ended.
template <uint32_t groups>
TS_DEVICE void warpgroup_wait() {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups) : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::warpgroup_wait(groups);
#endif
}

/// Registers per thread of a warp group, a multiple of 8 from 24 to 240: producers give theirs up,
/// consumers take them. All warps of the group.
template <uint32_t count, bool more>
TS_DEVICE void set_registers() {
  static_assert(count >= 24 && count <= 240 && count % 8 == 0);
#if defined(__CUDACC__) && TS_SM90A
  if constexpr (more)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
  else
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
#endif
}

// ---------------------------------------------------------------- instructions

#if defined(__CUDACC__) && TS_SM90A
#define TS_TEN(p)                                                                        \
  "%" #p "0, %" #p "1, %" #p "2, %" #p "3, %" #p "4, %" #p "5, %" #p "6, %" #p "7, %" #p \
  "8, "                                                                                  \
  "%" #p "9"
#define TS_OUT4(c, i) c(d[i]), c(d[(i) + 1]), c(d[(i) + 2]), c(d[(i) + 3])
#define TS_OUT16(c, i) TS_OUT4(c, i), TS_OUT4(c, (i) + 4), TS_OUT4(c, (i) + 8), TS_OUT4(c, (i) + 12)
#define TS_OUT64(c, i) \
  TS_OUT16(c, i), TS_OUT16(c, (i) + 16), TS_OUT16(c, (i) + 32), TS_OUT16(c, (i) + 48)
#define TS_REGISTERS_8 "%0, %1, %2, %3"
#define TS_REGISTERS_16 "%0, %1, %2, %3, %4, %5, %6, %7"
#define TS_REGISTERS_32 TS_TEN() ", %10, %11, %12, %13, %14, %15"
#define TS_REGISTERS_64 TS_TEN() ", " TS_TEN(1) ", " TS_TEN(2) ", %30, %31"
#define TS_REGISTERS_128 \
  TS_TEN()               \
  ", " TS_TEN(1) ", " TS_TEN(2) ", " TS_TEN(3) ", " TS_TEN(4) ", " TS_TEN(5) ", %60, %61, %62, " \
                                                                             "%63"
#define TS_REGISTERS_256 \
  TS_TEN() ", " TS_TEN(1) ", " TS_TEN(2) ", " TS_TEN(3) ", " TS_TEN(4) ", " TS_TEN(5) ", " TS_TEN(6) ", " TS_TEN(7) ", " TS_TEN(8) ", " TS_TEN(9) ", " TS_TEN(10) ", " TS_TEN(11) ", %120, %121, %122, %123, %124, %125, %126, %127"
#define TS_OUTPUTS_8(c) TS_OUT4(c, 0)
#define TS_OUTPUTS_16(c) TS_OUT4(c, 0), TS_OUT4(c, 4)
#define TS_OUTPUTS_32(c) TS_OUT16(c, 0)
#define TS_OUTPUTS_64(c) TS_OUT16(c, 0), TS_OUT16(c, 16)
#define TS_OUTPUTS_128(c) TS_OUT64(c, 0)
#define TS_OUTPUTS_256(c) TS_OUT64(c, 0), TS_OUT64(c, 64)

// p0, p1, ...: the numbers of the operands behind the results. Halves: both operands in shared
// memory, or a in registers; the last two immediates say which of them memory runs along the rows
// of. Others have no such choice.
#define TS_HALVES(n, type, p0, p1, p2, p3, p4)                                                  \
  asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %" #p2                                     \
               ", 0;\n\t"                                                                       \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type                  \
               " {" TS_REGISTERS_##n "}, %" #p0 ", %" #p1 ", p, 1, 1, %" #p3 ", %" #p4 ";\n\t}" \
               : TS_OUTPUTS_##n("+f")                                                           \
               : "l"(a), "l"(b), "r"(accumulates), "n"(a_rows), "n"(b_rows))
#define TS_HALVES_REGISTERS(n, type, p0, p1, p2, p3, p4, p5, p6)                            \
  asm volatile(                                                                             \
      "{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %" #p5                                          \
      ", 0;\n\t"                                                                            \
      "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" TS_REGISTERS_##n \
      "}, {%" #p0 ", %" #p1 ", %" #p2 ", %" #p3 "}, %" #p4 ", p, 1, 1, %" #p6 ";\n\t}"      \
      : TS_OUTPUTS_##n("+f")                                                                \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulates), "n"(b_rows))
#define TS_TF32(n, p0, p1, p2)                                                              \
  asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %" #p2                                 \
               ", 0;\n\t"                                                                   \
               "wgmma.mma_async.sync.aligned.m64n" #n "k8.f32.tf32.tf32 {" TS_REGISTERS_##n \
               "}, %" #p0 ", %" #p1 ", p, 1, 1;\n\t}"                                       \
               : TS_OUTPUTS_##n("+f")                                                       \
               : "l"(a), "l"(b), "r"(accumulates))
#define TS_BYTES(n, kinds, p0, p1, p2)                                                       \
  asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %" #p2                                  \
               ", 0;\n\t"                                                                    \
               "wgmma.mma_async.sync.aligned.m64n" #n "k32.s32." kinds " {" TS_REGISTERS_##n \
               "}, %" #p0 ", %" #p1 ", p;\n\t}"                                              \
               : TS_OUTPUTS_##n("+r")                                                        \
               : "l"(a), "l"(b), "r"(accumulates))
namespace detail {
template <int n, int a_rows, int b_rows>
TS_DEVICE void multiply_f16(float (&d)[n / 2], uint64_t a, uint64_t b, int accumulates) {
  if constexpr (n == 8)
    TS_HALVES(8, "f16", 4, 5, 6, 7, 8);
  else if constexpr (n == 16)
    TS_HALVES(16, "f16", 8, 9, 10, 11, 12);
  else if constexpr (n == 32)
    TS_HALVES(32, "f16", 16, 17, 18, 19, 20);
  else if constexpr (n == 64)
    TS_HALVES(64, "f16", 32, 33, 34, 35, 36);
  else if constexpr (n == 128)
    TS_HALVES(128, "f16", 64, 65, 66, 67, 68);
  else
    TS_HALVES(256, "f16", 128, 129, 130, 131, 132);
}
template <int n, int b_rows>
TS_DEVICE void multiply_f16(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b,
                            int accumulates) {
  if constexpr (n == 8)
    TS_HALVES_REGISTERS(8, "f16", 4, 5, 6, 7, 8, 9, 10);
  else if constexpr (n == 16)
    TS_HALVES_REGISTERS(16, "f16", 8, 9, 10, 11, 12, 13, 14);
  else if constexpr (n == 32)
    TS_HALVES_REGISTERS(32, "f16", 16, 17, 18, 19, 20, 21, 22);
  else if constexpr (n == 64)
    TS_HALVES_REGISTERS(64, "f16", 32, 33, 34, 35, 36, 37, 38);
  else if constexpr (n == 128)
    TS_HALVES_REGISTERS(128, "f16", 64, 65, 66, 67, 68, 69, 70);
  else
    TS_HALVES_REGISTERS(256, "f16", 128, 129, 130, 131, 132, 133, 134);
}
template <int n, int a_rows, int b_rows>
TS_DEVICE void multiply_bf16(float (&d)[n / 2], uint64_t a, uint64_t b, int accumulates) {
  if constexpr (n == 8)
    TS_HALVES(8, "bf16", 4, 5, 6, 7, 8);
  else if constexpr (n == 16)
    TS_HALVES(16, "bf16", 8, 9, 10, 11, 12);
  else if constexpr (n == 32)
    TS_HALVES(32, "bf16", 16, 17, 18, 19, 20);
  else if constexpr (n == 64)
    TS_HALVES(64, "bf16", 32, 33, 34, 35, 36);
  else if constexpr (n == 128)
    TS_HALVES(128, "bf16", 64, 65, 66, 67, 68);
  else
    TS_HALVES(256, "bf16", 128, 129, 130, 131, 132);
}
template <int n, int b_rows>
TS_DEVICE void multiply_bf16(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b,
                             int accumulates) {
  if constexpr (n == 8)
    TS_HALVES_REGISTERS(8, "bf16", 4, 5, 6, 7, 8, 9, 10);
  else if constexpr (n == 16)
    TS_HALVES_REGISTERS(16, "bf16", 8, 9, 10, 11, 12, 13, 14);
  else if constexpr (n == 32)
    TS_HALVES_REGISTERS(32, "bf16", 16, 17, 18, 19, 20, 21, 22);
  else if constexpr (n == 64)
    TS_HALVES_REGISTERS(64, "bf16", 32, 33, 34, 35, 36, 37, 38);
  else if constexpr (n == 128)
    TS_HALVES_REGISTERS(128, "bf16", 64, 65, 66, 67, 68, 69, 70);
  else
    TS_HALVES_REGISTERS(256, "bf16", 128, 129, 130, 131, 132, 133, 134);
}
template <int n>
TS_DEVICE void multiply_tf32(float (&d)[n / 2], uint64_t a, uint64_t b, int accumulates) {
  if constexpr (n == 8)
    TS_TF32(8, 4, 5, 6);
  else if constexpr (n == 16)
    TS_TF32(16, 8, 9, 10);
  else if constexpr (n == 32)
    TS_TF32(32, 16, 17, 18);
  else if constexpr (n == 64)
    TS_TF32(64, 32, 33, 34);
  else if constexpr (n == 128)
    TS_TF32(128, 64, 65, 66);
  else
    TS_TF32(256, 128, 129, 130);
}
template <int n>
TS_DEVICE void multiply_s8_s8(int32_t (&d)[n / 2], uint64_t a, uint64_t b, int accumulates) {
  if constexpr (n == 8)
    TS_BYTES(8, "s8.s8", 4, 5, 6);
  else if constexpr (n == 16)
    TS_BYTES(16, "s8.s8", 8, 9, 10);
  else if constexpr (n == 32)
    TS_BYTES(32, "s8.s8", 16, 17, 18);
  else if constexpr (n == 64)
    TS_BYTES(64, "s8.s8", 32, 33, 34);
  else if constexpr (n == 128)
    TS_BYTES(128, "s8.s8", 64, 65, 66);
  else
    TS_BYTES(256, "s8.s8", 128, 129, 130);
}
template <int n>
TS_DEVICE void multiply_s8_u8(int32_t (&d)[n / 2], uint64_t a, uint64_t b, int accumulates) {
  if constexpr (n == 8)
    TS_BYTES(8, "s8.u8", 4, 5, 6);
  else if constexpr (n == 16)
    TS_BYTES(16, "s8.u8", 8, 9, 10);
  else if constexpr (n == 32)
    TS_BYTES(32, "s8.u8", 16, 17, 18);
  else if constexpr (n == 64)
    TS_BYTES(64, "s8.u8", 32, 33, 34);
  else if constexpr (n == 128)
    TS_BYTES(128, "s8.u8", 64, 65, 66);
  else
    TS_BYTES(256, "s8.u8", 128, 129, 130);
}
template <int n>
TS_DEVICE void multiply_u8_s8(int32_t (&d)[n / 2], uint64_t a, uint64_t b, int accumulates) {
  if constexpr (n == 8)
    TS_BYTES(8, "u8.s8", 4, 5, 6);
  else if constexpr (n == 16)
    TS_BYTES(16, "u8.s8", 8, 9, 10);
  else if constexpr (n == 32)
    TS_BYTES(32, "u8.s8", 16, 17, 18);
  else if constexpr (n == 64)
    TS_BYTES(64, "u8.s8", 32, 33, 34);
  else if constexpr (n == 128)
    TS_BYTES(128, "u8.s8", 64, 65, 66);
  else
    TS_BYTES(256, "u8.s8", 128, 129, 130);
}
template <int n>
TS_DEVICE void multiply_u8_u8(int32_t (&d)[n / 2], uint64_t a, uint64_t b, int accumulates) {
  if constexpr (n == 8)
    TS_BYTES(8, "u8.u8", 4, 5, 6);
  else if constexpr (n == 16)
    TS_BYTES(16, "u8.u8", 8, 9, 10);
  else if constexpr (n == 32)
    TS_BYTES(32, "u8.u8", 16, 17, 18);
  else if constexpr (n == 64)
    TS_BYTES(64, "u8.u8", 32, 33, 34);
  else if constexpr (n == 128)
    TS_BYTES(128, "u8.u8", 64, 65, 66);
  else
    TS_BYTES(256, "u8.u8", 128, 129, 130);
}
}  // namespace detail
#undef TS_TEN
#undef TS_OUT4
#undef TS_OUT16
#undef TS_OUT64
#undef TS_REGISTERS_8
#undef TS_REGISTERS_16
#undef TS_REGISTERS_32
#undef TS_REGISTERS_64
#undef TS_REGISTERS_128
#undef TS_REGISTERS_256
#undef TS_OUTPUTS_8
#undef TS_OUTPUTS_16
#undef TS_OUTPUTS_32
#undef TS_OUTPUTS_64
#undef TS_OUTPUTS_128
#undef TS_OUTPUTS_256
#undef TS_HALVES
#undef TS_HALVES_REGISTERS
#undef TS_TF32
#undef TS_BYTES
#endif

#if !defined(__CUDACC__)
namespace detail {
template <class T>
inline constexpr simt::Element element_of = std::is_same_v<T, f16>      ? simt::Element::f16
                                            : std::is_same_v<T, bf16>   ? simt::Element::bf16
                                            : std::is_same_v<T, float>  ? simt::Element::tf32
                                            : std::is_same_v<T, int8_t> ? simt::Element::s8
                                                                        : simt::Element::u8;
}  // namespace detail
#endif

/// d (64 x n) (+)= a (64 x 16) b (16 x n), T = f16 or bf16; n = 8, 16, 32, 64, 128, 256. a and b
/// are descriptors, the rows of b being its n columns.
template <class T, int n, Major a_major = Major::depth, Major b_major = Major::depth>
requires ProductWidth<n> TS_DEVICE void warpgroup_multiply(float (&d)[n / 2], uint64_t a,
                                                           uint64_t b, bool accumulates) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>);
  [[maybe_unused]] constexpr bool a_rows = a_major == Major::rows, b_rows = b_major == Major::rows;
#if defined(__CUDACC__)
#if TS_SM90A
  if constexpr (std::is_same_v<T, f16>)
    detail::multiply_f16<n, a_rows, b_rows>(d, a, b, accumulates);
  else
    detail::multiply_bf16<n, a_rows, b_rows>(d, a, b, accumulates);
#else
  detail::missing_instruction();
#endif
#else
  constexpr simt::Element e = detail::element_of<T>;
  simt::warpgroup_multiply(
      d, {"warpgroup_multiply", e, e, n, a, b, nullptr, a_rows, b_rows, accumulates});
#endif
}
/// The same with a in registers, as mma_m16n8k16 has it for the warp's 16 rows.
template <class T, int n, Major b_major = Major::depth>
requires ProductWidth<n> TS_DEVICE void warpgroup_multiply(float (&d)[n / 2],
                                                           const uint32_t (&a)[4], uint64_t b,
                                                           bool accumulates) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>);
  constexpr bool b_rows = b_major == Major::rows;
#if defined(__CUDACC__)
#if TS_SM90A
  if constexpr (std::is_same_v<T, f16>)
    detail::multiply_f16<n, b_rows>(d, a, b, accumulates);
  else
    detail::multiply_bf16<n, b_rows>(d, a, b, accumulates);
#else
  detail::missing_instruction();
#endif
#else
  constexpr simt::Element e = detail::element_of<T>;
  simt::warpgroup_multiply(d, {"warpgroup_multiply", e, e, n, 0, b, a, false, b_rows, accumulates});
#endif
}
/// Floats as tf32 (their low 13 bits are ignored), depth 8, both along the depth.
template <int n>
requires ProductWidth<n> TS_DEVICE void warpgroup_multiply_tf32(float (&d)[n / 2], uint64_t a,
                                                                uint64_t b, bool accumulates) {
#if defined(__CUDACC__)
#if TS_SM90A
  detail::multiply_tf32<n>(d, a, b, accumulates);
#else
  detail::missing_instruction();
#endif
#else
  constexpr simt::Element e = simt::Element::tf32;
  simt::warpgroup_multiply(
      d, {"warpgroup_multiply_tf32", e, e, n, a, b, nullptr, false, false, accumulates});
#endif
}
/// Bytes, signed (int8_t) or not (uint8_t), depth 32, both along the depth; sums wrap around.
template <class A, class B, int n>
requires ProductWidth<n> TS_DEVICE void warpgroup_multiply(int32_t (&d)[n / 2], uint64_t a,
                                                           uint64_t b, bool accumulates) {
  static_assert(sizeof(A) == 1 && sizeof(B) == 1);
#if defined(__CUDACC__)
#if TS_SM90A
  if constexpr (std::is_signed_v<A> && std::is_signed_v<B>)
    detail::multiply_s8_s8<n>(d, a, b, accumulates);
  else if constexpr (std::is_signed_v<A>)
    detail::multiply_s8_u8<n>(d, a, b, accumulates);
  else if constexpr (std::is_signed_v<B>)
    detail::multiply_u8_s8<n>(d, a, b, accumulates);
  else
    detail::multiply_u8_u8<n>(d, a, b, accumulates);
#else
  detail::missing_instruction();
#endif
#else
  simt::warpgroup_multiply(d, {"warpgroup_multiply", detail::element_of<A>, detail::element_of<B>,
                               n, a, b, nullptr, false, false, accumulates});
#endif
}

}  // namespace tessera::kernels::cuda
