// Matrix products on tensor cores through mma.sync, for compute capability 8.0 and up.
//
// A block owns a tile of C and walks along k with a ring of tiles of A and B in shared memory,
// filled by asynchronous copies while the warps multiply (gemm_tile.cuh). Either operand may run
// along k or along the other axis in memory. Sums pass through shared memory on their way out, a
// line of C per warp, where scale, addend, bias and activation are applied.
//
// Few tiles with a long k would leave most of a GPU idle: then k is cut into parts with blocks of
// their own, whose sums a second kernel adds in order. How a product is cut depends on its extents
// alone, and so do the bits of its result.
//
// Floor: 2 m n k operations (three times that of tf32 for floats), or A, B and C once. Tiles of 128
// read A and B n / 128 and m / 128 times, mostly from the second-level cache: blocks that run at
// the same time own neighbouring tiles.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/gemm_tile.cuh"
#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/gemm_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr int warp_columns = 32;     // of the tile that a warp owns
constexpr int64_t processors = 132;  // of the GPU that products are cut for
constexpr int64_t least_part = 8;    // tiles along k that pay for a part of their own
constexpr int64_t group_rows = 8;    // of tiles, that are walked column by column

/// `extent` x `extent` of C for warps_m x warps_n warps.
template <int extent_, int warps_m_, int warps_n_>
struct Block {
  static constexpr int extent = extent_, warps_m = warps_m_, warps_n = warps_n_;
  static constexpr int threads = warps_m * warps_n * static_cast<int>(warp_size);
  static constexpr int stages = 4;
  static constexpr int row_tiles = extent / warps_m / 16;  // of 16, of a warp
  static_assert(extent / warps_n == warp_columns);
};
using LargeBlock = Block<128, 2, 4>;
using SmallBlock = Block<64, 2, 2>;

/// Operands and results as the kernels see them.
template <class E>
struct Job {
  using T = compute_t<E>;
  const E *a, *b;
  void* c;           // of E or, where `wide`, of T
  const void* bias;  // like c
  T* parts;          // sums of the parts of k, [parts, batch, m, n]; null for one part
  int64_t m, n, k, a_stride, b_stride, c_stride;
  T alpha, beta;
  Batch batch;
  int64_t batches, row_tiles, column_tiles, part_count;
  bool wide, row_bias, a_chunks, b_chunks;
  Activation activation;
};

template <class E>
TS_DEVICE compute_t<E> load_result(const void* from, int64_t at, bool wide) {
  return wide ? static_cast<const compute_t<E>*>(from)[at] : widen(static_cast<const E*>(from)[at]);
}

/// Stores activation(alpha sum + beta c + bias).
template <class E>
TS_DEVICE void finish(const Job<E>& job, compute_t<E> sum, int64_t c_offset, int64_t row,
                      int64_t column) {
  const int64_t at = c_offset + row * job.c_stride + column;
  compute_t<E> x = job.alpha * sum;
  if (job.beta != 0) x = fma(job.beta, load_result<E>(job.c, at, job.wide), x);
  if (job.bias) x += load_result<E>(job.bias, job.row_bias ? row : column, job.wide);
  switch (job.activation) {
    case Activation::none:
      break;
    case Activation::relu:
      x = functors::relu(x);
      break;
    case Activation::gelu:
      x = functors::gelu(x);
      break;
    case Activation::gelu_tanh:
      x = functors::gelu_tanh(x);
      break;
    case Activation::silu:
      x = functors::silu(x);
      break;
  }
  if (job.wide)
    static_cast<compute_t<E>*>(job.c)[at] = x;
  else
    static_cast<E*>(job.c)[at] = narrow<E>(x);
}

struct Offsets {
  int64_t a = 0, b = 0, c = 0;
};
TS_DEVICE Offsets offsets_of(const Batch& batch, int64_t index) {
  Offsets o;
  for (int i = batch.rank - 1; i >= 0; --i) {
    const int64_t x = i == 0 ? index : index % batch.extent[i];
    index /= batch.extent[i];
    o.a += x * batch.a[i];
    o.b += x * batch.b[i];
    o.c += x * batch.c[i];
  }
  return o;
}

/// The tile with number `index`: groups of rows, within them column by column.
struct Place {
  int64_t row, column;
};
TS_DEVICE Place place_of(int64_t index, int64_t row_tiles, int64_t column_tiles) {
  const int64_t per_group = group_rows * column_tiles, first = index / per_group * group_rows;
  const int64_t rows = row_tiles - first < group_rows ? row_tiles - first : group_rows;
  return {first + index % per_group % rows, index % per_group / rows};
}

template <class E, class B, bool a_along_k, bool b_along_k>
struct Shared {
  struct Stage {
    Tile<E, a_along_k, B::extent> a;
    Tile<E, b_along_k, B::extent> b;
  };
  // Rows start eight banks apart, so that the pairs of a fragment never meet.
  struct Lines {
    compute_t<E> rows[16][warp_columns + 8];
  };
  union {
    Stage stages[B::stages];
    Lines lines[B::warps_m * B::warps_n];
  };
};

template <class E, class B, bool a_along_k, bool b_along_k>
__global__ void __launch_bounds__(B::threads, 256 / B::threads) multiply(Job<E> job) {
  using T = compute_t<E>;
  constexpr int depth = tile_depth<E>, pairs = warp_columns / 16;
  constexpr int steps_at_a_time = sizeof(E) == 4 ? 1 : 2;  // parts of floats fill the registers
  auto& shared = dynamic_shared<Shared<E, B, a_along_k, b_along_k>>();
  const int warp = static_cast<int>(warp_index()), lane = static_cast<int>(lane_index());
  const int warp_row = warp / B::warps_n * (B::extent / B::warps_m);
  const int warp_column = warp % B::warps_n * warp_columns;

  const int64_t tiles = job.row_tiles * job.column_tiles, index = block_index().x;
  const Place place = place_of(index % tiles, job.row_tiles, job.column_tiles);
  const int64_t part = index / tiles % job.part_count, batch = index / tiles / job.part_count;
  const Offsets offsets = offsets_of(job.batch, batch);
  const E *a = job.a + offsets.a, *b = job.b + offsets.b;
  const int64_t first_row = place.row * B::extent, first_column = place.column * B::extent;
  const int64_t k_tiles = (job.k + depth - 1) / depth, begin = k_tiles * part / job.part_count,
                count = k_tiles * (part + 1) / job.part_count - begin;

  const auto load = [&](int64_t i) {
    auto& stage = shared.stages[i % B::stages];
    const int64_t k = (begin + i) * depth;
    stage.a.template load<B::threads>(a, job.a_stride, first_row, job.m, k, job.k, job.a_chunks);
    stage.b.template load<B::threads>(b, job.b_stride, first_column, job.n, k, job.k, job.b_chunks);
  };

  T sums[B::row_tiles][2 * pairs][4] = {};
  for (int64_t i = 0; i < B::stages - 1; ++i) {
    if (i < count) load(i);
    commit_copies();
  }
  for (int64_t i = 0; i < count; ++i) {
    wait_copies<B::stages - 2>();
    sync_block();  // tile i is there for all, and none reads tile i - 1 any more
    if (i + B::stages - 1 < count) load(i + B::stages - 1);
    commit_copies();
    const auto& stage = shared.stages[i % B::stages];
#pragma unroll(steps_at_a_time)
    for (int step = 0; step < tile_bytes / step_bytes; ++step) {
      FragmentB<E> of_b[pairs];
#pragma unroll
      for (int j = 0; j < pairs; ++j) of_b[j] = fragment_b(stage.b, warp_column + 16 * j, step);
#pragma unroll
      for (int r = 0; r < B::row_tiles; ++r) {
        const FragmentA<E> of_a = fragment_a(stage.a, warp_row + 16 * r, step);
#pragma unroll
        for (int j = 0; j < 2 * pairs; ++j) multiply_add<E>(sums[r][j], of_a, of_b[j / 2], j % 2);
      }
    }
  }
  wait_copies<0>();
  sync_block();

  auto& lines = shared.lines[warp].rows;
  const int64_t column = first_column + warp_column + lane;
#pragma unroll
  for (int r = 0; r < B::row_tiles; ++r) {
#pragma unroll
    for (int j = 0; j < 2 * pairs; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_vector(
            reinterpret_cast<Pack<T, 2>*>(&lines[lane / 4 + 8 * half][8 * j + lane % 4 * 2]),
            Pack<T, 2>{sums[r][j][2 * half], sums[r][j][2 * half + 1]});
    sync_warp();
    const int64_t row = first_row + warp_row + 16 * r;
    if (column < job.n)
      for (int i = 0; i < 16 && row + i < job.m; ++i) {
        if (job.parts)
          job.parts[((part * job.batches + batch) * job.m + row + i) * job.n + column] =
              lines[i][lane];
        else
          finish(job, lines[i][lane], offsets.c, row + i, column);
      }
    sync_warp();
  }
}

constexpr uint32_t join_threads = 256;

/// The sums of the parts, added in order.
template <class E>
__global__ void __launch_bounds__(join_threads) join_parts(Job<E> job) {
  const int64_t size = job.batches * job.m * job.n;
  for (int64_t i = first_element(); i < size; i += element_step()) {
    compute_t<E> sum = job.parts[i];
    for (int64_t part = 1; part < job.part_count; ++part) sum += job.parts[part * size + i];
    const int64_t batch = i / (job.m * job.n), at = i % (job.m * job.n);
    finish(job, sum, offsets_of(job.batch, batch).c, at / job.n, at % job.n);
  }
}

template <class E, class B, bool a_along_k, bool b_along_k>
void launch_multiply(Stream& stream, Job<E>& job) {
  job.row_tiles = ceil_divide(job.m, B::extent);
  job.column_tiles = ceil_divide(job.n, B::extent);
  const int64_t tiles = job.row_tiles * job.column_tiles * job.batches;
  const int64_t k_tiles = ceil_divide(job.k, tile_depth<E>);
  job.part_count =
      std::clamp<int64_t>(std::min(2 * processors / tiles, k_tiles / least_part), 1, 64);
  const int64_t blocks = tiles * job.part_count, size = job.batches * job.m * job.n;
  TS_CHECK(blocks <= INT32_MAX, "gemm: ", job.batches, " products of ", job.m, " x ", job.n,
           " are more than a grid holds");
  const bool in_parts = job.part_count > 1;
  const Scratch parts = stream.scratch(
      in_parts ? static_cast<size_t>(job.part_count * size) * sizeof(compute_t<E>) : 0);
  job.parts = in_parts ? parts.as<compute_t<E>>() : nullptr;
  launch(stream,
         {.name = "gemm",
          .grid = {static_cast<uint32_t>(blocks)},
          .block = {B::threads},
          .shared_bytes = sizeof(Shared<E, B, a_along_k, b_along_k>)},
         multiply<E, B, a_along_k, b_along_k>, job);
  if (in_parts)
    launch(stream, {"gemm parts", {blocks_for(size, join_threads)}, {join_threads}}, join_parts<E>,
           job);
}

template <class E, class B>
void launch_multiply(Stream& stream, Job<E>& job, bool a_along_k, bool b_along_k) {
  if (a_along_k)
    b_along_k ? launch_multiply<E, B, true, true>(stream, job)
              : launch_multiply<E, B, true, false>(stream, job);
  else
    b_along_k ? launch_multiply<E, B, false, true>(stream, job)
              : launch_multiply<E, B, false, false>(stream, job);
}

/// Whether all chunks of 16 bytes of an operand are where such a copy may begin.
template <class E>
bool in_chunks(const E* data, int64_t stride, const Batch& batch, const int64_t* batch_strides) {
  bool all = aligned(data, chunk_bytes) && stride * sizeof(E) % chunk_bytes == 0;
  for (int i = 0; i < batch.rank; ++i) all = all && batch_strides[i] * sizeof(E) % chunk_bytes == 0;
  return all;
}

template <class E, class C>
void multiply(Stream& stream, const View& a, const View& b, const View& c,
              const GemmParams& params) {
  const BatchedProduct<E, C> operands = batched_product<E, C>(a, b, c, params);
  if (operands.empty()) return;
  const auto& [p, batch] = operands;
  const bool a_along_k = p.a_column == 1, b_along_k = p.b_row == 1 && (p.b_column != 1 || p.n == 1);
  const auto stride = [](int64_t lines, int64_t between) { return lines > 1 ? between : 0; };
  Job<E> job{.a = p.a,
             .b = p.b,
             .c = p.c,
             .bias = p.bias,
             .parts = nullptr,
             .m = p.m,
             .n = p.n,
             .k = p.k,
             .a_stride = a_along_k ? stride(p.m, p.a_row) : stride(p.k, p.a_column),
             .b_stride = b_along_k ? stride(p.n, p.b_column) : stride(p.k, p.b_row),
             .c_stride = p.c_row,
             .alpha = static_cast<compute_t<E>>(p.alpha),
             .beta = static_cast<compute_t<E>>(p.beta),
             .batch = batch,
             .batches = batch.size(),
             .row_tiles = 0,
             .column_tiles = 0,
             .part_count = 1,
             .wide = !std::is_same_v<E, C>,
             .row_bias = p.has_row_bias(),
             .a_chunks = false,
             .b_chunks = false,
             .activation = p.activation};
  job.a_chunks = in_chunks(p.a, job.a_stride, batch, batch.a);
  job.b_chunks = in_chunks(p.b, job.b_stride, batch, batch.b);
  const int64_t large_tiles =
      ceil_divide(p.m, LargeBlock::extent) * ceil_divide(p.n, LargeBlock::extent) * job.batches;
  if constexpr (sizeof(E) < 8)
    if (large_tiles >= processors && std::min(p.m, p.n) > SmallBlock::extent)
      return launch_multiply<E, LargeBlock>(stream, job, a_along_k, b_along_k);
  launch_multiply<E, SmallBlock>(stream, job, a_along_k, b_along_k);
}

void gemm(Stream& stream, View a, View b, View c, const GemmParams& params) {
  check_gemm(a, b, c, params);
  if (params.variant == GemmVariant::vendor)
    throw Error(ErrorKind::unsupported,
                concat("gemm: no vendor variant on ", to_string(stream.device())));
  for_float(a.dtype, "gemm", [&]<class E>() {
    if (c.dtype == a.dtype)
      multiply<E, E>(stream, a, b, c, params);
    else if constexpr (sizeof(E) == 2)
      multiply<E, float>(stream, a, b, c, params);
  });
}

}  // namespace

extern const GemmKernels gemm_kernels{.gemm = gemm};

}  // namespace tessera::kernels::cuda
