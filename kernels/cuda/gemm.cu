// Matrix products on tensor cores through mma.sync, for compute capability 8.0 and up; large ones
// of halves go to gemm_warpgroup.cu where the GPU has its instructions.
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
#include "tessera/kernels/cuda/gemm_job.cuh"
#include "tessera/kernels/cuda/vendor.hpp"
#include "tessera/kernels/gemm_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

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

template <class E>
struct Joined {
  Job<E> job;
  TS_DEVICE void operator()(int64_t i, compute_t<E> sum) const {
    const int64_t batch = i / (job.m * job.n), at = i % (job.m * job.n);
    finish(job, sum, offsets_of(job.batch, batch).c, at / job.n, at % job.n);
  }
};

template <class E, class B, bool a_along_k, bool b_along_k>
void launch_multiply(Stream& stream, const Job<E>& job) {
  using Shared = typename BlockProduct<E, E, compute_t<E>, B, a_along_k, b_along_k>::Shared;
  launch_product(
      stream, {"gemm", "gemm parts"},
      ProductCut("gemm", job.m, job.n, job.batch.size(), ceil_divide(job.k, tile_depth<E>),
                 B::extent),
      B::threads, sizeof(Shared), job, [](const Job<E>& j) { return Joined<E>{j}; },
      multiply<E, B, a_along_k, b_along_k>);
}

template <class E, class B>
void launch_multiply(Stream& stream, const Job<E>& job, bool a_along_k, bool b_along_k) {
  if (a_along_k)
    b_along_k ? launch_multiply<E, B, true, true>(stream, job)
              : launch_multiply<E, B, true, false>(stream, job);
  else
    b_along_k ? launch_multiply<E, B, false, true>(stream, job)
              : launch_multiply<E, B, false, false>(stream, job);
}

template <class X>
bool all_in_chunks(const X* data, int64_t stride, const Batch& batch,
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
             .c_chunks = false,
             .activation = p.activation};
  job.a_chunks = all_in_chunks(p.a, job.a_stride, batch, batch.a);
  job.b_chunks = all_in_chunks(p.b, job.b_stride, batch, batch.b);
  job.c_chunks = p.n % 8 == 0 && all_in_chunks(p.c, job.c_stride, batch, batch.c);
  if constexpr (sizeof(E) == 2)
    if (multiply_by_warpgroups(stream, job, a_along_k, b_along_k)) return;
  if constexpr (sizeof(E) < 8)
    if (ProductCut::wants_large(p.m, p.n, batch.size()))
      return launch_multiply<E, LargeBlock>(stream, job, a_along_k, b_along_k);
  launch_multiply<E, SmallBlock>(stream, job, a_along_k, b_along_k);
}

void gemm(Stream& stream, View a, View b, View c, const GemmParams& params) {
  check_gemm(a, b, c, params);
  if (params.variant == GemmVariant::vendor) return vendor_gemm(stream, a, b, c, params);
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
