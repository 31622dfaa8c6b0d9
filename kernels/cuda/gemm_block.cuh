#pragma once

#include "tessera/kernels/cuda/gemm_tile.cuh"
#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/gemm.hpp"

/// What the products of this folder share: how C is cut into tiles and k into parts, and how the
/// warps of a block compute one tile.
namespace tessera::kernels::cuda {

inline constexpr int warp_columns = 32;  // of the tile that a warp owns

/// `extent` x `extent` of C for warps_m x warps_n warps.
template <int extent_, int warps_m_, int warps_n_>
struct Block {
  static constexpr int extent = extent_, warps_m = warps_m_, warps_n = warps_n_;
  static constexpr int warps = warps_m * warps_n;
  static constexpr int threads = warps * static_cast<int>(warp_size);
  static_assert(extent / warps_n == warp_columns);
};
using LargeBlock = Block<128, 2, 4>;
using SmallBlock = Block<64, 2, 2>;

/// How products are cut: a function of their extents alone, and so are the bits of the results.
/// Few tiles with a long k would leave most of a GPU idle: then k is cut into parts with blocks of
/// their own, whose sums a second kernel adds in order.
struct ProductCut {
  int64_t row_tiles, column_tiles, parts, batches, k_tiles;

  static constexpr int64_t processors = 132;  // of the GPU that products are cut for
  static constexpr int64_t least_part = 8;    // tiles along k that pay for a part of their own

  static bool wants_large(int64_t m, int64_t n, int64_t batches) {
    const int64_t extent = LargeBlock::extent;
    return ceil_divide(m, extent) * ceil_divide(n, extent) * batches >= processors &&
           std::min(m, n) > SmallBlock::extent;
  }
  ProductCut(int64_t m, int64_t n, int64_t of_batches, int64_t of_k_tiles, int extent)
      : row_tiles(ceil_divide(m, extent)),
        column_tiles(ceil_divide(n, extent)),
        batches(of_batches),
        k_tiles(of_k_tiles) {
    const int64_t tiles = row_tiles * column_tiles * batches;
    parts = std::clamp<int64_t>(std::min(2 * processors / tiles, k_tiles / least_part), 1, 64);
    TS_CHECK(tiles * parts <= INT32_MAX, "gemm: ", batches, " products of ", m, " x ", n,
             " are more than a grid holds");
  }
  uint32_t blocks() const {
    return static_cast<uint32_t>(row_tiles * column_tiles * batches * parts);
  }
};

/// What one block computes: tiles [begin, begin + count) along k of one tile of C. Blocks that run
/// at the same time own neighbours: groups of rows of tiles, within them column by column.
struct BlockPlace {
  int64_t row, column, batch, part, begin, count;

  TS_DEVICE BlockPlace(const ProductCut& cut, int64_t index) {
    constexpr int64_t group_rows = 8;
    const int64_t tiles = cut.row_tiles * cut.column_tiles, tile = index % tiles;
    const int64_t per_group = group_rows * cut.column_tiles, first = tile / per_group * group_rows;
    const int64_t rows = cut.row_tiles - first < group_rows ? cut.row_tiles - first : group_rows;
    row = first + tile % per_group % rows;
    column = tile % per_group / rows;
    part = index / tiles % cut.parts;
    batch = index / tiles / cut.parts;
    begin = cut.k_tiles * part / cut.parts;
    count = cut.k_tiles * (part + 1) / cut.parts - begin;
  }
};

/// The product of two rows of tiles by one block.
template <class A, class B, class Sum, class Block, bool a_along_k, bool b_along_k>
struct BlockProduct {
  static constexpr int threads = Block::threads, stages = 4;
  static constexpr int row_tiles = Block::extent / Block::warps_m / 16, pairs = warp_columns / 16;
  static constexpr int steps_at_a_time = sizeof(A) == 4 ? 1 : 2;  // parts of floats fill registers

  struct Stage {
    Tile<A, a_along_k, Block::extent> a;
    Tile<B, b_along_k, Block::extent> b;
  };
  // Lines start eight banks apart, so that the pairs of a fragment never meet.
  struct Lines {
    Sum rows[16][warp_columns + 8];
  };
  union Shared {
    Stage stages[BlockProduct::stages];
    Lines lines[Block::warps];
  };

  Sum sums[row_tiles][2 * pairs][4] = {};

  /// Rows and columns of C from the tile's first on; warps that own none of them multiply nothing.
  TS_DEVICE BlockProduct(int64_t rows, int64_t columns)
      : works_(warp_row() < rows && warp_column() < columns) {}

  TS_DEVICE static int warp_row() {
    return static_cast<int>(warp_index()) / Block::warps_n * (Block::extent / Block::warps_m);
  }
  TS_DEVICE static int warp_column() {
    return static_cast<int>(warp_index()) % Block::warps_n * warp_columns;
  }

  /// load(stage, i) starts to copy the tiles with number i < count.
  template <class Load>
  TS_DEVICE void multiply(Shared& shared, int64_t count, Load&& load) {
    for (int64_t i = 0; i < stages - 1; ++i) {
      if (i < count) load(shared.stages[i], i);
      commit_copies();
    }
    for (int64_t i = 0; i < count; ++i) {
      wait_copies<stages - 2>();
      sync_block();  // tiles i are there for all, and none reads tiles i - 1 any more
      if (const int64_t next = i + stages - 1; next < count)
        load(shared.stages[next % stages], next);
      commit_copies();
      if (!works_) continue;
      const Stage& stage = shared.stages[i % stages];
#pragma unroll(steps_at_a_time)
      for (int step = 0; step < tile_bytes / step_bytes; ++step) {
        FragmentB<B> b[pairs];
#pragma unroll
        for (int j = 0; j < pairs; ++j) b[j] = fragment_b(stage.b, warp_column() + 16 * j, step);
#pragma unroll
        for (int r = 0; r < row_tiles; ++r) {
          const FragmentA<A> a = fragment_a(stage.a, warp_row() + 16 * r, step);
#pragma unroll
          for (int j = 0; j < 2 * pairs; ++j) multiply_add(sums[r][j], a, b[j / 2], j % 2);
        }
      }
    }
    wait_copies<0>();
    sync_block();
  }

  /// put(row, column, sum) for each element of the tile, the lanes of a warp in neighbouring
  /// columns.
  template <class Put>
  TS_DEVICE void write(Shared& shared, Put&& put) {
    const int lane = static_cast<int>(lane_index());
    auto& lines = shared.lines[warp_index()].rows;
#pragma unroll
    for (int r = 0; r < row_tiles; ++r) {
#pragma unroll
      for (int j = 0; j < 2 * pairs; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          store_vector(
              reinterpret_cast<Pack<Sum, 2>*>(&lines[lane / 4 + 8 * half][8 * j + lane % 4 * 2]),
              Pack<Sum, 2>{sums[r][j][2 * half], sums[r][j][2 * half + 1]});
      sync_warp();
#pragma unroll 4
      for (int i = 0; i < 16; ++i)
        put(warp_row() + 16 * r + i, warp_column() + lane, lines[i][lane]);
      sync_warp();
    }
  }

 private:
  bool works_;
};

/// What a product applies to a finished sum.
template <class T>
TS_DEVICE T activated(Activation activation, T x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return functors::relu(x);
    case Activation::gelu:
      return functors::gelu(x);
    case Activation::gelu_tanh:
      return functors::gelu_tanh(x);
    case Activation::silu:
      return functors::silu(x);
  }
  return x;
}

/// Whether lines of an operand, `stride` apart, begin where chunks may be copied whole.
template <class E>
bool in_chunks(const E* data, int64_t stride) {
  return aligned(data, chunk_bytes) && stride * sizeof(E) % chunk_bytes == 0;
}

}  // namespace tessera::kernels::cuda
