#pragma once

#include "tessera/kernels/cuda/gemm_block.cuh"
#include "tessera/kernels/cuda/ptx_warpgroup.cuh"

/// Products by warp groups, for compute capability 9.0a: tensor copies bring tiles of A and B into
/// a ring of stages, asynchronously to the two warp groups that multiply out of it (wgmma), each 64
/// rows of a tile of 128 x `columns`. mma.sync reaches some two thirds of what this reaches.
///
/// Everything in shared memory is a group: 64 rows of A (columns of B) by 128 bytes of k, one box
/// of a tensor copy, 8 KiB whichever way the operand runs in memory. Along k a line is a row;
/// across k (halves only) a line is 64 rows of one k. The two blocks of a cluster own tiles one
/// above the other, so they need the same columns of B: each copies one half of them to both.
///
/// Blocks stay and take tile after tile; the copies for the next one go on while results are
/// written.
namespace tessera::kernels::cuda {

inline constexpr int group_rows = 64, group_line = 128, group_bytes = group_rows * group_line;

/// How C is cut: pairs of tiles of 128 rows by `columns`, one per cluster at a time.
struct WarpgroupCut {
  static constexpr int64_t tile_rows = 128;
  int64_t pair_rows, column_tiles, batches, k_tiles;

  WarpgroupCut(int64_t m, int64_t n, int64_t of_batches, int64_t of_k_tiles, int columns)
      : pair_rows(ceil_divide(m, 2 * tile_rows)),
        column_tiles(ceil_divide(n, columns)),
        batches(of_batches),
        k_tiles(of_k_tiles) {}
  TS_DEVICE int64_t pairs() const { return pair_rows * column_tiles * batches; }
  uint32_t blocks() const {
    return static_cast<uint32_t>(
        2 * std::min(pair_rows * column_tiles * batches, ProductCut::processors / 2));
  }
  /// Tiles enough for half of a GPU, of an extent that does not leave most of them empty.
  static bool pays(int64_t m, int64_t n, int64_t batches, int columns) {
    return std::min(m, n) > group_rows &&
           2 * ceil_divide(m, 2 * tile_rows) * ceil_divide(n, columns) * batches >=
               ProductCut::processors / 2;
  }
};

/// An operand of `lines` rows of A (columns of B): `stride` elements apart and running along k, or
/// across k, where `stride` lies between neighbours in k.
template <class E>
TensorMap group_map(const char* operation, const E* data, bool along_k, int64_t rows, int64_t k,
                    int64_t stride, int64_t batches, int64_t batch_stride) {
  constexpr int64_t line = group_line / sizeof(E), bytes = sizeof(E);
  return make_tensor_map(operation, {.dtype = dtype_of<E>,
                                     .data = data,
                                     .rank = 3,
                                     .extent = {along_k ? k : rows, along_k ? rows : k, batches},
                                     .stride = {stride * bytes, batch_stride * bytes},
                                     .box = {static_cast<uint32_t>(line),
                                             static_cast<uint32_t>(along_k ? group_rows : line), 1},
                                     .swizzle = Swizzle::span128});
}

template <class A, class B, class Sum, int columns, bool a_along_k, bool b_along_k>
struct WarpgroupProduct {
  static_assert(sizeof(A) == sizeof(B) && (sizeof(A) == 2 || (a_along_k && b_along_k)));
  static constexpr int consumers = 2, threads = (consumers + 1) * 128;
  static constexpr int depth = group_line / static_cast<int>(sizeof(A));  // of a stage, along k
  static constexpr int a_groups = consumers, b_groups = columns / group_rows;
  static constexpr int stages = columns == 256 ? 4 : 6;

  struct Stage {
    unsigned char a[a_groups][group_bytes], b[b_groups][group_bytes];
  };
  struct Shared {
    alignas(1024) Stage stages[WarpgroupProduct::stages];
    SumLines<Sum> lines[4 * consumers];
    Mbarrier full[WarpgroupProduct::stages], empty[WarpgroupProduct::stages];
  };

  /// A place in the ring of stages, and the parity of the pass over it.
  struct Cursor {
    int stage = 0;
    uint32_t parity = 0;
    TS_DEVICE void advance() {
      if (++stage == stages) stage = 0, parity ^= 1;
    }
  };

  struct Operands {
    int64_t a_batch, b_batch;  // how much a batch moves in the maps: 1, or 0 for a repeated operand
  };

  /// For every tile of this block: put(batch, row, column, pack) for each eight columns or, where
  /// put.wide(), each four, rows and columns beyond those of C included.
  template <class Put>
  TS_DEVICE static void run(Shared& shared, const TensorMap& a, const TensorMap& b,
                            const Operands& operands, const WarpgroupCut& cut, Put&& put) {
    if constexpr (has_warpgroup_instructions)
      run_groups(shared, a, b, operands, cut, put);
    else
      warpgroup_fence();  // traps
  }

 private:
  template <class Put>
  TS_DEVICE static void run_groups(Shared& shared, const TensorMap& a, const TensorMap& b,
                                   const Operands& operands, const WarpgroupCut& cut, Put& put) {
    if (thread_index().x == 0) {
      for (int i = 0; i < stages; ++i) {
        init_mbarrier(shared.full[i], 1);
        init_mbarrier(shared.empty[i], 2 * 4 * consumers);
      }
      fence_mbarrier_init();
    }
    sync_cluster();
    const uint32_t warp_group = thread_index().x / 128;
    if (warp_group == consumers) {
      set_registers<40, false>();
      if (thread_index().x == consumers * 128) produce(shared, a, b, operands, cut);
    } else {
      set_registers<232, true>();
      consume(shared, static_cast<int>(warp_group), cut, put);
    }
    sync_cluster();  // neither block ends while the other may still reach for its memory
  }

  struct Place {
    int64_t batch, row, column;

    TS_DEVICE Place(const WarpgroupCut& cut, int64_t index) {
      const int64_t tiles = cut.pair_rows * cut.column_tiles;
      const TilePlace tile(cut.pair_rows, cut.column_tiles, index % tiles);
      batch = index / tiles;
      row = (2 * tile.row + cluster_rank()) * WarpgroupCut::tile_rows;
      column = tile.column * columns;
    }
  };
  template <class Each>
  TS_DEVICE static void for_tiles(const WarpgroupCut& cut, Each&& each) {
    for (int64_t index = block_index().x / 2; index < cut.pairs(); index += grid_size().x / 2)
      each(Place(cut, index));
  }

  TS_DEVICE static void produce(Shared& shared, const TensorMap& a, const TensorMap& b,
                                const Operands& operands, const WarpgroupCut& cut) {
    Cursor at;
    for_tiles(cut, [&](const Place& place) {
      const auto start = [&](bool along_k, int64_t row, int64_t k, int64_t batch,
                             int32_t(&coordinates)[3]) {
        coordinates[0] = static_cast<int32_t>(along_k ? k : row);
        coordinates[1] = static_cast<int32_t>(along_k ? row : k);
        coordinates[2] = static_cast<int32_t>(batch);
      };
      for (int64_t i = 0; i < cut.k_tiles; ++i, at.advance()) {
        wait_mbarrier(shared.empty[at.stage], at.parity ^ 1);
        Mbarrier& full = shared.full[at.stage];
        Stage& stage = shared.stages[at.stage];
        arrive_and_expect(full, sizeof(Stage));
        int32_t from[3];
        for (int g = 0; g < a_groups; ++g) {
          start(a_along_k, place.row + g * group_rows, i * depth, place.batch * operands.a_batch,
                from);
          tensor_load(stage.a[g], a, from, full);
        }
        constexpr int half = b_groups / 2;
        const int first = static_cast<int>(cluster_rank()) * half;
        for (int g = first; g < first + half; ++g) {
          start(b_along_k, place.column + g * group_rows, i * depth, place.batch * operands.b_batch,
                from);
          tensor_load(stage.b[g], b, from, full, uint16_t{3});
        }
      }
    });
  }

  template <class Put>
  TS_DEVICE static void consume(Shared& shared, int consumer, const WarpgroupCut& cut, Put& put) {
    constexpr uint32_t eight_lines = 8 * group_line;
    [[maybe_unused]] constexpr Major a_major = a_along_k ? Major::depth : Major::rows;
    [[maybe_unused]] constexpr Major b_major = b_along_k ? Major::depth : Major::rows;
    constexpr uint32_t step = 32;  // bytes along k
    constexpr uint32_t a_step = a_along_k ? step : step / sizeof(A) * group_line;
    constexpr uint32_t b_step = b_along_k ? step : step / sizeof(B) * group_line;
    const uint32_t thread = thread_index().x % 128;
    const auto release = [&](int stage) {  // each warp, in both blocks
      sync_warp();
      if (lane_index() < 2) arrive_mbarrier(shared.empty[stage], lane_index());
    };
    Cursor at;
    for_tiles(cut, [&](const Place& place) {
      Sum sums[columns / 2] = {};
      int last = -1;
      for (int64_t i = 0; i < cut.k_tiles; ++i, at.advance()) {
        wait_mbarrier(shared.full[at.stage], at.parity);
        const Stage& stage = shared.stages[at.stage];
        const uint64_t a =
            describe_matrix(stage.a[consumer], group_bytes, eight_lines, Swizzle::span128);
        const uint64_t b = describe_matrix(stage.b, group_bytes, eight_lines, Swizzle::span128);
        warpgroup_fence();
#pragma unroll
        for (uint32_t s = 0; s < group_line / step; ++s) {
          const uint64_t x = advance_matrix(a, s * a_step), y = advance_matrix(b, s * b_step);
          if constexpr (sizeof(A) == 2)
            warpgroup_multiply<A, columns, a_major, b_major>(sums, x, y, true);
          else
            warpgroup_multiply<A, B, columns>(sums, x, y, true);
        }
        warpgroup_commit();
        warpgroup_wait<1>();  // the products before these have read their stage
        if (last >= 0) release(last);
        last = at.stage;
      }
      warpgroup_wait<0>();
      if (last >= 0) release(last);
      const uint32_t warp = thread / warp_size;
#pragma unroll
      for (int strip = 0; strip < columns / warp_columns; ++strip) {
        auto& lines = shared.lines[4 * consumer + warp];
        const auto sum_of = [&](int j, int i) { return sums[strip * 16 + 4 * j + i]; };
        const auto store = [&](int i, int j, const auto& pack) {
          put(place.batch, place.row + consumer * group_rows + 16 * warp + i,
              place.column + strip * warp_columns + j, pack);
        };
        if (put.wide())
          lines.template write_packs<4>(sum_of, store);
        else
          lines.template write_packs<8>(sum_of, store);
      }
    });
  }
};

}  // namespace tessera::kernels::cuda
