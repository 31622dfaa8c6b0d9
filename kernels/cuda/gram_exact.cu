// Exact Gram matrices of whole numbers of 16 bits on the tensor cores for bytes. x = 256 h + l with
// l in [0, 256), h a byte of x's sign, so x y = 65536 h h' + 256 (h l' + l h') + l l': four
// products m16n8k32 into three sums of 32 bits, which hold `flush_pixels` pixels and then go to 64
// bits. Floor: x once, and 4 m n^2 operations on bytes.
//
// Bytes must be neighbours along pixels, so a slab is turned on its way from raw to its two planes,
// of high and low bytes: lines of 64 pixels of a band, whose 16-byte units are exchanged by line so
// that ldmatrix and the writers of words of four pixels meet all banks. Where lines are pixels,
// a thread takes four of them, `quads` apart, and eight bands; the order of pixels in a sum is
// free. All banks are met only where a block has all four words of a unit: in a cluster of eight,
// blocks take sixteen pixels of half the bands rather than eight of all.
#include "tessera/kernels/cuda/gram.cuh"

#include "tessera/kernels/cuda/warp.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t depth = 64;       // pixels of a slab
constexpr uint32_t exact_warps = 8;  // three sums of a run take twice the registers of doubles
constexpr uint32_t longest_run = 13;
static_assert(int64_t{ExactLimits{}.flush_pixels} * 2 * 255 * 255 <= INT32_MAX);

/// How many blocks share each line of pixels.
TS_HD uint32_t line_parts(const SlabShape& shape, uint32_t blocks) {
  return shape.own_lines * blocks / depth;
}

/// Blocks have four quads of pixels or more, if need be of half the bands, in whole sectors. Lines
/// of pixels are a step apart that lets quads, and the chunks of one, meet all banks.
SlabShape exact_shape(const Cube& cube, uint32_t bands, uint32_t blocks) {
  SlabShape shape(cube, depth, bands, blocks);
  if (!cube.along_bands) return shape;
  if (shape.own_lines < 16) {
    shape.own_lines *= 2;
    shape.chunks = (shape.chunks + 3) / 4 * 2;
    shape.copies = Divisor(shape.chunks * 16 / cube.copy_bytes);
  }
  const uint32_t quads = shape.own_lines / 4, step = quads < 8 ? 8 / quads : 1;
  shape.raw_pitch = (shape.chunks + (3 * step - shape.chunks % (2 * step)) % (2 * step)) * 16;
  return shape;
}

constexpr uint32_t plane_bytes(uint32_t bands) { return whole_strips(bands) * depth; }

struct ExactJob {
  Cube cube;
  SlabShape shape;
  GramPlace place;
  GramRuns runs;
  GramPartials<int64_t> out;
  uint32_t stages, flush_slabs;
};

/// Where unit `unit` (16 pixels) of a band's line begins in a plane.
TS_DEVICE uint32_t unit_place(uint32_t band, uint32_t unit) {
  return band * depth + (unit ^ band / 2 % 4) * 16;
}

/// The bytes at bit `shift` of four words, packed.
TS_DEVICE uint32_t pack_bytes(const uint32_t (&words)[4], uint32_t shift) {
  return (words[0] >> shift & 255) | (words[1] >> shift & 255) << 8 |
         (words[2] >> shift & 255) << 16 | (words[3] >> shift & 255) << 24;
}

/// put(band, word, high bytes, low bytes) for words of four pixels.
template <bool along_bands, class Put>
TS_DEVICE void split_slab(const Cube& cube, const SlabShape& shape, const PixelSlab& slab,
                          uint32_t first_line, uint32_t first_band, const unsigned char* raw,
                          Put&& put) {
  using Words = Pack<uint32_t, 4>;
  const auto unit_of = [&](uint32_t own, uint32_t chunk) {
    return load_vector(reinterpret_cast<const Words*>(raw + own * shape.raw_pitch + chunk * 16));
  };
  if constexpr (along_bands) {
    const uint32_t quads = shape.own_lines / 4;  // a power of two
    for (uint32_t i = thread_index().x; i < quads * shape.chunks; i += block_size().x) {
      const uint32_t chunk = i / quads, quad = i - chunk * quads;
      // neighbours begin with bands that lie in other banks
      const uint32_t turn = (chunk & 1) | (chunk & 2) << 1 | (chunk & 4) >> 1;
      Words pixels[4];
#pragma unroll
      for (uint32_t p = 0; p < 4; ++p) {
        const uint32_t own = quad + quads * p;
        pixels[p] = unit_of(own, chunk);
        const bool kept = counts(cube, slab, first_line + own);
        turn_pieces<4>(pixels[p], turn / 2);
#pragma unroll
        for (int w = 0; w < 4; ++w) {
          uint32_t& word = pixels[p].lane[w];
          word = !kept ? 0 : turn & 1 ? word >> 16 | word << 16 : word;
        }
      }
#pragma unroll
      for (uint32_t b = 0; b < 8; ++b) {
        const uint32_t words[4] = {pixels[0].lane[b / 2], pixels[1].lane[b / 2],
                                   pixels[2].lane[b / 2], pixels[3].lane[b / 2]};
        put(first_band + chunk * 8 + (b ^ turn), first_line / 4 + quad,
            pack_bytes(words, b % 2 * 16 + 8), pack_bytes(words, b % 2 * 16));
      }
    }
  } else {
    for (uint32_t i = thread_index().x; i < shape.own_lines * shape.chunks; i += block_size().x) {
      const uint32_t own = i / shape.chunks, chunk = i - own * shape.chunks;
      Words unit = unit_of(own, chunk);
      const uint32_t turn = own / 2 % 2;  // lines two apart begin in the same bank
      turn_pieces<2>(unit, turn);
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t word = chunk * 2 + (half ^ turn);
        uint32_t words[4];
#pragma unroll
        for (uint32_t p = 0; p < 4; ++p)
          words[p] =
              counts(cube, slab, word * 4 + p) ? unit.lane[half * 2 + p / 2] >> p % 2 * 16 : 0;
        put(first_line + own, word, pack_bytes(words, 8), pack_bytes(words, 0));
      }
    }
  }
}

/// The sum of the four bytes of a word.
template <class T>
TS_DEVICE int32_t sum_bytes(uint32_t word) {
  int32_t sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) sum += static_cast<T>(word >> 8 * i & 255);
  return sum;
}

/// High: the type of the high bytes.
template <class High, bool along_bands>
__global__ void __launch_bounds__(exact_warps* warp_size, 1)
    gram_bytes(const __grid_constant__ ExactJob job) {
  const Cube& cube = job.cube;
  const uint32_t blocks = job.place.blocks, block = blocks > 1 ? cluster_rank() : 0,
                 size = plane_bytes(job.place.slab_bands),
                 room = whole_strips(job.place.slab_bands);
  const SlabBands bands = job.place.bands(cube.bands);
  const uint32_t parts = along_bands ? line_parts(job.shape, blocks) : 1,
                 first_line = block / parts * job.shape.own_lines,
                 first_band = block % parts * job.shape.chunks * 8;
  const SlabBands own = along_bands ? bands.from(first_band) : bands;
  unsigned char* const planes = &dynamic_shared<unsigned char>();  // two slabs: high, low

  const RawSlabs<along_bands, depth> raw(job, own, first_line, planes + 4 * size);
  const auto split = [&](uint32_t i) {
    unsigned char* const slab = planes + i % 2 * 2 * size;
    split_slab<along_bands>(cube, job.shape, raw[i], first_line, first_band, raw.data(i),
                            [&](uint32_t band, uint32_t word, uint32_t of_high, uint32_t of_low) {
                              if (band >= room) return;
                              auto* const to =
                                  reinterpret_cast<uint32_t*>(slab + unit_place(band, word / 4)) +
                                  word % 4;
                              for (uint32_t other = 0; other < blocks; ++other) {
                                uint32_t* const there = blocks == 1 ? to : map_shared(to, other);
                                *there = of_high;
                                there[size / 4] = of_low;
                              }
                            });
  };

  const GramRun run = job.runs.of[block * (block_size().x / warp_size) + warp_index()];
  const uint32_t lane = lane_index(), g = lane / 4, t = lane % 4;
  int32_t high[longest_run][4] = {}, cross[longest_run][4] = {}, low[longest_run][4] = {};
  int32_t column_sums[2] = {};
  bool first_flush = true;

  // sums of 32 bits to the partial triangle, which nobody else writes
  const auto flush = [&] {
    const auto add = [&](int64_t* to, int64_t value) { *to = first_flush ? value : *to + value; };
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t row = run.strip * 16 + g + half * 8;
      const int32_t sum = warp_reduce(column_sums[half], Sum{}, 4);
      column_sums[half] = 0;
      const bool mine = row < bands.count && bands[row] < cube.bands;
      if (mine && run.lead && t == 0) add(job.out.sums(block_index().y) + bands[row], sum);
#pragma unroll
      for (uint32_t c = 0; c < longest_run; ++c) {
        const uint32_t column = (run.first + c) * 8 + 2 * t;
        if (mine && c < run.count && bands[column] < job.out.pitch) {
          auto* const to = reinterpret_cast<Pack<int64_t, 2>*>(
              job.out.row(block_index().y, bands[row]) + bands[column]);
          Pack<int64_t, 2> total = first_flush ? Pack<int64_t, 2>{} : load_vector(to);
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            const uint32_t i = 2 * half + k;
            total.lane[k] += int64_t{high[c][i]} * 65536 + int64_t{cross[c][i]} * 256 + low[c][i];
          }
          store_vector(to, total);
        }
#pragma unroll
        for (uint32_t k = 2 * half; k < 2 * half + 2; ++k) high[c][k] = cross[c][k] = low[c][k] = 0;
      }
    }
    first_flush = false;
  };

  for (uint32_t turn = 0; turn <= raw.count; ++turn) {
    raw.begin(turn, blocks);
    if (turn < raw.count) split(turn);
    if (turn == 0 || run.count == 0) continue;
    const unsigned char* const slab = planes + (turn - 1) % 2 * 2 * size;
#pragma unroll
    for (uint32_t step = 0; step < depth / 32; ++step) {
      uint32_t a_high[4], a_low[4];
      const uint32_t a_at = unit_place(run.strip * 16 + lane % 16, step * 2 + lane / 16);
      load_matrices(a_high, slab + a_at);
      load_matrices(a_low, slab + size + a_at);
#pragma unroll
      for (uint32_t c = 0; c < longest_run; ++c) {
        if (c >= run.count) continue;
        // the two units of eight bands, high and low
        uint32_t b[4];
        load_matrices(b, slab + lane / 16 * size +
                             unit_place((run.first + c) * 8 + lane % 8, step * 2 + lane / 8 % 2));
        const uint32_t b_high[2] = {b[0], b[1]}, b_low[2] = {b[2], b[3]};
        mma_m16n8k32<High, High>(high[c], a_high, b_high);
        mma_m16n8k32<High, uint8_t>(cross[c], a_high, b_low);
        mma_m16n8k32<uint8_t, High>(cross[c], a_low, b_high);
        mma_m16n8k32<uint8_t, uint8_t>(low[c], a_low, b_low);
      }
      if (run.lead)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          column_sums[i % 2] += 256 * sum_bytes<High>(a_high[i]) + sum_bytes<uint8_t>(a_low[i]);
    }
    if (turn % job.flush_slabs == 0 || turn == raw.count) flush();
  }
  wait_all_copies();
}

}  // namespace

void launch_exact_gram(Stream& stream, const Cube& cube, const GramOut& out, bool clusters,
                       const ExactLimits& limits) {
  const auto shared_bytes = [&](uint32_t bands, uint32_t blocks, uint32_t stages) {
    return size_t{4} * plane_bytes(bands) +
           size_t{stages} * exact_shape(cube, bands, blocks).raw_bytes();
  };
  const GramCut cut(cube.bands, clusters, {longest_run, exact_warps, shared_bytes});
  const int64_t slabs = cube.slabs(depth);
  const int64_t ranges =
      std::min(gram_ranges(slabs, cut, cube.bands, exact_warps), limits.most_ranges);
  const Scratch partial = stream.scratch(GramPartials<int64_t>::bytes(cube.bands, ranges));
  ExactJob job{.cube = cube,
               .shape = exact_shape(cube, cut.slab_bands, cut.blocks),
               .place = {},
               .runs = {},
               .out = GramPartials<int64_t>(partial.as<void>(), cube.bands, slabs, ranges),
               .stages = cut.stages,
               .flush_slabs = limits.flush_pixels / depth};
  const auto launch_for = [&]<class High>() {
    launch_cut(stream, "gram bytes", cut, cube.bands, ranges,
               shared_bytes(cut.slab_bands, cut.blocks, cut.stages), job,
               cube.along_bands ? gram_bytes<High, true> : gram_bytes<High, false>);
  };
  cube.dtype == DType::u16 ? launch_for.template operator()<uint8_t>()
                           : launch_for.template operator()<int8_t>();
  join_gram(stream, job.out, ranges, out);
}

}  // namespace tessera::kernels::cuda
