// Products of the pixels of a cube with a basis on the tensor cores for doubles. Floor: x once, y
// once, and 2 m n k operations.
//
// A block has up to 64 columns of the basis and goes through slabs of 64 pixels, 32 bands at a
// time; more columns are the business of other blocks, which find x in the second-level cache. A
// tile is these columns for 32 bands, and their shift: all tiles lie in shared memory where there
// is room, otherwise three that follow the slabs.
//
// Where lines of pixels begin within a sector of 32 bytes, 64 or 128 bytes of them touch a sector
// more: 1.07 to 1.21 of the ideal.
#include "tessera/kernels/cuda/project.cuh"

#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/linalg_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t depth = 64;       // pixels of a slab
constexpr uint32_t step_bands = 32;  // of a slab, at a time
constexpr uint32_t most_columns = 64, strips = depth / 16;
constexpr uint32_t warp_tiles = most_columns / 8 / (spectral_warps / strips);
constexpr uint32_t stages = 3;

constexpr uint32_t slab_pitch(bool along_bands) { return (along_bands ? step_bands : depth) + 4; }
constexpr uint32_t slab_doubles(bool along_bands) {
  return (along_bands ? depth : step_bands) * slab_pitch(along_bands);
}
constexpr uint32_t tile_pitch(uint32_t columns) { return columns + 4; }
constexpr uint32_t tile_doubles(uint32_t columns) { return step_bands * (tile_pitch(columns) + 1); }

struct ProjectJob {
  Cube cube;
  SlabShape shape;
  const double* basis;
  int64_t k, slabs, y_column;  // step of columns, in elements
  uint32_t columns;            // of a block, a multiple of 8
  uint32_t steps, tiles;       // of 32 bands; those that lie in shared memory
  bool upper;                  // zeros below the diagonal of the basis
  bool wide;                   // m16n8k16 of doubles
  bool pairs;                  // two columns of y are one access
};

template <class Y, bool along_bands>
__global__ void __launch_bounds__(spectral_threads, 1)
    project_slabs(const __grid_constant__ ProjectJob job, Y* y) {
  const Cube& cube = job.cube;
  constexpr uint32_t pitch = slab_pitch(along_bands), size = slab_doubles(along_bands);
  const uint32_t steps = job.steps, basis_pitch = tile_pitch(job.columns);
  const int64_t first_column = int64_t{block_index().x} * job.columns;
  double* const basis = &dynamic_shared<double>();
  double* const slabs = basis + job.tiles * tile_doubles(job.columns);
  auto* const raw = reinterpret_cast<unsigned char*>(slabs + 2 * size);

  // turn i: step i % steps of slab first + i / steps of this block
  const int64_t first = job.slabs * block_index().y / grid_size().y;
  const auto turns =
      static_cast<uint32_t>((job.slabs * (block_index().y + 1) / grid_size().y - first) * steps);
  const auto slab_of = [&](uint32_t i) { return PixelSlab(cube, first + i / steps, depth); };
  const auto tile_of = [&](uint32_t i) {
    return basis + i % job.tiles * tile_doubles(job.columns);
  };
  const auto copy = [&](uint32_t i) {
    if (i < turns) {
      const int64_t band = i % steps * step_bands;
      const SlabBands bands{band, 0, step_bands, step_bands};
      copy_slab<along_bands>(cube, job.shape, bands, slab_of(i), 0,
                             raw + i % stages * job.shape.raw_bytes());
    }
    commit_copies();
  };
  for (uint32_t i = 0; i + 1 < stages; ++i) copy(i);
  const auto load_tile = [&](uint32_t i) {
    const int64_t first_band = i % steps * step_bands;
    double* const tile = tile_of(i);
    for (uint32_t j = thread_index().x; j < step_bands * job.columns; j += block_size().x) {
      const uint32_t row = j / job.columns, column = j - row * job.columns;
      const bool there = first_band + row < cube.bands && first_column + column < job.k &&
                         (!job.upper || first_band + row <= first_column + column);
      tile[row * basis_pitch + column] =
          there ? job.basis[(first_band + row) * job.k + first_column + column] : 0.0;
    }
    double* const shift = tile + step_bands * basis_pitch;
    for (uint32_t row = thread_index().x; row < step_bands; row += block_size().x)
      shift[row] = cube.shift && first_band + row < cube.bands ? cube.shift[first_band + row] : 0.0;
  };
  const bool all_tiles = job.tiles == steps;
  for (uint32_t i = 0; i < (all_tiles ? steps : 1); ++i) load_tile(i);
  const auto widen = [&](uint32_t i) {
    double* const slab = slabs + i % 2 * size;
    widen_slab<along_bands>(
        cube, job.shape, slab_of(i), 0, raw + i % stages * job.shape.raw_bytes(),
        tile_of(i) + step_bands * basis_pitch,
        [&](uint32_t line, uint32_t at, const Pack<double, 2>& pair) {
          store_vector(reinterpret_cast<Pack<double, 2>*>(slab + line * pitch + at), pair);
        });
  };

  const uint32_t lane = lane_index(), g = lane / 4, t = lane % 4;
  const uint32_t strip = warp_index() % strips * 16, group = warp_index() / strips;
  double sums[warp_tiles][4] = {};
  for (uint32_t next = 0; next <= turns; ++next) {
    wait_slab(stages);
    sync_block();
    copy(next + stages - 1);
    if (!all_tiles && next + 1 < turns) load_tile(next + 1);
    if (next < turns) widen(next);
    if (next == 0) continue;
    const uint32_t turn = next - 1;
    const double *const slab = slabs + turn % 2 * size, *const tile = tile_of(turn);
    const auto element = [&](uint32_t pixel, uint32_t band) {
      return along_bands ? slab[pixel * pitch + band] : slab[band * pitch + pixel];
    };
#pragma unroll
    for (uint32_t step = 0; step < step_bands; step += 16) {
      double a[8], b[4];
      if (group * 8 < job.columns)
#pragma unroll
        for (int i = 0; i < 8; ++i) a[i] = element(strip + g + i % 2 * 8, step + t + i / 2 * 4);
#pragma unroll
      for (uint32_t c = 0; c < warp_tiles; ++c) {
        const uint32_t column = (group + c * (spectral_warps / strips)) * 8;
        if (column >= job.columns) continue;
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i] = tile[(step + t + i * 4) * basis_pitch + column + g];
        multiply_add(sums[c], a, b, job.wide);
      }
    }
    if (turn % steps + 1 < steps) continue;
    const PixelSlab place = slab_of(turn);
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t pixel = strip + g + half * 8;
      Y* const row = y + place.outer * cube.y_outer + (place.first + pixel) * cube.y_inner;
#pragma unroll
      for (uint32_t c = 0; c < warp_tiles; ++c) {
        const uint32_t in_block = (group + c * (spectral_warps / strips)) * 8;
        const int64_t column = first_column + in_block + 2 * t;
        const Pack<Y, 2> pair{static_cast<Y>(sums[c][2 * half]),
                              static_cast<Y>(sums[c][2 * half + 1])};
        sums[c][2 * half] = sums[c][2 * half + 1] = 0;
        if (pixel >= place.count || in_block >= job.columns || column >= job.k) continue;
        Y* const to = row + column * job.y_column;
        if (job.pairs) {
          store_vector(reinterpret_cast<Pack<Y, 2>*>(to), pair);
        } else {
          to[0] = pair.lane[0];
          if (column + 1 < job.k) to[job.y_column] = pair.lane[1];
        }
      }
    }
  }
  wait_all_copies();
}

/// y [pixels] = the squared lengths of rows [pixels, k], a warp for each.
__global__ void __launch_bounds__(spectral_threads, 2)
    square_lengths(const double* rows, int64_t pixels, int64_t k, double* y) {
  const int64_t warps = int64_t{grid_size().x} * spectral_warps;
  for (int64_t p = int64_t{block_index().x} * spectral_warps + warp_index(); p < pixels;
       p += warps) {
    double sum = 0;
    for (int64_t j = lane_index(); j < k; j += warp_size) sum += rows[p * k + j] * rows[p * k + j];
    sum = warp_reduce(sum, [](double a, double b) { return a + b; });
    if (lane_index() == 0) y[p] = sum;
  }
}

}  // namespace

void launch_project(Stream& stream, const Cube& cube, const View& basis, const View& y, bool upper,
                    bool clusters) {
  const SlabShape shape(cube, depth, step_bands, 1);
  const auto steps = static_cast<uint32_t>(ceil_divide(cube.bands, step_bands));
  const auto shared_bytes = [&](uint32_t columns, uint32_t tiles) {
    return (size_t{tiles} * tile_doubles(columns) + 2 * slab_doubles(cube.along_bands)) *
               sizeof(double) +
           size_t{stages} * shape.raw_bytes();
  };
  const int64_t k = y.shape[y.rank - 1], slabs = cube.slabs(depth);
  const auto wanted = static_cast<uint32_t>(std::min<int64_t>(ceil_divide(k, 8) * 8, most_columns));
  const auto most_that_fit = [&](uint32_t tiles, uint32_t least) {
    for (uint32_t columns = wanted; columns >= least; columns -= 8)
      if (shared_bytes(columns, tiles) <= spectral_shared_bytes(clusters)) return columns;
    return 0u;
  };
  uint32_t tiles = steps, columns = most_that_fit(tiles, std::min(wanted, 32u));
  if (columns == 0) {
    tiles = 3;
    columns = most_that_fit(tiles, 8);
  }
  const int64_t column_blocks = ceil_divide(k, columns);
  constexpr int64_t processors = 132;
  const int64_t ranges = std::clamp<int64_t>(ceil_divide(2 * processors, column_blocks), 1, slabs);
  const int64_t y_column = y.stride[y.rank - 1];
  for_real(y.dtype, "project", [&]<class Y>() {
    const ProjectJob job{.cube = cube,
                         .shape = shape,
                         .basis = basis.as<double>(),
                         .k = k,
                         .slabs = slabs,
                         .y_column = y_column,
                         .columns = columns,
                         .steps = steps,
                         .tiles = tiles,
                         .upper = upper,
                         .wide = clusters,
                         .pairs = y_column == 1 && k % 2 == 0 && cube.y_outer % 2 == 0 &&
                                  cube.y_inner % 2 == 0 && aligned(y.data, 2 * sizeof(Y))};
    launch(stream,
           {"project",
            {static_cast<uint32_t>(column_blocks), static_cast<uint32_t>(ranges)},
            {spectral_threads},
            shared_bytes(columns, tiles)},
           cube.along_bands ? project_slabs<Y, true> : project_slabs<Y, false>, job, y.as<Y>());
  });
}

void launch_squared_lengths(Stream& stream, const View& x, const View& basis, const View& y,
                            const SpectralParams& params, bool clusters, int64_t room) {
  const int64_t k = basis.shape[1], columns = x.rank == 3 ? x.shape[1] : 1, line = columns * k;
  const int64_t most = std::clamp<int64_t>(room / line, 1, x.shape[0]);
  const Scratch rows = stream.scratch(static_cast<size_t>(most * line) * sizeof(double));
  for (int64_t first = 0; first < x.shape[0]; first += most) {
    View part = x;
    part.shape[0] = std::min(most, x.shape[0] - first);
    part.data = x.as<char>() + first * x.stride[0] * static_cast<int64_t>(size_of(x.dtype));
    SpectralParams of_part = params;
    if (params.valid) of_part.valid.data = params.valid.as<bool>() + first * columns;
    View made{rows.as<double>(), DType::f64, 2, {part.shape[0], k}, {k, 1}};
    if (x.rank == 3) made = {made.data, DType::f64, 3, {part.shape[0], columns, k}, {line, k, 1}};
    launch_project(stream, Cube(part, of_part, made), basis, made, params.upper, clusters);
    const int64_t pixels = part.shape[0] * columns;
    launch(stream, {"squared lengths", {blocks_for(pixels, spectral_warps)}, {spectral_threads}},
           square_lengths, made.as<const double>(), pixels, k, y.as<double>() + first * columns);
  }
}

}  // namespace tessera::kernels::cuda
