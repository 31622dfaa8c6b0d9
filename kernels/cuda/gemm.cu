// Matrix products on tensor cores through mma.sync, for compute capability 8.0 and up.
//
// A block owns a tile of C and walks along k with a ring of tiles of A and B in shared memory,
// filled by asynchronous copies while the warps multiply (gemm_tile.cuh). Either operand may run
// along k or along the other axis in memory. Sums pass through shared memory on their way out, a
// line of C per warp, where scale, addend, bias and activation are applied.
//
// Floor: 2 m n k operations (three times that of tf32 for floats), or A, B and C once. Tiles of 128
// read A and B n / 128 and m / 128 times, mostly from the second-level cache: blocks that run at
// the same time own neighbouring tiles.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/gemm_block.cuh"
#include "tessera/kernels/gemm_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

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
  x = activated(job.activation, x);
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

template <class E, class B, bool a_along_k, bool b_along_k>
__global__ void __launch_bounds__(B::threads, 256 / B::threads)
    multiply(Job<E> job, ProductCut cut) {
  using T = compute_t<E>;
  using Product = BlockProduct<E, E, T, B, a_along_k, b_along_k>;
  auto& shared = dynamic_shared<typename Product::Shared>();
  const BlockPlace place(cut, block_index().x);
  const Offsets offsets = offsets_of(job.batch, place.batch);
  const E *a = job.a + offsets.a, *b = job.b + offsets.b;
  const int64_t first_row = place.row * B::extent, first_column = place.column * B::extent;

  Product product(job.m - first_row, job.n - first_column);
  product.multiply(shared, place.count, [&](typename Product::Stage& stage, int64_t i) {
    const int64_t k = (place.begin + i) * tile_depth<E>;
    stage.a.template load<B::threads>(a, job.a_stride, first_row, job.m, k, job.k, job.a_chunks);
    stage.b.template load<B::threads>(b, job.b_stride, first_column, job.n, k, job.k, job.b_chunks);
  });
  product.write(shared, [&](int i, int j, T sum) {
    const int64_t row = first_row + i, column = first_column + j;
    if (row >= job.m || column >= job.n) return;
    if (job.parts)
      job.parts[((place.part * cut.batches + place.batch) * job.m + row) * job.n + column] = sum;
    else
      finish(job, sum, offsets.c, row, column);
  });
}

constexpr uint32_t join_threads = 256;

/// The sums of the parts, added in order.
template <class E>
__global__ void __launch_bounds__(join_threads) join_parts(Job<E> job, ProductCut cut) {
  const int64_t size = cut.batches * job.m * job.n;
  for (int64_t i = first_element(); i < size; i += element_step()) {
    compute_t<E> sum = job.parts[i];
    for (int64_t part = 1; part < cut.parts; ++part) sum += job.parts[part * size + i];
    const int64_t batch = i / (job.m * job.n), at = i % (job.m * job.n);
    finish(job, sum, offsets_of(job.batch, batch).c, at / job.n, at % job.n);
  }
}

template <class E, class B, bool a_along_k, bool b_along_k>
void launch_multiply(Stream& stream, Job<E>& job) {
  const int64_t batches = job.batch.size(), size = batches * job.m * job.n;
  const ProductCut cut(job.m, job.n, batches, ceil_divide(job.k, tile_depth<E>), B::extent);
  const Scratch parts = stream.scratch(
      cut.parts > 1 ? static_cast<size_t>(cut.parts * size) * sizeof(compute_t<E>) : 0);
  job.parts = cut.parts > 1 ? parts.as<compute_t<E>>() : nullptr;
  using Shared = typename BlockProduct<E, E, compute_t<E>, B, a_along_k, b_along_k>::Shared;
  launch(stream,
         {.name = "gemm",
          .grid = {cut.blocks()},
          .block = {B::threads},
          .shared_bytes = sizeof(Shared)},
         multiply<E, B, a_along_k, b_along_k>, job, cut);
  if (job.parts)
    launch(stream, {"gemm parts", {blocks_for(size, join_threads)}, {join_threads}}, join_parts<E>,
           job, cut);
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

template <class E>
bool all_in_chunks(const E* data, int64_t stride, const Batch& batch,
                   const int64_t* batch_strides) {
  bool all = in_chunks(data, stride);
  for (int i = 0; i < batch.rank; ++i) all = all && in_chunks(data, batch_strides[i]);
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
             .wide = !std::is_same_v<E, C>,
             .row_bias = p.has_row_bias(),
             .a_chunks = false,
             .b_chunks = false,
             .activation = p.activation};
  job.a_chunks = all_in_chunks(p.a, job.a_stride, batch, batch.a);
  job.b_chunks = all_in_chunks(p.b, job.b_stride, batch, batch.b);
  if constexpr (sizeof(E) < 8)
    if (ProductCut::wants_large(p.m, p.n, batch.size()))
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
