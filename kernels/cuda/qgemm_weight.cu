// Products of numbers by a weight in low precision, on tensor cores. x in halves is multiplied by
// the codes themselves, which halves hold exactly; zeros and scales come in where a group of codes
// ends. x in floats, and what does not lie in whole chunks, is multiplied by the weight's values as
// floats (gemm_tile.cuh).
//
// Floor: the weight's codes once, for few rows of x; 2 m n k operations for many. The bytes on
// their way, three stages of 128 rows of codes per block, are what memory needs to be busy; parts
// of a long k keep all of a GPU at it.
#include "tessera/kernels/cuda/gemm_block.cuh"
#include "tessera/kernels/cuda/qgemm.cuh"
#include "tessera/kernels/qgemm_operands.hpp"
#include "tessera/kernels/quantize.hpp"

namespace tessera::kernels::cuda {
namespace {

struct Weight {
  const uint8_t* codes;  // bytes, of one code or two
  const float *scale, *zero;
  int64_t k, group, row_bytes;
  int64_t scale_stride;  // between rows of scales; 0 where all rows share one
  bool packed, is_signed;
  bool in_packs;  // rows of codes begin where four of them may be read at once

  /// Codes [at, at + 4) of a row, at a multiple of 4, one or two to a byte. Four lanes share a row,
  /// eight rows a request: 8 sectors where 4 (packed codes: 2) would hold what is asked for; the
  /// next tile along k finds the rest in the first-level cache. So are scales from four groups on,
  /// 4 sectors for 1. Beside 16 of x, and of y as many as there are, 64 x 128 by 128 x 128
  /// takes 1.14 to 1.33 of the ideal sectors.
  TS_DEVICE uint32_t four_codes(int64_t row, int64_t at) const {
    const uint8_t* const from = codes + row * row_bytes + (packed ? at / 2 : at);
    uint32_t bytes = 0;
    if (!in_packs) {
      for (int i = 0; i < (packed ? 2 : 4); ++i)
        if (at + (packed ? 2 * i : i) < k) bytes |= static_cast<uint32_t>(from[i]) << 8 * i;
    } else if (packed) {
      bytes = bit_cast<uint16_t>(load_vector(reinterpret_cast<const Pack<uint8_t, 2>*>(from)));
    } else {
      bytes = bit_cast<uint32_t>(load_vector(reinterpret_cast<const Pack<uint8_t, 4>*>(from)));
    }
    return bytes;
  }
  /// Number i of four codes.
  TS_DEVICE float code(uint32_t four, int i) const {
    const auto byte = static_cast<uint8_t>(four >> (packed ? i / 2 : i) * 8);
    if (packed)
      return static_cast<float>(is_signed ? unpack_int4(byte, i % 2) : unpack_uint4(byte, i % 2));
    return static_cast<float>(is_signed ? static_cast<int8_t>(byte) : byte);
  }
  /// Elements [at, at + 4) of a row; a group is looked up only where it begins.
  TS_DEVICE Pack<float, 4> values(int64_t row, int64_t at) const {
    Pack<float, 4> out{};
    if (at >= k) return out;
    const uint32_t four = four_codes(row, at);
    int64_t of_group = at / group, left = group - at % group;
    float s = 0, z = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (at + i >= k) break;
      if (i == 0 || left == 0) {
        if (left == 0) ++of_group, left = group;
        s = scale[row * scale_stride + of_group];
        z = zero ? zero[row * scale_stride + of_group] : 0;
      }
      --left;
      out.lane[i] = (code(four, i) - z) * s;
    }
    return out;
  }
};

template <class E>
struct WeightJob {
  const E* x;
  const E* bias;
  E* y;
  float* parts;
  Weight w;
  int64_t m, n, k;
  Activation activation;
  bool x_in_packs;  // rows of x begin where four elements may be read at once

  /// A sum of one part of k; of rows and columns beyond those of y, nothing.
  TS_DEVICE void put(int64_t part, int64_t row, int64_t column, float sum) const {
    if (row >= m || column >= n) return;
    if (parts)
      parts[(part * m + row) * n + column] = sum;
    else
      store(row, column, sum);
  }
  TS_DEVICE void operator()(int64_t i, float sum) const { store(i / n, i % n, sum); }
  TS_DEVICE void store(int64_t row, int64_t column, float sum) const {
    if (bias) sum += widen(bias[column]);
    y[row * n + column] = narrow<E>(activated(activation, sum));
  }
};

// ---------------------------------------------------------------- floats

/// Elements [at, at + 4) of a row of k numbers.
template <class E>
TS_DEVICE Pack<float, 4> widened(const E* row, int64_t at, int64_t k, bool in_packs) {
  Pack<float, 4> out{};
  if (in_packs && at < k) {
    const auto four = load_vector(reinterpret_cast<const Pack<E, 4>*>(row + at));
#pragma unroll
    for (int i = 0; i < 4; ++i) out.lane[i] = widen(four.lane[i]);
    return out;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (at + i < k) out.lane[i] = widen(row[at + i]);
  return out;
}

template <class E, class B>
__global__ void __launch_bounds__(B::threads, 256 / B::threads)
    multiply_weight(WeightJob<E> job, ProductCut cut) {
  using Product = BlockProduct<float, float, float, B, true, true>;
  auto& shared = dynamic_shared<typename Product::Shared>();
  const BlockPlace place(cut, block_index().x);
  const int64_t first_row = place.row * B::extent, first_column = place.column * B::extent;
  Product product(job.m - first_row, job.n - first_column);
  product.multiply(shared, place.count, [&](typename Product::Stage& stage, int64_t i) {
    const int64_t k = (place.begin + i) * tile_depth<float>;
    stage.a.template fill<B::threads>([&](int line, int at) {
      const int64_t row = first_row + line;
      return row < job.m ? widened(job.x + row * job.k, k + at, job.k, job.x_in_packs)
                         : Pack<float, 4>{};
    });
    stage.b.template fill<B::threads>([&](int line, int at) {
      const int64_t row = first_column + line;
      return row < job.n ? job.w.values(row, k + at) : Pack<float, 4>{};
    });
  });
  product.write(shared, [&](int i, int j, float sum) {
    job.put(place.part, first_row + i, first_column + j, sum);
  });
}

constexpr const char* name = "weight_only_gemm";

template <class E>
void launch_weight(Stream& stream, const WeightJob<E>& job, const ProductCut& cut, uint32_t threads,
                   size_t shared_bytes, void (*multiply)(WeightJob<E>, ProductCut)) {
  launch_product(
      stream, {name, "weight_only_gemm parts"}, cut, threads, shared_bytes, job,
      [](const WeightJob<E>& j) { return j; }, multiply);
}

template <class E, class B>
void launch_weight(Stream& stream, const WeightJob<E>& job) {
  using Shared = typename BlockProduct<float, float, float, B, true, true>::Shared;
  launch_weight(stream, job,
                {name, job.m, job.n, 1, ceil_divide(job.k, tile_depth<float>), B::extent},
                B::threads, sizeof(Shared), multiply_weight<E, B>);
}

// ---------------------------------------------------------------- halves

/// A block of four warps: 128 rows of the weight, 32 per warp, by 16 `row_tiles` rows of x. A stage
/// holds 64 elements along k: x in chunks of 16 bytes permuted by the row's number, for ldmatrix;
/// codes as they are, in chunks permuted so that the eight rows that a warp reads at a time lie in
/// different banks.
template <class E, int row_tiles_, bool packed_>
struct CodeTile {
  static constexpr bool packed = packed_;
  static constexpr int row_tiles = row_tiles_, rows = 16 * row_tiles;
  static constexpr int warps = 4, threads = warps * static_cast<int>(warp_size);
  static constexpr int columns = warps * warp_columns, depth = 64, stages = 4;
  static constexpr int line = packed ? depth / 2 : depth, code_chunks = line / chunk_bytes;
  static constexpr int chunks = depth * static_cast<int>(sizeof(E)) / chunk_bytes;  // of a row of x
  static constexpr int fragments = warp_columns / 8;
  static_assert(sizeof(E) == 2);

  struct Stage {
    alignas(chunk_bytes) unsigned char x[rows][chunks * chunk_bytes];
    alignas(chunk_bytes) unsigned char codes[columns][line];

    TS_DEVICE const void* chunk_at(int row, int at) const {
      return x[row] + (at ^ row % chunks) * chunk_bytes;
    }
    /// Byte `at` of a row of codes; rows that fill 128 bytes, all banks, are permuted alike.
    TS_DEVICE const unsigned char* code_at(int row, int at) const {
      const int turn = row / (128 / line) % code_chunks;
      return codes[row] + (at / chunk_bytes ^ turn) * chunk_bytes + at % chunk_bytes;
    }
  };
  union Shared {
    Stage stages[CodeTile::stages];
    SumLines<float> lines[warps];
  };
};

/// Codes of two neighbours along k, one in each half of a word, as numbers of E: exact, since they
/// are below 2^8. Both ways let a sum with a power of two place the code's bits.
template <class E>
struct CodeReader {
  uint32_t flip;  // makes signed codes unsigned, `offset` larger
  float offset;

  TS_DEVICE explicit CodeReader(bool packed, bool is_signed)
      : flip(!is_signed ? 0
             : packed   ? 0x88u
                        : 0x8080u),
        offset(!is_signed ? 0.0f
               : packed   ? 8.0f
                          : 128.0f) {}

  /// `codes`: a byte of two, or two bytes.
  template <bool packed>
  TS_DEVICE uint32_t pair(uint32_t codes) const {
    codes ^= flip;
    const uint32_t apart =
        packed ? (codes | codes << 12) & 0x000f000fu : (codes | codes << 8) & 0x00ff00ffu;
    if constexpr (std::is_same_v<E, f16>) {
      const uint32_t bias = narrow<f16>(-1024.0f - offset).bits;
      return add_halves(apart | 0x64006400u, bias | bias << 16);
    } else {
      const float low = bit_cast<float>(0x4b000000u | (apart & 0xffffu)) - (8388608.0f + offset),
                  high = bit_cast<float>(0x4b000000u | apart >> 16) - (8388608.0f + offset);
      return bit_cast<uint32_t>(low) >> 16 | (bit_cast<uint32_t>(high) & 0xffff0000u);
    }
  }
};

template <class E, class T>
__global__ void __launch_bounds__(T::threads, T::row_tiles == 1   ? 4
                                              : T::row_tiles == 2 ? 3
                                                                  : 2)
    multiply_codes(WeightJob<E> job, ProductCut cut) {
  auto& shared = dynamic_shared<typename T::Shared>();
  const BlockPlace place(cut, block_index().x);
  const int64_t first_row = place.row * T::rows, first_column = place.column * T::columns;
  const int thread = static_cast<int>(thread_index().x), lane = static_cast<int>(lane_index()),
            warp = static_cast<int>(warp_index());
  const Weight& w = job.w;

  const auto load = [&](typename T::Stage& stage, int64_t i) {
    const int64_t k = (place.begin + i) * T::depth;
    constexpr int per_chunk = chunk_bytes / static_cast<int>(sizeof(E));
#pragma unroll
    for (int at = thread; at < T::rows * T::chunks; at += T::threads) {
      const int row = at / T::chunks, chunk = at % T::chunks;
      const int64_t from = k + chunk * per_chunk;
      const bool there = first_row + row < job.m && from < job.k;
      copy_async<chunk_bytes>(const_cast<void*>(stage.chunk_at(row, chunk)),
                              there ? job.x + (first_row + row) * job.k + from : job.x,
                              there ? chunk_bytes : 0);
    }
    const int64_t byte = T::packed ? k / 2 : k;
#pragma unroll
    for (int at = thread; at < T::columns * T::code_chunks; at += T::threads) {
      const int row = at / T::code_chunks, chunk = at % T::code_chunks;
      const int64_t from = byte + chunk * chunk_bytes;
      const bool there = first_column + row < job.n && from < w.row_bytes;
      copy_async<chunk_bytes>(const_cast<unsigned char*>(stage.code_at(row, chunk * chunk_bytes)),
                              there ? w.codes + (first_column + row) * w.row_bytes + from : w.codes,
                              there ? chunk_bytes : 0);
    }
  };

  float total[T::row_tiles][T::fragments][4] = {}, part[T::row_tiles][T::fragments][4] = {},
        row_sums[T::row_tiles][4] = {};
  const int64_t begin = place.begin * T::depth;
  int64_t group = begin / w.group, left = w.group - begin % w.group;
  // A group has ended: its sums, of codes as they are, get its zero and its scale. Lanes read
  // scales of four columns, two rows of groups apart: from four groups on 4 sectors, where one
  // holds the 16 bytes, which is 1.23 to 1.27 of all sectors of 64 x 128 by 128 x 128.
  const auto fold = [&] {
#pragma unroll
    for (int j = 0; j < T::fragments; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int64_t column = first_column + warp * warp_columns + 8 * j + lane % 4 * 2 + i;
        const int64_t at = column * w.scale_stride + group;
        const float s = column < job.n ? w.scale[at] : 0,
                    z = column < job.n && w.zero ? w.zero[at] : 0;
#pragma unroll
        for (int r = 0; r < T::row_tiles; ++r)
#pragma unroll
          for (int half = 0; half < 4; half += 2) {
            float& sum = part[r][j][half + i];
            total[r][j][half + i] = fma(s, sum - z * row_sums[r][half], total[r][j][half + i]);
            sum = 0;
          }
      }
#pragma unroll
    for (int r = 0; r < T::row_tiles; ++r) row_sums[r][0] = row_sums[r][2] = 0;
  };

  const CodeReader<E> codes(T::packed, w.is_signed);
  const uint32_t one = narrow<E>(1.0f).bits, ones[2] = {one | one << 16, one | one << 16};
  const auto multiply = [&](const typename T::Stage& stage, int step) {
    // Rows eight apart are permuted alike: one address for all fragments.
    static_assert(8 % (128 / T::line * T::code_chunks) == 0);
    constexpr int each = T::packed ? 1 : 2;  // bytes of two codes
    const unsigned char* const from =
        stage.code_at(warp * warp_columns + lane / 4, step * 8 * each) + lane % 4 * each;
    uint32_t b[T::fragments][2];
#pragma unroll
    for (int j = 0; j < T::fragments; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned char* const at = from + 8 * j * T::line + half * 4 * each;
        b[j][half] = T::packed ? codes.template pair<true>(*at)
                               : codes.template pair<false>(*reinterpret_cast<const uint16_t*>(at));
      }
#pragma unroll
    for (int r = 0; r < T::row_tiles; ++r) {
      uint32_t a[4];
      load_matrices(a, stage.chunk_at(16 * r + lane % 16, step * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < T::fragments; ++j) mma_m16n8k16<E>(part[r][j], a, b[j]);
      if (w.zero) mma_m16n8k16<E>(row_sums[r], a, ones);
    }
  };

  for (int64_t i = 0; i < T::stages - 1; ++i) {
    if (i < place.count) load(shared.stages[i], i);
    commit_copies();
  }
  for (int64_t i = 0; i < place.count; ++i) {
    wait_copies<T::stages - 2>();
    sync_block();  // stage i is there for all, and none reads stage i - 1 any more
    if (const int64_t next = i + T::stages - 1; next < place.count)
      load(shared.stages[next % T::stages], next);
    commit_copies();
#pragma unroll
    for (int step = 0; step < T::depth / 16; ++step) {
      if (begin + i * T::depth + step * 16 >= job.k) break;
      multiply(shared.stages[i % T::stages], step);
      if ((left -= 16) > 0) continue;
      fold();
      ++group, left = w.group;
    }
  }
  if (left < w.group) fold();
  wait_copies<0>();
  sync_block();
#pragma unroll
  for (int r = 0; r < T::row_tiles; ++r)
    shared.lines[warp].write([&](int j, int i) { return total[r][j][i]; },
                             [&](int i, int j, float sum) {
                               job.put(place.part, first_row + 16 * r + i,
                                       first_column + warp * warp_columns + j, sum);
                             });
}

template <class E, class T>
void launch_codes(Stream& stream, const WeightJob<E>& job) {
  launch_weight(stream, job,
                {name, job.m, job.n, 1, ceil_divide(job.k, T::depth), T::rows, T::columns},
                T::threads, sizeof(typename T::Shared), multiply_codes<E, T>);
}

template <class E, bool packed>
void launch_codes(Stream& stream, const WeightJob<E>& job) {
  if (job.m <= 16)
    launch_codes<E, CodeTile<E, 1, packed>>(stream, job);
  else if (job.m <= 32)
    launch_codes<E, CodeTile<E, 2, packed>>(stream, job);
  else
    launch_codes<E, CodeTile<E, 4, packed>>(stream, job);
}

/// Whether rows begin where chunks do, and groups where steps do.
template <class E>
bool in_whole_steps(const WeightJob<E>& job) {
  return in_chunks(job.x, job.k) && in_chunks(job.w.codes, job.w.row_bytes) &&
         (job.w.group % 16 == 0 || job.w.group == job.k);
}

}  // namespace

void weight_only_gemm(Stream& stream, View x, QuantizedView w, View y, const QgemmParams& params) {
  const WeightExtents e = check_weight_only(x, w, y, params);
  for_output("weight_only_gemm", y.dtype, [&]<class E>() {
    if (y.numel() == 0) return;
    const WeightJob<E> job{.x = x.as<E>(),
                           .bias = params.bias ? params.bias.as<E>() : nullptr,
                           .y = y.as<E>(),
                           .parts = nullptr,
                           .w = {.codes = static_cast<const uint8_t*>(w.codes.data),
                                 .scale = w.scale.as<float>(),
                                 .zero = w.zero ? w.zero.as<float>() : nullptr,
                                 .k = e.k,
                                 .group = e.group,
                                 .row_bytes = w.codes.shape[1],
                                 .scale_stride = w.scale.shape[0] == 1 ? 0 : w.scale.shape[1],
                                 .packed = w.packed,
                                 .is_signed = w.packed ? w.is_signed : w.codes.dtype == DType::i8,
                                 .in_packs = e.k % 4 == 0 && aligned(w.codes.data, 4)},
                           .m = x.shape[0],
                           .n = e.n,
                           .k = e.k,
                           .activation = params.activation,
                           .x_in_packs = e.k % 4 == 0 && aligned(x.data, 4 * sizeof(E))};
    if constexpr (sizeof(E) == 2)
      if (in_whole_steps(job))
        return w.packed ? launch_codes<E, true>(stream, job) : launch_codes<E, false>(stream, job);
    if (ProductCut::wants_large(job.m, job.n, 1))
      launch_weight<E, LargeBlock>(stream, job);
    else
      launch_weight<E, SmallBlock>(stream, job);
  });
}

}  // namespace tessera::kernels::cuda
