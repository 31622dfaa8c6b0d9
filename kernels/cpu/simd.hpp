#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tessera/runtime/dtype.hpp"
#include "tessera/runtime/half.hpp"

/// One register of the instruction set level that the including file is compiled for: 64 bytes with
/// AVX-512, 32 with AVX2, 16 otherwise. `Vec<T>` holds numbers, `Mask<T>` the outcome of comparing
/// them; both are thin structs around GCC's vector types, so arithmetic needs no intrinsics and the
/// few operations that do are spelt out once per level here. Functions such as `exp` are in
/// simd_math.hpp.
///
/// Halves exist in memory only: `load(const f16*)` gives Vec<float>, `store(f16*, Vec<float>)`
/// rounds to nearest even, bit for bit as runtime/half.hpp does.
///
/// GCC 12 keeps arrays of vectors in memory: give accumulators names, or see `unrolled`. Of the
/// AVX-512 intrinsics it warns about the unmasked forms that start from an undefined register; the
/// maskz forms with all lanes set compile to the same instruction.
namespace tessera::kernels::cpu {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

namespace detail {
template <int bytes>
struct signed_of_size;
template <>
struct signed_of_size<1> {
  using type = int8_t;
};
template <>
struct signed_of_size<2> {
  using type = int16_t;
};
template <>
struct signed_of_size<4> {
  using type = int32_t;
};
template <>
struct signed_of_size<8> {
  using type = int64_t;
};

template <class T, int lanes>
struct native_vector {
  typedef T type __attribute__((vector_size(lanes * sizeof(T))));
};
template <class T, int lanes>
using native_t = typename native_vector<T, lanes>::type;
}  // namespace detail

/// The signed integer of T's size: what the bits of a T are seen as.
template <class T>
using bits_t = typename detail::signed_of_size<sizeof(T)>::type;

namespace detail {
/// T, or the unsigned integer of its size: what the arithmetic of integers is done in, for it
/// wraps.
template <class T>
struct wrapping {
  using type = T;
};
template <std::signed_integral T>
struct wrapping<T> : std::make_unsigned<T> {};

template <class T>
inline constexpr bits_t<T> sign_bit = std::numeric_limits<bits_t<T>>::min();
}  // namespace detail

template <class T>
struct Mask;

template <class T>
struct Vec {
  static constexpr int width = vector_bytes / static_cast<int>(sizeof(T));
  using Native = detail::native_t<T, width>;
  using Wrapping = detail::native_t<typename detail::wrapping<T>::type, width>;
  Native native;

  Vec() = default;
  Vec(Native n) : native(n) {}
  Vec(T value) : native(value - Native{}) {}  // `- 0` keeps the sign of a zero, `+ 0` would not

  T operator[](int lane) const { return native[lane]; }
  void set(int lane, T value) { native[lane] = value; }

  // integers wrap around
  friend Vec operator-(Vec a) { return Native(-Wrapping(a.native)); }
  friend Vec operator+(Vec a, Vec b) { return Native(Wrapping(a.native) + Wrapping(b.native)); }
  friend Vec operator-(Vec a, Vec b) { return Native(Wrapping(a.native) - Wrapping(b.native)); }
  friend Vec operator*(Vec a, Vec b) { return Native(Wrapping(a.native) * Wrapping(b.native)); }
  friend Vec operator/(Vec a, Vec b) { return a.native / b.native; }
  Vec& operator+=(Vec b) {
    native = (*this + b).native;
    return *this;
  }
  Vec& operator-=(Vec b) {
    native = (*this - b).native;
    return *this;
  }
  Vec& operator*=(Vec b) {
    native = (*this * b).native;
    return *this;
  }

  // bits: integer vectors only
  friend Vec operator&(Vec a, Vec b) { return a.native & b.native; }
  friend Vec operator|(Vec a, Vec b) { return a.native | b.native; }
  friend Vec operator^(Vec a, Vec b) { return a.native ^ b.native; }
  friend Vec operator<<(Vec a, int n) { return a.native << n; }
  friend Vec operator>>(Vec a, int n) { return a.native >> n; }

  friend Mask<T> operator<(Vec a, Vec b) { return {a.native < b.native}; }
  friend Mask<T> operator<=(Vec a, Vec b) { return {a.native <= b.native}; }
  friend Mask<T> operator>(Vec a, Vec b) { return {a.native > b.native}; }
  friend Mask<T> operator>=(Vec a, Vec b) { return {a.native >= b.native}; }
  friend Mask<T> operator==(Vec a, Vec b) { return {a.native == b.native}; }
  friend Mask<T> operator!=(Vec a, Vec b) { return {a.native != b.native}; }
};

/// All bits of a lane set, or none.
template <class T>
struct Mask {
  using Native = detail::native_t<bits_t<T>, Vec<T>::width>;
  Native native;

  friend Mask operator&(Mask a, Mask b) { return {a.native & b.native}; }
  friend Mask operator|(Mask a, Mask b) { return {a.native | b.native}; }
  friend Mask operator!(Mask a) { return {~a.native}; }
};

/// a where the mask holds, else b.
template <class T>
inline Vec<T> where(Mask<T> m, std::type_identity_t<Vec<T>> a, std::type_identity_t<Vec<T>> b) {
  return m.native ? a.native : b.native;
}

/// The same bits seen as another element type of equal size.
template <class U, class T>
inline Vec<U> bit_cast(Vec<T> x) {
  static_assert(sizeof(U) == sizeof(T));
  return reinterpret_cast<typename Vec<U>::Native>(x.native);
}

/// Lane by lane to another element type of equal size, as static_cast does.
template <class U, class T>
inline Vec<U> convert(Vec<T> x) {
  static_assert(sizeof(U) == sizeof(T));
  return __builtin_convertvector(x.native, typename Vec<U>::Native);
}

/// f applied to each lane in turn, for functions that have no vector form.
template <class T, class F>
inline Vec<T> lanes(Vec<T> x, F&& f) {
  for (int i = 0; i < Vec<T>::width; ++i) x.native[i] = f(x.native[i]);
  return x;
}
template <class T, class F>
inline Vec<T> lanes(Vec<T> x, Vec<T> y, F&& f) {
  for (int i = 0; i < Vec<T>::width; ++i) x.native[i] = f(x.native[i], y.native[i]);
  return x;
}

template <class T>
inline Mask<T> is_nan(Vec<T> x) {
  return x != x;  // NOLINT(misc-redundant-expression): NaN alone differs from itself
}

template <class T>
inline Vec<T> abs(Vec<T> x) {
  if constexpr (std::is_floating_point_v<T>)
    return bit_cast<T>(bit_cast<bits_t<T>>(x) & ~detail::sign_bit<T>);
  else
    return where(x < T{0}, -x, x);
}
/// The magnitude of x with the sign of s.
template <class T>
inline Vec<T> copysign(Vec<T> x, Vec<T> s) {
  return bit_cast<T>((bit_cast<bits_t<T>>(x) & ~detail::sign_bit<T>) |
                     (bit_cast<bits_t<T>>(s) & detail::sign_bit<T>));
}

/// f(constant 0), .., f(constant n - 1), written out before the optimiser starts: arrays of vectors
/// whose indices are such constants live in registers. Give f `__attribute__((always_inline))`.
template <int n, class F>
[[gnu::always_inline]] inline void unrolled(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, n>{});
}

// --- memory: only `stream` requires alignment ---

/// Whether reading or writing the first lanes of a vector costs what a whole one does.
inline constexpr bool masked_memory = vector_bytes == 64;

template <class T>
inline Vec<T> load(const T* p) {
  Vec<T> x;
  std::memcpy(&x.native, p, sizeof x.native);
  return x;
}
template <class T>
inline void store(T* p, Vec<T> x) {
  std::memcpy(p, &x.native, sizeof x.native);
}

inline Vec<float> load(const f16* p) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  Vec<float> x;
  for (int i = 0; i < x.width; ++i) x.native[i] = p[i];
  return x;
#endif
}
inline void store(f16* p, Vec<float> x) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(
      reinterpret_cast<__m256i*>(p),
      _mm512_maskz_cvtps_ph(0xffff, x.native, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(x.native, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  for (int i = 0; i < x.width; ++i) p[i] = f16(x.native[i]);
#endif
}

inline Vec<float> load(const bf16* p) {
  detail::native_t<uint16_t, Vec<float>::width> half;
  std::memcpy(&half, p, sizeof half);
  const auto bits = __builtin_convertvector(half, Vec<uint32_t>::Native);
  return bit_cast<float>(Vec<uint32_t>(bits << 16));
}
inline void store(bf16* p, Vec<float> x) {
  const Vec<uint32_t> u = bit_cast<uint32_t>(x);
  const Vec<uint32_t> rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const Vec<uint32_t> quiet_nan = (u >> 16) | 0x40u;
  const Vec<uint32_t> bits = where((u & 0x7fffffffu) > 0x7f800000u, quiet_nan, rounded);
  const auto half =
      __builtin_convertvector(bits.native, detail::native_t<uint16_t, Vec<float>::width>);
  std::memcpy(p, &half, sizeof half);
}

/// The first n lanes (0 <= n <= width) from memory, the others zero.
template <class S>
inline Vec<compute_t<S>> load(const S* p, int64_t n) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<S, float>)
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
  else if constexpr (std::is_same_v<S, double>)
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
  else if constexpr (std::is_same_v<S, f16>)
    return _mm512_maskz_cvtph_ps(
        0xffff, _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p));
  else if constexpr (std::is_same_v<S, bf16>)
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(
        0xffff,
        _mm512_maskz_cvtepu16_epi32(
            0xffff, _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p)),
        16));
#endif
  S buffer[Vec<compute_t<S>>::width];
  std::memset(buffer, 0, sizeof buffer);
  std::memcpy(buffer, p, static_cast<size_t>(n) * sizeof(S));
  return load(buffer);
}
/// Writes the first n lanes (0 <= n <= width) and touches nothing behind them.
template <class S>
inline void store(S* p, Vec<compute_t<S>> x, int64_t n) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<S, float>)
    return _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), x.native);
  else if constexpr (std::is_same_v<S, double>)
    return _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), x.native);
#endif
  S buffer[Vec<compute_t<S>>::width];
  store(buffer, x);
  std::memcpy(p, buffer, static_cast<size_t>(n) * sizeof(S));
}

/// Writes vector_bytes past the caches, to memory aligned to vector_bytes that will not be read
/// again soon. Call stream_fence before another thread may read what was written.
inline void stream(void* p, const void* source) {
#if defined(__AVX512F__)
  _mm512_stream_si512(static_cast<__m512i*>(p), _mm512_loadu_si512(source));
#elif defined(__AVX2__)
  _mm256_stream_si256(static_cast<__m256i*>(p),
                      _mm256_loadu_si256(static_cast<const __m256i*>(source)));
#elif defined(__SSE2__)
  _mm_stream_si128(static_cast<__m128i*>(p), _mm_loadu_si128(static_cast<const __m128i*>(source)));
#else
  std::memcpy(p, source, vector_bytes);
#endif
}
inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// --- arithmetic that needs an instruction of its own ---

/// a * b + c; one rounding where the level has the instruction (all but baseline).
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a.native, b.native, c.native);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a.native, b.native, c.native);
#else
  return a * b + c;
#endif
}
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a.native, b.native, c.native);
#elif defined(__FMA__)
  return _mm256_fmadd_pd(a.native, b.native, c.native);
#else
  return a * b + c;
#endif
}

/// The smaller / larger one; b where either is NaN. (GCC 12 makes a comparison and a masked move of
/// the expression.)
inline Vec<float> min(Vec<float> a, Vec<float> b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, a.native, b.native);
#elif defined(__AVX2__)
  return _mm256_min_ps(a.native, b.native);
#else
  return a.native < b.native ? a.native : b.native;
#endif
}
inline Vec<float> max(Vec<float> a, Vec<float> b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, a.native, b.native);
#elif defined(__AVX2__)
  return _mm256_max_ps(a.native, b.native);
#else
  return a.native > b.native ? a.native : b.native;
#endif
}
inline Vec<double> min(Vec<double> a, Vec<double> b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_pd(0xff, a.native, b.native);
#elif defined(__AVX2__)
  return _mm256_min_pd(a.native, b.native);
#else
  return a.native < b.native ? a.native : b.native;
#endif
}
inline Vec<double> max(Vec<double> a, Vec<double> b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_pd(0xff, a.native, b.native);
#elif defined(__AVX2__)
  return _mm256_max_pd(a.native, b.native);
#else
  return a.native > b.native ? a.native : b.native;
#endif
}

inline Vec<float> sqrt(Vec<float> x) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(0xffff, x.native);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(x.native);
#else
  return lanes(x, [](float v) { return std::sqrt(v); });
#endif
}
inline Vec<double> sqrt(Vec<double> x) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_pd(0xff, x.native);
#elif defined(__AVX2__)
  return _mm256_sqrt_pd(x.native);
#else
  return lanes(x, [](double v) { return std::sqrt(v); });
#endif
}

namespace detail {
// mode: 8 nearest even, 9 down, 10 up (the immediate of the rounding instructions)
template <int mode, class T>
inline Vec<T> round_to_integer(Vec<T> x) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return _mm512_maskz_roundscale_ps(0xffff, x.native, mode);
  else
    return _mm512_maskz_roundscale_pd(0xff, x.native, mode);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>)
    return _mm256_round_ps(x.native, mode);
  else
    return _mm256_round_pd(x.native, mode);
#else
  return lanes(x, [](T v) {
    return mode == 8 ? std::nearbyint(v) : mode == 9 ? std::floor(v) : std::ceil(v);
  });
#endif
}
}  // namespace detail

/// To integers: nearest with halves to even, towards minus infinity, towards infinity.
template <class T>
inline Vec<T> round(Vec<T> x) {
  return detail::round_to_integer<8>(x);
}
template <class T>
inline Vec<T> floor(Vec<T> x) {
  return detail::round_to_integer<9>(x);
}
template <class T>
inline Vec<T> ceil(Vec<T> x) {
  return detail::round_to_integer<10>(x);
}

// --- across lanes, always as the same tree: halves against halves ---

namespace detail {
template <class T, int lanes, class F>
inline T fold(native_t<T, lanes> x, F f) {
  if constexpr (lanes == 2) {
    return f(x[0], x[1]);
  } else {
    const auto halves = [&]<int... i>(std::integer_sequence<int, i...>) {
      return fold<T, lanes / 2>(
          f(__builtin_shufflevector(x, x, i...), __builtin_shufflevector(x, x, (i + lanes / 2)...)),
          f);
    };
    return halves(std::make_integer_sequence<int, lanes / 2>{});
  }
}
}  // namespace detail

template <class T>
inline T horizontal_sum(Vec<T> x) {
  using W = typename detail::wrapping<T>::type;
  using Wrapping = typename Vec<T>::Wrapping;
  return static_cast<T>(
      detail::fold<W, Vec<T>::width>(Wrapping(x.native), [](auto a, auto b) { return a + b; }));
}
/// NaN lanes give an unspecified lane: look for them first where they matter.
template <class T>
inline T horizontal_max(Vec<T> x) {
  return detail::fold<T, Vec<T>::width>(x.native, [](auto a, auto b) { return a > b ? a : b; });
}
template <class T>
inline T horizontal_min(Vec<T> x) {
  return detail::fold<T, Vec<T>::width>(x.native, [](auto a, auto b) { return a < b ? a : b; });
}
template <class T>
inline bool any(Mask<T> m) {
  return detail::fold<bits_t<T>, Vec<T>::width>(m.native, [](auto a, auto b) { return a | b; }) !=
         0;
}
template <class T>
inline bool all(Mask<T> m) {
  return !any(!m);
}

}  // namespace tessera::kernels::cpu
