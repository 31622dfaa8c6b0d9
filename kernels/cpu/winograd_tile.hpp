#pragma once

#include <algorithm>

#include "tessera/kernels/cpu/channels_last.hpp"
#include "tessera/kernels/cpu/gemm_tile.hpp"
#include "tessera/kernels/cpu/simd.hpp"

/// What both of winograd.hpp's sums share: the interpolation points, the maps to and from them, and
/// how images are cut into tiles.
namespace tessera::kernels::cpu::winograd {

using V = Vec<float>;
constexpr int64_t width = V::width;

constexpr int points = 6;                  // per axis
constexpr int products = points * points;  // per tile
constexpr int out_tile = 4;

// Points +-a and +-b besides 0 and infinity.
constexpr float a = 0.75f, b = 1.5f;
constexpr float a2 = a * a, b2 = b * b;

constexpr int64_t thread_work = 200'000;    // multiply-adds that pay for waking a thread
constexpr int64_t block_bytes = 400 << 10;  // of transformed tiles, in the second-level cache
constexpr int64_t most_tiles = 64;          // of a block

// The four one-dimensional maps, in place on values that stand `step` apart.

// B': six inputs to six points.
template <int step>
[[gnu::always_inline]] inline void to_points_of_input(V* x) {
  const V x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step],
          x5 = x[5 * step];
  const V even_a = x4 - V(b2) * x2, odd_a = V(a) * (x3 - V(b2) * x1);
  const V even_b = x4 - V(a2) * x2, odd_b = V(b) * (x3 - V(a2) * x1);
  x[0] = V(a2 * b2) * x0 + (x4 - V(a2 + b2) * x2);
  x[step] = even_a + odd_a;
  x[2 * step] = even_a - odd_a;
  x[3 * step] = even_b + odd_b;
  x[4 * step] = even_b - odd_b;
  x[5 * step] = V(a2 * b2) * x1 + (x5 - V(a2 + b2) * x3);
}

// A': six points to four outputs.
template <int step>
[[gnu::always_inline]] inline void from_points_to_output(V* x) {
  const V plus_a = x[step] + x[2 * step], minus_a = V(a) * (x[step] - x[2 * step]);
  const V plus_b = x[3 * step] + x[4 * step], minus_b = V(b) * (x[3 * step] - x[4 * step]);
  const V last = x[5 * step];
  x[0] += plus_a + plus_b;
  x[step] = minus_a + minus_b;
  x[2 * step] = V(a2) * plus_a + V(b2) * plus_b;
  x[3 * step] = V(a2) * minus_a + V(b2) * minus_b + last;
}

// A: four output gradients to six points.
template <int step>
[[gnu::always_inline]] inline void to_points_of_output(V* x) {
  const V x1 = x[step], x2 = x[2 * step], x3 = x[3 * step];
  const V even_a = x[0] + V(a2) * x2, odd_a = V(a) * (x1 + V(a2) * x3);
  const V even_b = x[0] + V(b2) * x2, odd_b = V(b) * (x1 + V(b2) * x3);
  x[step] = even_a + odd_a;
  x[2 * step] = even_a - odd_a;
  x[3 * step] = even_b + odd_b;
  x[4 * step] = even_b - odd_b;
  x[5 * step] = x3;
}

constexpr float scale_0 = 1 / (a2 * b2);
constexpr float scale_a = 1 / (2 * a2 * (a2 - b2));
constexpr float scale_b = 1 / (2 * b2 * (b2 - a2));

// G: three taps to six points.
template <int step>
[[gnu::always_inline]] inline void to_points_of_filter(V* x) {
  const V x0 = x[0], x1 = x[step], x2 = x[2 * step];
  const V even_a = V(scale_a) * (x0 + V(a2) * x2), odd_a = V(scale_a * a) * x1;
  const V even_b = V(scale_b) * (x0 + V(b2) * x2), odd_b = V(scale_b * b) * x1;
  x[0] = V(scale_0) * x0;
  x[step] = even_a + odd_a;
  x[2 * step] = even_a - odd_a;
  x[3 * step] = even_b + odd_b;
  x[4 * step] = even_b - odd_b;
  x[5 * step] = x2;
}

// G': six points to three taps.
template <int step>
[[gnu::always_inline]] inline void from_points_to_filter(V* x) {
  const V plus_a = V(scale_a) * (x[step] + x[2 * step]),
          minus_a = V(scale_a * a) * (x[step] - x[2 * step]);
  const V plus_b = V(scale_b) * (x[3 * step] + x[4 * step]),
          minus_b = V(scale_b * b) * (x[3 * step] - x[4 * step]);
  x[0] = V(scale_0) * x[0] + (plus_a + plus_b);
  x[step] = minus_a + minus_b;
  x[2 * step] = V(a2) * plus_a + V(b2) * plus_b + x[5 * step];
}

// A block of tiles: rows of tiles, consecutive within and across images, that are transformed and
// multiplied together. Product i of all its tiles is the matrix [tile, channel] at i * distance.
struct Tiling {
  int64_t images, tile_rows_, tile_columns_;  // per image
  int64_t rows_per_block;

  Tiling(int64_t image_count, int64_t height, int64_t image_width, int64_t channels_in_and_out)
      : images(image_count),
        tile_rows_((height + out_tile - 1) / out_tile),
        tile_columns_((image_width + out_tile - 1) / out_tile) {
    const int64_t tile_bytes = products * channels_in_and_out * static_cast<int64_t>(sizeof(float));
    const int64_t wanted = std::clamp<int64_t>(block_bytes / tile_bytes, 2 * tile_rows, most_tiles);
    rows_per_block = std::clamp<int64_t>(wanted / tile_columns_, 1, images * tile_rows_);
  }
  int64_t blocks() const { return (images * tile_rows_ + rows_per_block - 1) / rows_per_block; }
  int64_t block_tiles() const { return rows_per_block * tile_columns_; }
  // A line apart from a power of two, so that the products of a tile do not fall on one set of the
  // cache.
  static int64_t distance(int64_t tiles, int64_t channels) { return tiles * channels + width; }

  // Calls body(image, first row of tiles, rows of tiles, first tile in the block) for each image of
  // a block.
  template <class Body>
  int64_t for_each_segment(int64_t block, Body&& body) const {
    int64_t row = block * rows_per_block;
    const int64_t end = std::min(row + rows_per_block, images * tile_rows_);
    int64_t tile = 0;
    while (row < end) {
      const int64_t count = std::min(end - row, tile_rows_ - row % tile_rows_);
      body(row / tile_rows_, row % tile_rows_, count, tile);
      tile += count * tile_columns_;
      row += count;
    }
    return tile;
  }
};
// Points of all tiles of a segment whose padded rows start at the first tile's first input.
inline void transform_input(const PaddedRows<float>& rows, int64_t tile_rows_,
                            int64_t tile_columns_, float* out, int64_t distance) {
  for (int64_t r = 0; r < tile_rows_; ++r)
    for (int64_t c = 0; c < tile_columns_; ++c)
      for (int64_t k = 0; k < rows.channels; k += width, out += width) {
        V x[products];
        for (int i = 0; i < points; ++i) {
          const float* row = rows.pixel(r * out_tile + i, c * out_tile) + k;
          for (int j = 0; j < points; ++j) x[i * points + j] = load(row + j * rows.channels);
          to_points_of_input<1>(x + i * points);
        }
        for (int j = 0; j < points; ++j) {
          to_points_of_input<points>(x + j);
          for (int i = 0; i < points; ++i)
            store(out + (i * points + j) * distance, x[i * points + j]);
        }
      }
}

}  // namespace tessera::kernels::cpu::winograd
