#pragma once

#include <limits>

#include "tessera/kernels/cpu/simd_math.hpp"

/// Loops over one row of n elements in vectors, the last of them partial. A body takes a place in
/// the row, `Whole` or `Part`, and reads and writes there in the compute type:
///
///     const float sum = row_sum<float>(n, [&](auto at) { return read(x, at); });
///     row_each<float>(n, [&](auto at) { write(y, at, read(x, at) / sum); });
namespace tessera::kernels::cpu {

struct Whole {
  int64_t i;
};
struct Part {
  int64_t i, n;  // n elements from i on: fewer than a vector
};

template <class T>
inline Vec<compute_t<T>> read(const T* x, Whole at) {
  return load(x + at.i);
}
template <class T>
inline Vec<compute_t<T>> read(const T* x, Part at) {
  return load(x + at.i, at.n);
}
template <class T>
inline void write(T* y, Whole at, Vec<compute_t<T>> v) {
  store(y + at.i, v);
}
template <class T>
inline void write(T* y, Part at, Vec<compute_t<T>> v) {
  store(y + at.i, v, at.n);
}

/// As `write`, past the caches. y is aligned to vectors.
template <class T>
inline void write_past_caches(T* y, Whole at, Vec<compute_t<T>> v) {
  if constexpr (sizeof(T) == sizeof(compute_t<T>))
    stream(y + at.i, &v.native);
  else
    store(y + at.i, v);
}
template <class T>
inline void write_past_caches(T* y, Part at, Vec<compute_t<T>> v) {
  store(y + at.i, v, at.n);
}

/// v in the lanes that lie in the row, `rest` in those behind its end.
template <class C>
inline Vec<C> within(Whole, Vec<C> v, C) {
  return v;
}
template <class C>
inline Vec<C> within(Part at, Vec<C> v, C rest) {
  const auto numbers = []<int... i>(std::integer_sequence<int, i...>) {
    return Vec<bits_t<C>>(typename Vec<bits_t<C>>::Native{i...});
  }
  (std::make_integer_sequence<int, Vec<C>::width>{});
  const Mask<bits_t<C>> inside = numbers < Vec<bits_t<C>>(static_cast<bits_t<C>>(at.n));
  return where(Mask<C>{inside.native}, v, rest);
}

template <class C, class Body>
inline void row_each(int64_t n, Body&& body) {
  constexpr int64_t w = Vec<C>::width;
  int64_t i = 0;
  for (; i + 4 * w <= n; i += 4 * w) {
    body(Whole{i}), body(Whole{i + w}), body(Whole{i + 2 * w}), body(Whole{i + 3 * w});
  }
  for (; i + w <= n; i += w) body(Whole{i});
  if (i < n) body(Part{i, n - i});
}

namespace detail {
template <class C, class Body, class Join>
inline Vec<C> fold_row(int64_t n, C start, Body&& body, Join&& join) {
  constexpr int64_t w = Vec<C>::width;
  Vec<C> a(start), b(start), c(start), d(start);
  int64_t i = 0;
  for (; i + 4 * w <= n; i += 4 * w) {
    a = join(a, body(Whole{i}));
    b = join(b, body(Whole{i + w}));
    c = join(c, body(Whole{i + 2 * w}));
    d = join(d, body(Whole{i + 3 * w}));
  }
  for (; i + w <= n; i += w) a = join(a, body(Whole{i}));
  if (i < n) {
    const Part at{i, n - i};
    b = join(b, within(at, body(at), start));
  }
  return join(join(a, b), join(c, d));
}
}  // namespace detail

/// The sum of body(place) over the row; the lanes behind its end do not count. Always the same
/// tree.
template <class C, class Body>
inline C row_sum(int64_t n, Body&& body) {
  return horizontal_sum(
      detail::fold_row<C>(n, C{0}, body, [](Vec<C> x, Vec<C> y) { return x + y; }));
}

/// The largest body(place), -inf over nothing. NaN counts or not, as it happens.
template <class C, class Body>
inline C row_max(int64_t n, Body&& body) {
  return horizontal_max(detail::fold_row<C>(n, -std::numeric_limits<C>::infinity(), body,
                                            [](Vec<C> x, Vec<C> y) { return max(x, y); }));
}

template <class C>
struct Two {
  C first, second;
};

/// Two sums in one pass: body(place) gives a Two of vectors.
template <class C, class Body>
inline Two<C> row_sums(int64_t n, Body&& body) {
  constexpr int64_t w = Vec<C>::width;
  Vec<C> a(C{0}), b(C{0}), c(C{0}), d(C{0});
  int64_t i = 0;
  for (; i + 2 * w <= n; i += 2 * w) {
    const Two<Vec<C>> even = body(Whole{i}), odd = body(Whole{i + w});
    a += even.first, b += even.second;
    c += odd.first, d += odd.second;
  }
  if (i + w <= n) {
    const Two<Vec<C>> even = body(Whole{i});
    a += even.first, b += even.second;
    i += w;
  }
  if (i < n) {
    const Part at{i, n - i};
    const Two<Vec<C>> odd = body(at);
    c += within(at, odd.first, C{0}), d += within(at, odd.second, C{0});
  }
  return {horizontal_sum(a + c), horizontal_sum(b + d)};
}

}  // namespace tessera::kernels::cpu
