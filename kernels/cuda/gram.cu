// Gram matrices of cubes on the tensor cores for doubles. Floor: x once, and m n^2 operations.
//
// The warps of a block, or of the blocks of a cluster, have the upper triangle of g in registers
// (gram_cut.cuh), so up to 480 bands each pixel is read once where there are clusters, up to 144
// where not. A product is 16 x 8 by 16 pixels, which are a slab. A range of slabs gives a partial
// triangle; join adds these in order. Column sums come from the fragments of the strips' first
// runs.
//
// Elements that no copy of 16 bytes can move (rows of 103 floats, say) come one by one, with as
// many sectors.
#include "tessera/kernels/cuda/gram.cuh"

#include "tessera/kernels/cuda/warp.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t depth = 16;  // pixels of a slab
constexpr uint32_t longest_run = 8;

constexpr uint32_t slab_pitch(bool along_bands, uint32_t bands) {
  return (along_bands ? whole_strips(bands) : depth) + 4;
}
constexpr uint32_t slab_doubles(bool along_bands, uint32_t bands) {
  return (along_bands ? depth : whole_strips(bands)) * slab_pitch(along_bands, bands);
}

struct GramJob {
  Cube cube;
  SlabShape shape;
  GramPlace place;
  GramRuns runs;
  GramPartials<double> out;
  uint32_t stages;
  bool wide;  // m16n8k16 of doubles
};

template <bool along_bands>
__global__ void __launch_bounds__(spectral_threads, 1)
    gram_slabs(const __grid_constant__ GramJob job) {
  const Cube& cube = job.cube;
  const uint32_t blocks = job.place.blocks, block = blocks > 1 ? cluster_rank() : 0,
                 room = whole_strips(job.place.slab_bands),
                 pitch = slab_pitch(along_bands, job.place.slab_bands),
                 size = slab_doubles(along_bands, job.place.slab_bands);
  const SlabBands bands = job.place.bands(cube.bands);
  const uint32_t first_line = block * job.shape.own_lines;
  double* const shift = &dynamic_shared<double>();
  double* const slabs = shift + room;
  for (uint32_t b = thread_index().x; b < room; b += block_size().x)
    shift[b] = cube.shift && b < bands.count && bands[b] < cube.bands ? cube.shift[bands[b]] : 0.0;

  const RawSlabs<along_bands, depth> raw(job, bands, first_line,
                                         reinterpret_cast<unsigned char*>(slabs + 2 * size));
  const auto widen = [&](uint32_t i) {
    double* const slab = slabs + i % 2 * size;
    widen_slab<along_bands>(cube, job.shape, raw[i], first_line, raw.data(i), shift,
                            [&](uint32_t line, uint32_t at, const Pack<double, 2>& pair) {
                              auto* const to =
                                  reinterpret_cast<Pack<double, 2>*>(slab + line * pitch + at);
                              if (blocks == 1) return store_vector(to, pair);
                              for (uint32_t other = 0; other < blocks; ++other)
                                store_vector(map_shared(to, other), pair);
                            });
  };

  const GramRun run = job.runs.of[block * (block_size().x / warp_size) + warp_index()];
  const uint32_t lane = lane_index(), g = lane / 4, t = lane % 4;
  double sums[longest_run][4] = {}, column_sums[2] = {};
  for (uint32_t turn = 0; turn <= raw.count; ++turn) {
    raw.begin(turn, blocks);
    if (turn < raw.count) widen(turn);
    if (turn == 0 || run.count == 0) continue;
    const double* const slab = slabs + (turn - 1) % 2 * size;
    const auto element = [&](uint32_t pixel, uint32_t band) {
      return along_bands ? slab[pixel * pitch + band] : slab[band * pitch + pixel];
    };
    double a[8], b[4];
#pragma unroll
    for (int i = 0; i < 8; ++i) a[i] = element(t + i / 2 * 4, run.strip * 16 + g + i % 2 * 8);
#pragma unroll
    for (uint32_t c = 0; c < longest_run; ++c) {
      if (c >= run.count) continue;
#pragma unroll
      for (int i = 0; i < 4; ++i) b[i] = element(t + i * 4, (run.first + c) * 8 + g);
      multiply_add(sums[c], a, b, job.wide);
    }
    if (run.lead)
#pragma unroll
      for (int i = 0; i < 8; ++i) column_sums[i % 2] += a[i];
  }
  wait_all_copies();
  if (run.count == 0) return;
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
    const uint32_t row = run.strip * 16 + g + half * 8;
    const double sum = warp_reduce(column_sums[half], Sum{}, 4);
    if (bands[row] >= cube.bands || row >= bands.count) continue;
    if (run.lead && t == 0) job.out.sums(block_index().y)[bands[row]] = sum;
#pragma unroll
    for (uint32_t c = 0; c < longest_run; ++c) {
      const uint32_t column = (run.first + c) * 8 + 2 * t;
      if (c < run.count && bands[column] < job.out.pitch)
        store_vector(reinterpret_cast<Pack<double, 2>*>(job.out.row(block_index().y, bands[row]) +
                                                        bands[column]),
                     Pack<double, 2>{sums[c][2 * half], sums[c][2 * half + 1]});
    }
  }
}

}  // namespace

void launch_gram(Stream& stream, const Cube& cube, const GramOut& out, bool clusters) {
  const auto shared_bytes = [&](uint32_t bands, uint32_t blocks, uint32_t stages) {
    return size_t{whole_strips(bands) + 2 * slab_doubles(cube.along_bands, bands)} *
               sizeof(double) +
           size_t{stages} * SlabShape(cube, depth, bands, blocks).raw_bytes();
  };
  const GramCut cut(cube.bands, clusters, {longest_run, spectral_warps, shared_bytes});
  const int64_t slabs = cube.slabs(depth);
  const int64_t ranges = gram_ranges(slabs, cut, cube.bands, spectral_warps);
  const Scratch partial = stream.scratch(GramPartials<double>::bytes(cube.bands, ranges));
  GramJob job{.cube = cube,
              .shape = SlabShape(cube, depth, cut.slab_bands, cut.blocks),
              .place = {},
              .runs = {},
              .out = GramPartials<double>(partial.as<void>(), cube.bands, slabs, ranges),
              .stages = cut.stages,
              .wide = clusters};
  launch_cut(stream, "gram slabs", cut, cube.bands, ranges,
             shared_bytes(cut.slab_bands, cut.blocks, cut.stages), job,
             cube.along_bands ? gram_slabs<true> : gram_slabs<false>);
  join_gram(stream, job.out, ranges, out);
}

}  // namespace tessera::kernels::cuda
