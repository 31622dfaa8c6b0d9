#pragma once

#include "tessera/kernels/cuda/gram_cut.cuh"
#include "tessera/kernels/cuda/spectral.cuh"

/// What Gram matrices in doubles (gram.cu) and in whole numbers (gram_exact.cu) share: the bands of
/// a block, ranges of slabs with partial triangles of their own, and the sum of these
/// (gram_join.cu).
namespace tessera::kernels::cuda {

constexpr uint32_t whole_strips(uint32_t bands) { return (bands + 15) / 16 * 16; }

/// Which bands the blocks of a launch have.
struct GramPlace {
  uint32_t blocks, slab_bands, panel;
  bool off_diagonal;

  TS_DEVICE SlabBands bands(int64_t all) const {
    if (panel == 0) return {0, 0, slab_bands + 16, slab_bands};
    int64_t i = 0, j = block_index().x;
    if (!off_diagonal) {
      const int64_t first = j * panel, left = all - first;
      return {first, 0, panel, left < panel ? static_cast<uint32_t>(left) : panel};
    }
    // pairs i < j, those of one j after the other
    for (j = 1, i = block_index().x; i >= j; ++j) i -= j;
    const int64_t left = all - j * panel;
    return {i * panel, j * panel, panel,
            panel + (left < panel ? static_cast<uint32_t>(left) : panel)};
  }
};

/// Upper triangles [ranges, whole strips, pitch] and column sums [ranges, pitch] of ranges of
/// slabs.
template <class T>
struct GramPartials {
  T *data, *sums_data;
  int64_t rows, pitch, slabs, ranges;

  GramPartials(void* memory, int64_t bands, int64_t of_slabs, int64_t count)
      : data(static_cast<T*>(memory)),
        rows((bands + 15) / 16 * 16),
        pitch((bands + 7) / 8 * 8),
        slabs(of_slabs),
        ranges(count) {
    sums_data = data + count * rows * pitch;
  }
  static size_t bytes(int64_t bands, int64_t count) {
    return static_cast<size_t>(count * ((bands + 15) / 16 * 16 + 1) * ((bands + 7) / 8 * 8)) *
           sizeof(T);
  }
  TS_DEVICE int64_t begin(int64_t range) const { return slabs * range / ranges; }
  TS_DEVICE T* row(int64_t range, int64_t i) const { return data + (range * rows + i) * pitch; }
  TS_DEVICE T* sums(int64_t range) const { return sums_data + range * pitch; }
};

/// Ranges that keep a GPU busy and are worth a partial triangle each; their number depends on
/// extents alone.
inline int64_t gram_ranges(int64_t slabs, const GramCut& cut, int64_t bands, uint32_t most_warps) {
  constexpr int64_t processors = 132, least_slabs = 8;
  const int64_t panels = cut.panel ? cut.panels(bands) : 0,
                blocks = cut.panel ? panels * (panels + 1) / 2 : cut.blocks,
                side_by_side = processors * most_warps / cut.warps / blocks;
  return std::clamp<int64_t>(slabs / least_slabs, slabs > 0, std::max<int64_t>(side_by_side, 1));
}

/// The slabs of a block's range on their way into shared memory: those of the next `stages` - 1
/// turns are copied while one is used.
template <bool along_bands, uint32_t depth>
struct RawSlabs {
  const Cube& cube;
  const SlabShape& shape;
  SlabBands bands;
  uint32_t first_line, stages;
  unsigned char* memory;
  int64_t first;
  uint32_t count;

  template <class Job>
  TS_DEVICE RawSlabs(const Job& job, const SlabBands& own_bands, uint32_t line,
                     unsigned char* shared)
      : cube(job.cube),
        shape(job.shape),
        bands(own_bands),
        first_line(line),
        stages(job.stages),
        memory(shared),
        first(job.out.begin(block_index().y)),
        count(static_cast<uint32_t>(job.out.begin(block_index().y + 1) - first)) {
    for (uint32_t i = 0; i + 1 < stages; ++i) copy(i);
  }
  TS_DEVICE PixelSlab operator[](uint32_t i) const { return PixelSlab(cube, first + i, depth); }
  TS_DEVICE unsigned char* data(uint32_t i) const {
    return memory + i % stages * shape.raw_bytes();
  }
  TS_DEVICE void copy(uint32_t i) const {
    if (i < count) copy_slab<along_bands>(cube, shape, bands, (*this)[i], first_line, data(i));
    commit_copies();
  }
  /// Raw slab `turn` is there, the blocks are done with the one before it, whose place slab
  /// turn + stages - 1 takes.
  TS_DEVICE void begin(uint32_t turn, uint32_t blocks) const {
    wait_slab(stages);
    sync_blocks(blocks);
    copy(turn + stages - 1);
  }
};

/// Where a Gram matrix goes.
struct GramOut {
  View g, sums;
  bool accumulate;
};

/// `kernel` for a cluster that has all, or for the pairs of panels.
template <class Job>
void launch_cut(Stream& stream, const char* name, const GramCut& cut, int64_t bands, int64_t ranges,
                size_t shared_bytes, Job& job, void (*kernel)(Job)) {
  if (ranges == 0) return;
  const auto launch_blocks = [&](uint32_t blocks, bool off_diagonal) {
    if (blocks == 0) return;
    job.place = {cut.blocks, cut.slab_bands, cut.panel, off_diagonal};
    job.runs = off_diagonal ? cut.off_diagonal : cut.runs;
    launch(stream,
           {.name = name,
            .grid = {blocks, static_cast<uint32_t>(ranges)},
            .block = {cut.warps * warp_size},
            .shared_bytes = shared_bytes,
            .cluster = {cut.blocks}},
           kernel, job);
  };
  if (cut.panel == 0) return launch_blocks(cut.blocks, false);
  const uint32_t panels = cut.panels(bands);
  launch_blocks(panels, false);
  launch_blocks(panels * (panels - 1) / 2, true);
}

/// g and sums from the partial ones, in the order of ranges; both triangles of g get the same bits.
template <class T>
void join_gram(Stream& stream, const GramPartials<T>& partials, int64_t ranges, const GramOut& out);

/// Products and sums in f64. `clusters`: the GPU has these and m16n8k16 of doubles.
void launch_gram(Stream&, const Cube&, const GramOut&, bool clusters);

/// When exact sums leave 32 bits, and how many ranges of slabs there are: for tests of long ranges.
struct ExactLimits {
  uint32_t flush_pixels = 16384;  // a multiple of 64; 2 * 255 * 255 each in a sum of 32 bits
  int64_t most_ranges = INT64_MAX;
};
/// i16 or u16, g i64: exact.
void launch_exact_gram(Stream&, const Cube&, const GramOut&, bool clusters,
                       const ExactLimits& limits = {});

}  // namespace tessera::kernels::cuda
