#pragma once

#include <type_traits>

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
  int64_t size;  // sums of a part: batches m n

  static constexpr int64_t processors = 132;  // of the GPU that products are cut for
  static constexpr int64_t least_part = 8;    // tiles along k that pay for a part of their own

  static bool wants_large(int64_t m, int64_t n, int64_t batches) {
    const int64_t extent = LargeBlock::extent;
    return ceil_divide(m, extent) * ceil_divide(n, extent) * batches >= processors &&
           std::min(m, n) > SmallBlock::extent;
  }
  ProductCut(const char* operation, int64_t m, int64_t n, int64_t of_batches, int64_t of_k_tiles,
             int extent)
      : ProductCut(operation, m, n, of_batches, of_k_tiles, extent, extent) {}
  ProductCut(const char* operation, int64_t m, int64_t n, int64_t of_batches, int64_t of_k_tiles,
             int row_extent, int column_extent)
      : row_tiles(ceil_divide(m, row_extent)),
        column_tiles(ceil_divide(n, column_extent)),
        batches(of_batches),
        k_tiles(of_k_tiles),
        size(of_batches * m * n) {
    const int64_t tiles = row_tiles * column_tiles * batches;
    parts = std::clamp<int64_t>(std::min(2 * processors / tiles, k_tiles / least_part), 1, 64);
    TS_CHECK(tiles * parts <= INT32_MAX, operation, ": ", batches, " products of ", m, " x ", n,
             " are more than a grid holds");
  }
  uint32_t blocks() const {
    return static_cast<uint32_t>(row_tiles * column_tiles * batches * parts);
  }
};

/// The tile of C that comes at place `index`. Blocks that run at the same time own neighbours:
/// groups of rows of tiles, within them column by column.
struct TilePlace {
  int64_t row, column;

  TS_DEVICE TilePlace(int64_t row_tiles, int64_t column_tiles, int64_t index) {
    constexpr int64_t group_rows = 8;
    const int64_t per_group = group_rows * column_tiles, first = index / per_group * group_rows;
    const int64_t rows = row_tiles - first < group_rows ? row_tiles - first : group_rows;
    row = first + index % per_group % rows;
    column = index % per_group / rows;
  }
};

/// What one block computes: tiles [begin, begin + count) along k of one tile of C.
struct BlockPlace : TilePlace {
  int64_t batch, part, begin, count;

  TS_DEVICE BlockPlace(const ProductCut& cut, int64_t index)
      : TilePlace(cut.row_tiles, cut.column_tiles, index % (cut.row_tiles * cut.column_tiles)) {
    const int64_t tiles = cut.row_tiles * cut.column_tiles;
    part = index / tiles % cut.parts;
    batch = index / tiles / cut.parts;
    begin = cut.k_tiles * part / cut.parts;
    count = cut.k_tiles * (part + 1) / cut.parts - begin;
  }
};

/// Where the sums of 16 rows and warp_columns columns pass on their way from the fragments of a
/// warp. Lines start eight banks apart, so that the pairs of a fragment never meet, nor the halves
/// of packs of eight that two rows begin with.
template <class Sum>
struct SumLines {
  alignas(16) Sum rows[16][warp_columns + 8];

  /// put(i, j, sum) for each element, the lanes of a warp in neighbouring columns. sum_of(j, 0..3):
  /// what the lane holds of columns 8 j to 8 j + 7 (ptx_tensor.cuh). The whole warp.
  template <class SumOf, class Put>
  TS_DEVICE void write(SumOf&& sum_of, Put&& put) {
    gather(sum_of);
    const int lane = static_cast<int>(lane_index());
#pragma unroll 4
    for (int i = 0; i < 16; ++i) put(i, lane, rows[i][lane]);
    sync_warp();
  }
  /// The same with n columns at a time, four or eight: put(i, j, pack), j a multiple of n. Lanes of
  /// a row are neighbours, so packs of 16 bytes as they are stored fill whole sectors.
  template <int n, class SumOf, class Put>
  TS_DEVICE void write_packs(SumOf&& sum_of, Put&& put) {
    static_assert(sizeof(Sum) == 4 && (n == 4 || n == 8));
    constexpr int per_row = warp_columns / n, step = static_cast<int>(warp_size) / per_row;
    gather(sum_of);
    const int lane = static_cast<int>(lane_index()), column = lane % per_row * n;
    const bool odd = n == 8 && lane / per_row % 2;  // rows side by side begin with other halves
#pragma unroll
    for (int i = lane / per_row; i < 16; i += step) {
      Pack<Sum, 4> quads[n / 4];
#pragma unroll
      for (int q = 0; q < n / 4; ++q)
        quads[q] =
            load_vector(reinterpret_cast<const Pack<Sum, 4>*>(&rows[i][column + (odd ^ q) * 4]));
      Pack<Sum, n> pack;
#pragma unroll
      for (int k = 0; k < n; ++k)
        pack.lane[k] = odd ? quads[n / 4 - 1 - k / 4].lane[k % 4] : quads[k / 4].lane[k % 4];
      put(i, column, pack);
    }
    sync_warp();
  }

 private:
  template <class SumOf>
  TS_DEVICE void gather(SumOf&& sum_of) {
    const int lane = static_cast<int>(lane_index());
#pragma unroll
    for (int j = 0; j < warp_columns / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_vector(
            reinterpret_cast<Pack<Sum, 2>*>(&rows[lane / 4 + 8 * half][8 * j + lane % 4 * 2]),
            Pack<Sum, 2>{sum_of(j, 2 * half), sum_of(j, 2 * half + 1)});
    sync_warp();
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
  union Shared {
    Stage stages[BlockProduct::stages];
    SumLines<Sum> lines[Block::warps];
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
#pragma unroll
    for (int r = 0; r < row_tiles; ++r)
      shared.lines[warp_index()].write(
          [&](int j, int i) { return sums[r][j][i]; },
          [&](int i, int j, Sum sum) { put(warp_row() + 16 * r + i, warp_column() + j, sum); });
  }

 private:
  bool works_;
};

inline constexpr uint32_t join_threads = 256;

/// The sums of `size` elements, each the sum of its parts in order, `size` apart:
/// store(element, sum).
template <class Sum, class Store>
__global__ void __launch_bounds__(join_threads)
    join_parts(const Sum* parts, int64_t count, int64_t size, Store store) {
  for (int64_t i = first_element(); i < size; i += element_step()) {
    Sum sum = parts[i];
    for (int64_t part = 1; part < count; ++part) sum += parts[part * size + i];
    store(i, sum);
  }
}

/// What the kernels of a product are called.
struct ProductNames {
  const char *product, *parts;
};
/// Queues multiply(job, cut, rest...), a block per place of the cut. Where k is cut into parts,
/// job.parts is room for their sums, [parts, batches, m, n], and stored_by(job)(element, sum)
/// stores them; else it is null.
template <class Job, class StoredBy, class... Rest>
void launch_product(Stream& stream, const ProductNames& names, const ProductCut& cut,
                    uint32_t threads, size_t shared_bytes, Job job, StoredBy&& stored_by,
                    void (*multiply)(Job, ProductCut, Rest...),
                    const std::type_identity_t<Rest>&... rest) {
  using Sum = std::remove_pointer_t<decltype(job.parts)>;
  const Scratch sums =
      stream.scratch(cut.parts > 1 ? static_cast<size_t>(cut.parts * cut.size) * sizeof(Sum) : 0);
  job.parts = cut.parts > 1 ? sums.as<Sum>() : nullptr;
  launch(stream,
         {.name = names.product,
          .grid = {cut.blocks()},
          .block = {threads},
          .shared_bytes = shared_bytes},
         multiply, job, cut, rest...);
  if (!job.parts) return;
  const auto store = stored_by(job);
  launch(stream, {names.parts, {blocks_for(cut.size, join_threads)}, {join_threads}},
         join_parts<Sum, std::remove_cv_t<decltype(store)>>, job.parts, cut.parts, cut.size, store);
}

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
