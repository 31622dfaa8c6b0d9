#pragma once

#include "tessera/kernels/cpu/simd.hpp"

/// Loops over one or two contiguous vectors that several families share.
namespace tessera::kernels::cpu {

/// Sum of x * z over n elements, in compute_t<T>.
template <class T, class C = compute_t<T>>
inline C dot(const T* x, const T* z, int64_t n) {
  constexpr int64_t lanes = Vec<C>::width;
  Vec<C> s0(C{0}), s1(C{0}), s2(C{0}), s3(C{0});
  int64_t j = 0;
  for (; j + 4 * lanes <= n; j += 4 * lanes) {
    s0 = fma(load(x + j), load(z + j), s0);
    s1 = fma(load(x + j + lanes), load(z + j + lanes), s1);
    s2 = fma(load(x + j + 2 * lanes), load(z + j + 2 * lanes), s2);
    s3 = fma(load(x + j + 3 * lanes), load(z + j + 3 * lanes), s3);
  }
  for (; j + lanes <= n; j += lanes) s0 = fma(load(x + j), load(z + j), s0);
  if (j < n) s1 = fma(load(x + j, n - j), load(z + j, n - j), s1);
  return horizontal_sum((s0 + s1) + (s2 + s3));
}

/// y += a * x.
template <class T>
inline void axpy(T a, const T* x, T* y, int64_t n) {
  constexpr int64_t lanes = Vec<T>::width;
  const Vec<T> factor(a);
  int64_t j = 0;
  for (; j + lanes <= n; j += lanes) store(y + j, fma(factor, load(x + j), load(y + j)));
  if (j < n) store(y + j, fma(factor, load(x + j, n - j), load(y + j, n - j)), n - j);
}

/// (x, z) = (c x - s z, s x + c z): a plane rotation of two vectors.
template <class T>
inline void rotate(T c, T s, T* x, T* z, int64_t n) {
  constexpr int64_t lanes = Vec<T>::width;
  const Vec<T> cosine(c), sine(s);
  const auto turn = [&](Vec<T>& a, Vec<T>& b) {
    const Vec<T> a0 = a;
    a = fma(cosine, a, -(sine * b));
    b = fma(sine, a0, cosine * b);
  };
  int64_t j = 0;
  for (; j + lanes <= n; j += lanes) {
    Vec<T> a = load(x + j), b = load(z + j);
    turn(a, b);
    store(x + j, a), store(z + j, b);
  }
  if (j < n) {
    Vec<T> a = load(x + j, n - j), b = load(z + j, n - j);
    turn(a, b);
    store(x + j, a, n - j), store(z + j, b, n - j);
  }
}

}  // namespace tessera::kernels::cpu
