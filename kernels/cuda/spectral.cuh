#pragma once

#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/cuda/ptx_async.cuh"
#include "tessera/kernels/cuda/ptx_tensor.cuh"
#include "tessera/kernels/linalg.hpp"

/// What the spectral kernels share: how slabs of a cube come into shared memory as doubles.
/// cube.cu says how a cube lies in memory. gram.cu and gram_exact.cu hold Gram matrices,
/// gram_cut.cu how their warps share the upper triangle, gram_join.cu what adds up partial ones;
/// project.cu products with a basis; spectral.cu the table's entries.
///
/// A slab is `depth` pixels of some bands. It passes through shared memory twice: raw, as
/// copy_async brings it, a few slabs ahead of use; then as doubles, less the shift, zero where
/// pixels do not count. It keeps its direction: lines of a pixel's bands where those are neighbours
/// in memory (band-interleaved by pixel), lines of a band's pixels otherwise (by line,
/// band-sequential). Lines of doubles are 4 modulo 8 apart, so that a fragment of doubles
/// (ptx_tensor.cuh), four neighbours of eight lines or the other way round, meets all banks.
///
/// Between two barriers a block works on three slabs: it copies one, makes doubles of the one
/// before and multiplies those of the one before that. The blocks of a cluster share a slab: each
/// copies a part of its lines, and writes their doubles into the shared memory of all.
namespace tessera::kernels::cuda {

inline constexpr uint32_t spectral_threads = 512, spectral_warps = spectral_threads / warp_size;

/// What a block of compute capability 8.x can have on every such GPU, and one of 9.0.
constexpr size_t spectral_shared_bytes(bool clusters) { return (clusters ? 227 : 96) * 1024; }

/// Pixels, outer x inner of them, and their bands, where they lie in global memory.
struct Cube {
  const char* data;
  DType dtype;
  bool along_bands;     // lines are pixels; otherwise bands
  uint32_t size;        // bytes of an element
  uint32_t copy_bytes;  // neighbours that one copy moves: 16, or an element
  int64_t outer, inner, bands;
  int64_t outer_step, inner_step, band_step;  // in bytes
  const double* shift;                        // [bands] or null
  const bool* valid;                          // or null
  int64_t valid_outer, valid_inner;
  int64_t y_outer, y_inner;  // steps, in elements, of what has a value per pixel

  /// `y`: absent, or with x's leading extents.
  Cube(const View& x, const SpectralParams& params, const View& y = {});
  int64_t slabs(uint32_t depth) const { return outer * ceil_divide(inner, depth); }
};

/// Slab `number` of a cube.
struct PixelSlab {
  int64_t outer = 0, first;
  uint32_t count;  // pixels

  TS_DEVICE PixelSlab(const Cube& cube, int64_t number, uint32_t depth) : first(number * depth) {
    if (cube.outer > 1) {
      const int64_t each = (cube.inner + depth - 1) / depth;
      outer = number / each;
      first = (number - outer * each) * depth;
    }
    const int64_t left = cube.inner - first;
    count = left < depth ? static_cast<uint32_t>(left) : depth;
  }
};

/// The bands of a slab: `split` from the first on, then `count - split` from the second on.
struct SlabBands {
  int64_t first, second;
  uint32_t split, count;

  TS_DEVICE int64_t operator[](uint32_t i) const {
    return i < split ? first + i : second + (i - split);
  }
  /// Those from number `i` on, which lies before `split`.
  TS_DEVICE SlabBands from(uint32_t i) const {
    return {first + i, second, split - i, count < i ? 0 : count - i};
  }
};

/// Lines of a slab with up to `bands` bands, of which each of `blocks` blocks copies own_lines.
struct SlabShape {
  uint32_t own_lines;
  Divisor copies;   // of a line, of Cube::copy_bytes
  uint32_t chunks;  // of 16 bytes of a line
  Divisor places;   // for them: eight neighbouring threads share a line, or have whole ones
  // Thread i begins with pair (i >> turn_shift & turn_mask) of its chunk, so that neighbours, whose
  // doubles lie 32 or 64 bytes apart, do not meet in a bank.
  uint32_t turn_shift, turn_mask;
  uint32_t raw_pitch;  // bytes

  SlabShape(const Cube& cube, uint32_t depth, uint32_t bands, uint32_t blocks) {
    const uint32_t lines = cube.along_bands ? depth : bands,
                   bytes = (cube.along_bands ? bands : depth) * cube.size;
    own_lines = (lines + blocks - 1) / blocks;
    copies = Divisor((bytes + cube.copy_bytes - 1) / cube.copy_bytes);
    chunks = (bytes + 15) / 16;
    places = Divisor(chunks <= 2 ? chunks : chunks <= 4 ? 4 : (chunks + 7) / 8 * 8);
    turn_shift = cube.size == 2 && chunks > 2 ? 1 : 2;
    turn_mask = cube.size == 2 && chunks > 4 ? 3 : cube.size < 8 ? 1 : 0;
    raw_pitch = chunks * 16;
  }
  TS_HD uint32_t raw_bytes() const { return own_lines * raw_pitch; }
};

/// Calls body.operator()<T>() for the types of which cubes may be.
template <class Body>
TS_DEVICE void for_stored_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f64:
      return body.template operator()<double>();
    case DType::f16:
      return body.template operator()<f16>();
    case DType::bf16:
      return body.template operator()<bf16>();
    case DType::i16:
      return body.template operator()<int16_t>();
    case DType::u16:
      return body.template operator()<uint16_t>();
    default:
      return body.template operator()<float>();
  }
}

/// Starts to copy lines first_line .. of a slab into raw, zeros where there is no pixel.
template <bool along_bands>
TS_DEVICE void copy_slab(const Cube& cube, const SlabShape& shape, const SlabBands& bands,
                         const PixelSlab& slab, uint32_t first_line, unsigned char* raw) {
  const char* base = cube.data + slab.outer * cube.outer_step + slab.first * cube.inner_step;
  const uint32_t each = cube.copy_bytes / cube.size, copies = shape.copies.value;
  for (uint32_t i = thread_index().x; i < shape.own_lines * copies; i += block_size().x) {
    const uint32_t own = shape.copies.quotient(i), line = first_line + own, at = i - own * copies;
    const uint32_t pixel = along_bands ? line : at * each;
    const int64_t band = bands[along_bands ? at * each : line];
    int64_t elements = 0;
    if ((along_bands ? at * each : line) < bands.count && band < cube.bands && pixel < slab.count)
      elements = along_bands ? cube.bands - band : int64_t{slab.count} - pixel;
    const uint32_t bytes = elements <= 0     ? 0
                           : elements < each ? static_cast<uint32_t>(elements) * cube.size
                                             : cube.copy_bytes;
    const char* from = bytes ? base + pixel * cube.inner_step + band * cube.band_step : cube.data;
    unsigned char* to = raw + own * shape.raw_pitch + at * cube.copy_bytes;
    if (cube.copy_bytes == 16)
      copy_async<16>(to, from, bytes);
    else if (cube.copy_bytes == 8)
      copy_async<8>(to, from, bytes);
    else if (cube.copy_bytes == 4)
      copy_async<4>(to, from, bytes);
    else
      *reinterpret_cast<uint16_t*>(to) =
          bytes ? *reinterpret_cast<const uint16_t*>(from) : uint16_t{0};
  }
}

/// Whether a pixel of the slab counts.
TS_DEVICE bool counts(const Cube& cube, const PixelSlab& slab, uint32_t pixel) {
  return pixel < slab.count &&
         (!cube.valid ||
          cube.valid[slab.outer * cube.valid_outer + (slab.first + pixel) * cube.valid_inner]);
}

/// Exchanges the pieces of 16 bytes so that piece i is the one that was i ^ turn.
template <uint32_t pieces>
TS_DEVICE void turn_pieces(Pack<uint32_t, 4>& words, uint32_t turn) {
  const auto exchange = [&](bool apply, int i, int j) {
    const uint32_t x = words.lane[i], y = words.lane[j];
    words.lane[i] = apply ? y : x;
    words.lane[j] = apply ? x : y;
  };
  if constexpr (pieces == 4) {
    exchange(turn & 1, 0, 1);
    exchange(turn & 1, 2, 3);
  }
  if constexpr (pieces > 1) {
    exchange(turn & (pieces / 2), 0, 2);
    exchange(turn & (pieces / 2), 1, 3);
  }
}

/// put(line, place in it, two doubles) for what copy_slab has copied. shift: of the slab's bands,
/// in shared memory.
template <bool along_bands, class Put>
TS_DEVICE void widen_slab(const Cube& cube, const SlabShape& shape, const PixelSlab& slab,
                          uint32_t first_line, const unsigned char* raw, const double* shift,
                          Put&& put) {
  const uint32_t places = shape.places.value;
  for (uint32_t i = thread_index().x; i < shape.own_lines * places; i += block_size().x) {
    const uint32_t own = shape.places.quotient(i), line = first_line + own,
                   chunk = i - own * places;
    if (chunk >= shape.chunks) continue;
    auto words = load_vector(
        reinterpret_cast<const Pack<uint32_t, 4>*>(raw + own * shape.raw_pitch + chunk * 16));
    const bool line_counts = along_bands && counts(cube, slab, line);
    for_stored_type(cube.dtype, [&]<class T>() {
      constexpr uint32_t length = 16 / sizeof(T), pieces = length / 2;
      const uint32_t turn = i >> shape.turn_shift & shape.turn_mask;
      turn_pieces<pieces>(words, turn);
      const auto values = bit_cast<Pack<T, length>>(words);
#pragma unroll
      for (uint32_t j = 0; j < pieces; ++j) {
        const uint32_t at = chunk * length + (j ^ turn) * 2;
        Pack<double, 2> pair, less;
        if (along_bands)
          less = load_vector(reinterpret_cast<const Pack<double, 2>*>(shift + at));
        else
          less.lane[0] = less.lane[1] = shift[line];
#pragma unroll
        for (uint32_t k = 0; k < 2; ++k) {
          const double value = static_cast<double>(widen(values.lane[2 * j + k])) - less.lane[k];
          pair.lane[k] = (along_bands ? line_counts : counts(cube, slab, at + k)) ? value : 0.0;
        }
        put(line, at, pair);
      }
    });
  }
}

/// d += a b of 16 x 16 and 16 x 8 doubles, as mma_m16n8k16 has them; `wide`: the GPU has that.
TS_DEVICE void multiply_add(double (&d)[4], const double (&a)[8], const double (&b)[4], bool wide) {
  if (wide) return mma_m16n8k16(d, a, b);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    double row[2] = {d[2 * half], d[2 * half + 1]};
#pragma unroll
    for (int i = 0; i < 4; ++i) mma_m8n8k4(row, a[2 * i + half], b[i]);
    d[2 * half] = row[0];
    d[2 * half + 1] = row[1];
  }
}

/// Waits until all but the last stages - 2 groups of copies have ended.
TS_DEVICE void wait_slab(uint32_t stages) {
  if (stages > 2)
    wait_copies<1>();
  else
    wait_copies<0>();
}

/// Waits for all threads of a block, or of a cluster of `blocks` blocks.
TS_DEVICE void sync_blocks(uint32_t blocks) {
  if (blocks > 1)
    sync_cluster();
  else
    sync_block();
}

}  // namespace tessera::kernels::cuda
