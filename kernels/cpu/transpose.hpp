#pragma once

#include "tessera/kernels/cpu/rows.hpp"

namespace tessera::kernels::cpu {

/// Transposes the square of Vec<C>::width vectors in registers: lane j of rows[i] and lane i of
/// rows[j] change places. One stage per bit of the lane number, each exchanging blocks of that
/// size.
template <class C>
[[gnu::always_inline]] inline void transpose_square(Vec<C>* rows) {
  constexpr int w = Vec<C>::width;
  const auto stage = [&](auto distance) __attribute__((always_inline)) {
    unrolled<w>([&](auto i) __attribute__((always_inline)) {
      constexpr int d = decltype(distance)::value, r = decltype(i)::value;
      if constexpr ((r & d) == 0) {
        const auto a = rows[r].native, b = rows[r + d].native;
        [&]<int... lane>(std::integer_sequence<int, lane...>) __attribute__((always_inline)) {
          rows[r] = __builtin_shufflevector(a, b, ((lane & d) == 0 ? lane : w + lane - d)...);
          rows[r + d] = __builtin_shufflevector(a, b, ((lane & d) == 0 ? lane + d : w + lane)...);
        }
        (std::make_integer_sequence<int, w>{});
      }
    });
  };
  if constexpr (w > 1) stage(std::integral_constant<int, 1>{});
  if constexpr (w > 2) stage(std::integral_constant<int, 2>{});
  if constexpr (w > 4) stage(std::integral_constant<int, 4>{});
  if constexpr (w > 8) stage(std::integral_constant<int, 8>{});
}

/// put(column, row, v) for x [rows, columns] with the given row stride: lane i of v is
/// x[row + i, column] in the compute type, 0 behind the last row. `row` runs over multiples of the
/// vector width.
template <class T, class Put>
inline void transpose(const T* x, int64_t stride, int64_t rows, int64_t columns, Put&& put) {
  using C = compute_t<T>;
  constexpr int w = Vec<C>::width;
  for (int64_t r = 0; r < rows; r += w) {
    const int64_t count = std::min<int64_t>(w, rows - r);
    for (int64_t c = 0; c < columns; c += w) {
      const int64_t width = std::min<int64_t>(w, columns - c);
      Vec<C> square[w];
      unrolled<w>([&](auto i) __attribute__((always_inline)) {
        const T* from = x + (r + i) * stride + c;
        square[i] = i >= count ? Vec<C>(C{0}) : width == w ? load(from) : load(from, width);
      });
      transpose_square(square);
      if (width == w) {
        unrolled<w>([&](auto i) __attribute__((always_inline)) { put(c + i, r, square[i]); });
      } else {
        for (int i = 0; i < width; ++i) put(c + i, r, square[i]);
      }
    }
  }
}

}  // namespace tessera::kernels::cpu
