#pragma once

#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/ptx_async.cuh"
#include "tessera/kernels/cuda/ptx_tensor.cuh"

/// Tiles of operands in shared memory, and how the warps of a product read them.
///
/// A tile holds `extent` rows of A (columns of B) and tile_bytes of each along k, in chunks of 16
/// bytes. It lies as the operand does in memory, along k (`along_k`) or along the other axis. The
/// chunks of a line are permuted by its number so that what a warp reads at a time never meets in a
/// bank: eight lines of one chunk (ldmatrix), or four lines of two (words of 4 and 8 bytes), be
/// they neighbours or, as in chained products, 0, 4, 1, 5 and 2, 6, 3, 7.
///
/// One step of the product is step_bytes along k: m16n8k32 of bytes, m16n8k16 of halves, m16n8k8 of
/// floats, twice m8n8k4 of doubles. All leave the sums of rows g, g + 8 and columns 2 t, 2 t + 1
/// with lane 4 g + t (ptx_tensor.cuh). A float is the sum of two of 11 bits, high and low; of the
/// four products all but that of the two low parts are added up, which leaves an error of some
/// 2^-21 of a product, where a float product has 2^-24.
namespace tessera::kernels::cuda {

inline constexpr int tile_bytes = 64, step_bytes = 32, chunk_bytes = 16;
template <class E>
inline constexpr int tile_depth = tile_bytes / static_cast<int>(sizeof(E));
template <class E>
inline constexpr int step_depth = step_bytes / static_cast<int>(sizeof(E));

template <class E, bool along_k, int extent>
struct Tile {
  static constexpr int chunk = chunk_bytes / static_cast<int>(sizeof(E));  // elements
  static constexpr int lines = along_k ? extent : tile_depth<E>;
  static constexpr int chunks = (along_k ? tile_depth<E> : extent) / chunk;  // of a line
  static constexpr size_t bytes = size_t{extent} * tile_bytes;
  static constexpr bool by_matrices = sizeof(E) == 2 || (sizeof(E) <= 4 && along_k);
  static_assert(sizeof(E) > 1 || along_k);

  alignas(chunk_bytes) unsigned char data[bytes];

  TS_DEVICE static int place(int line, int at) {
    const int turn = by_matrices ? (chunks == 4 ? line / 2 % 4 : line % 8)
                                 : (chunks == 4 ? (line / 2 ^ line / 4) % 2 : line % 4) * 2;
    return (line * chunks + (at ^ turn)) * chunk_bytes;
  }
  TS_DEVICE const void* chunk_at(int line, int at) const { return data + place(line, at); }
  /// Element `k` of row (column) `i`.
  TS_DEVICE E element(int i, int k) const {
    const int line = along_k ? i : k, at = along_k ? k : i;
    return reinterpret_cast<const E*>(data + place(line, at / chunk))[at % chunk];
  }

  /// Starts to copy rows [first, end) of an operand, `stride` apart, and [k, k_end) of each; zeros
  /// behind them. `whole_chunks`: memory, stride and all are multiples of 16 bytes.
  template <int threads>
  TS_DEVICE void load(const E* from, int64_t stride, int64_t first, int64_t end, int64_t k,
                      int64_t k_end, bool whole_chunks) {
    static_assert(lines * chunks % threads == 0);
    const int64_t outer = along_k ? first : k, outer_end = along_k ? end : k_end;
    const int64_t inner = along_k ? k : first, inner_end = along_k ? k_end : end;
#pragma unroll
    for (int i = 0; i < lines * chunks / threads; ++i) {
      const int index = i * threads + static_cast<int>(thread_index().x);
      const int line = index / chunks, at = index % chunks;
      const int64_t left = outer + line < outer_end ? inner_end - inner - at * chunk : 0;
      const int valid = left <= 0 ? 0 : left < chunk ? static_cast<int>(left) : chunk;
      const E* source = valid > 0 ? from + (outer + line) * stride + inner + at * chunk : from;
      E* target = reinterpret_cast<E*>(data + place(line, at));
      if (whole_chunks) {
        copy_async<chunk_bytes>(target, source, valid * sizeof(E));
      } else {
#pragma unroll
        for (int j = 0; j < chunk; ++j) {
          if constexpr (sizeof(E) >= 4)
            copy_async<sizeof(E)>(target + j, j < valid ? source + j : from,
                                  j < valid ? sizeof(E) : 0);
          else
            target[j] = j < valid ? source[j] : E{};
        }
      }
    }
  }

  /// Starts to copy chunk number turn * threads + thread, counted line by line, from where
  /// source(turn) points; zeros where that is null.
  template <int threads, class Source>
  TS_DEVICE void copy(const E* anywhere, Source&& source) {
    static_assert(lines * chunks % threads == 0);
#pragma unroll
    for (int turn = 0; turn < lines * chunks / threads; ++turn) {
      const int index = turn * threads + static_cast<int>(thread_index().x);
      const E* from = source(turn);
      copy_async<chunk_bytes>(data + place(index / chunks, index % chunks), from ? from : anywhere,
                              from ? chunk_bytes : 0);
    }
  }

  /// Chunk `at` of line `line` becomes value(line, element of the line that it begins with).
  template <int threads, class Value>
  TS_DEVICE void fill(Value&& value) {
#pragma unroll
    for (int i = 0; i < lines * chunks / threads; ++i) {
      const int index = i * threads + static_cast<int>(thread_index().x);
      const int line = index / chunks, at = index % chunks;
      store_vector(reinterpret_cast<Pack<E, chunk>*>(data + place(line, at)),
                   value(line, at * chunk));
    }
  }
};

/// What a lane holds of 16 rows of A (of two times 8 columns of B) for one step.
template <class E>
struct FragmentA {
  uint32_t words[4];
};
template <class E>
struct FragmentB {
  uint32_t words[4];  // two of either half
};
template <>
struct FragmentA<float> {
  uint32_t high[4], low[4], finite[4];  // finite: high, or 0 where it is no number
};
template <>
struct FragmentB<float> {
  uint32_t high[4], low[4], finite[4];
};
template <>
struct FragmentA<double> {
  double rows[2];
};
template <>
struct FragmentB<double> {
  double columns[2];
};

namespace detail {
/// high + low = x but for the last bits of low; infinities and NaN are high alone, lest they meet a
/// low part of zero, and a NaN keeps a bit that tf32 has.
TS_DEVICE void split_float(uint32_t bits, uint32_t& high, uint32_t& low, uint32_t& finite) {
  const bool is_finite = (bits & 0x7f800000u) != 0x7f800000u;
  finite = is_finite ? bits & 0xffffe000u : 0;
  low = is_finite ? to_tf32(bit_cast<float>(bits) - bit_cast<float>(finite)) : 0;
  high = is_finite ? finite : to_tf32(bit_cast<float>(bits));
}
}  // namespace detail

template <class E, bool along_k, int extent>
TS_DEVICE FragmentA<E> fragment_a(const Tile<E, along_k, extent>& tile, int row, int step) {
  const int lane = static_cast<int>(lane_index()), g = lane / 4, t = lane % 4;
  FragmentA<E> a;
  if constexpr (sizeof(E) == 8) {
#pragma unroll
    for (int i = 0; i < 2; ++i) a.rows[i] = tile.element(row + g + 8 * i, step * step_depth<E> + t);
  } else {
    uint32_t words[4];
    if constexpr (along_k) {
      load_matrices(words, tile.chunk_at(row + lane % 16, step * 2 + lane / 16));
    } else if constexpr (sizeof(E) <= 2) {
      load_matrices_transposed(words, tile.chunk_at(step * step_depth<E> + lane / 16 * 8 + lane % 8,
                                                    row / 8 + lane / 8 % 2));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        words[i] = bit_cast<uint32_t>(
            tile.element(row + g + i % 2 * 8, step * step_depth<E> + t + i / 2 * 4));
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (sizeof(E) <= 2)
        a.words[i] = words[i];
      else
        detail::split_float(words[i], a.high[i], a.low[i], a.finite[i]);
    }
  }
  return a;
}

/// The column of b that stands in place n (below 8) of a chained product: its sums are, as they lie
/// in registers, a of the next product (chain_fragments).
template <class E>
TS_DEVICE int chained_column(int n) {
  return sizeof(E) > 2 ? n / 2 + n % 2 * 4 : n;
}

template <bool chained = false, class E, bool along_k, int extent>
TS_DEVICE FragmentB<E> fragment_b(const Tile<E, along_k, extent>& tile, int column, int step) {
  static_assert(!chained || along_k);
  const int lane = static_cast<int>(lane_index()), t = lane % 4;
  const auto place = [](int n) { return chained ? chained_column<E>(n) : n; };
  const int g = place(lane / 4);
  FragmentB<E> b;
  if constexpr (sizeof(E) == 8) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      b.columns[i] = tile.element(column + g + 8 * i, step * step_depth<E> + t);
  } else {
    uint32_t words[4];
    if constexpr (along_k) {
      load_matrices(
          words, tile.chunk_at(column + lane / 16 * 8 + place(lane % 8), step * 2 + lane / 8 % 2));
    } else if constexpr (sizeof(E) <= 2) {
      load_matrices_transposed(
          words, tile.chunk_at(step * step_depth<E> + lane % 16, column / 8 + lane / 16));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        words[i] = bit_cast<uint32_t>(
            tile.element(column + g + i / 2 * 8, step * step_depth<E> + t + i % 2 * 4));
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (sizeof(E) <= 2)
        b.words[i] = words[i];
      else
        detail::split_float(words[i], b.high[i], b.low[i], b.finite[i]);
    }
  }
  return b;
}

/// Sums of a chained product as a of the next: columns [step * step_depth, ...) of sums[j], the
/// sums of 8 columns each. Halves are rounded; a second part holds what that left.
template <class E, class Sum, int parts, int n>
TS_DEVICE void chain_fragments(FragmentA<E> (&a)[parts], const Sum (&sums)[n][4], int step) {
  static_assert(parts == 1 || sizeof(E) == 2);
  if constexpr (sizeof(E) == 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Sum x = sums[2 * step + i / 2][i % 2 * 2], y = sums[2 * step + i / 2][i % 2 * 2 + 1];
      const E high_x = narrow<E>(x), high_y = narrow<E>(y);
      a[0].words[i] = pack_halves(high_x, high_y);
      if constexpr (parts == 2)
        a[1].words[i] = pack_halves(narrow<E>(x - widen(high_x)), narrow<E>(y - widen(high_y)));
    }
  } else if constexpr (sizeof(E) == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      detail::split_float(bit_cast<uint32_t>(sums[step][i % 2 * 2 + i / 2]), a[0].high[i],
                          a[0].low[i], a[0].finite[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 2; ++i) a[0].rows[i] = sums[step / 2][2 * i + step % 2];
  }
}

/// sums += a b for the first or second 8 columns of b.
template <class A, class B, class Sum>
TS_DEVICE void multiply_add(Sum (&sums)[4], const FragmentA<A>& a, const FragmentB<B>& b,
                            int half) {
  if constexpr (sizeof(A) <= 2) {
    const uint32_t words[2] = {b.words[2 * half], b.words[2 * half + 1]};
    if constexpr (sizeof(A) == 1)
      mma_m16n8k32<A, B>(sums, a.words, words);
    else
      mma_m16n8k16<A>(sums, a.words, words);
  } else if constexpr (sizeof(A) == 4) {
    const uint32_t high[2] = {b.high[2 * half], b.high[2 * half + 1]};
    const uint32_t low[2] = {b.low[2 * half], b.low[2 * half + 1]};
    const uint32_t finite[2] = {b.finite[2 * half], b.finite[2 * half + 1]};
    mma_m16n8k8_tf32(sums, a.low, finite);
    mma_m16n8k8_tf32(sums, a.finite, low);
    mma_m16n8k8_tf32(sums, a.high, high);
  } else {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      double row[2] = {sums[2 * i], sums[2 * i + 1]};
      mma_m8n8k4(row, a.rows[i], b.columns[half]);
      sums[2 * i] = row[0];
      sums[2 * i + 1] = row[1];
    }
  }
}

}  // namespace tessera::kernels::cuda
