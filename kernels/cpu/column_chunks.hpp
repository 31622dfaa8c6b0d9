#pragma once

#include "tessera/kernels/cpu/simd.hpp"

/// Sums of rows in registers, a chunk of columns at a time.
namespace tessera::kernels::cpu {

/// How many columns a chunk has: `n` whole vectors, or the first `lanes` of one.
template <int n>
struct Whole {
  static constexpr int vectors = n;
  template <class S>
  auto read(const S* p) const {
    return load(p);
  }
  template <class S, class V>
  void write(S* p, V v) const {
    store(p, v);
  }
  template <class S, class V>
  void write_past_caches(S* p, V v) const {
    if constexpr (std::is_same_v<S, compute_t<S>>)
      stream(p, &v.native);
    else
      store(p, v);
  }
};
struct Part {
  static constexpr int vectors = 1;
  int64_t lanes;
  template <class S>
  auto read(const S* p) const {
    return load(p, lanes);
  }
  template <class S, class V>
  void write(S* p, V v) const {
    store(p, v, lanes);
  }
  template <class S, class V>
  void write_past_caches(S* p, V v) const {
    store(p, v, lanes);
  }
};

/// The sums of one chunk of columns, in registers.
template <class C, class Chunk>
struct Sums {
  static constexpr int64_t lanes = Vec<C>::width;
  Vec<C> sum[Chunk::vectors];

  /// Calls f(address, sum) for each vector, p being the address of the first.
  template <class S, class F>
  [[gnu::always_inline]] void each(S* p, F&& f) {
    unrolled<Chunk::vectors>([&](auto i)
                                 __attribute__((always_inline)) { f(p + i * lanes, sum[i]); });
  }
};

/// Calls body(column, chunk) for chunks that cover [0, width).
template <class C, class Body>
inline void for_chunks(int64_t width, Body&& body) {
  constexpr int64_t lanes = Vec<C>::width;
  int64_t column = 0;
  if constexpr (vector_bytes == 64)  // 32 registers
    for (; column + 16 * lanes <= width; column += 16 * lanes) body(column, Whole<16>{});
  for (; column + 8 * lanes <= width; column += 8 * lanes) body(column, Whole<8>{});
  if (column + 4 * lanes <= width) body(column, Whole<4>{}), column += 4 * lanes;
  if (column + 2 * lanes <= width) body(column, Whole<2>{}), column += 2 * lanes;
  if (column + lanes <= width) body(column, Whole<1>{}), column += lanes;
  if (column < width) body(column, Part{width - column});
}

}  // namespace tessera::kernels::cpu
