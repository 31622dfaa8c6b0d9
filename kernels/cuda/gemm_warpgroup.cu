// Large products of halves by warp groups, for compute capability 9.0a (gemm_warpgroup.cuh).
//
// Floor: 2 m n k operations at the tensor cores' rate. A pair of tiles reads 256 rows of A and
// `columns` columns of B once per step; with 256 columns that is 64 operations per byte, what the
// second-level cache gives twice over.
#include "tessera/kernels/cuda/gemm_job.cuh"
#include "tessera/kernels/cuda/gemm_warpgroup.cuh"

namespace tessera::kernels::cuda {
namespace {

/// Finishes the sums that lie in C.
template <class E>
struct Finish {
  const Job<E>& job;

  TS_DEVICE bool wide() const { return job.wide; }
  template <int n>
  TS_DEVICE void operator()(int64_t batch, int64_t row, int64_t column,
                            const Pack<float, n>& sums) const {
    if (row < job.m && column < job.n)
      finish(job, sums, offsets_of(job.batch, batch).c, row, column);
  }
};

template <class E, int columns, bool a_along_k, bool b_along_k>
__global__ void __launch_bounds__(3 * 128, 1)
    multiply_warpgroups(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                        Job<E> job, WarpgroupCut cut) {
  using Product = WarpgroupProduct<E, E, float, columns, a_along_k, b_along_k>;
  const auto moves = [&](const int64_t* strides) {
    return job.batch.rank > 0 && strides[0] != 0 ? int64_t{1} : int64_t{0};
  };
  auto& shared = dynamic_shared<typename Product::Shared>();
  const typename Product::Operands operands{moves(job.batch.a), moves(job.batch.b)};
  Product::run(shared, a, b, operands, cut, Finish<E>{job});
}

template <class E, int columns, bool a_along_k, bool b_along_k>
void launch_warpgroups(Stream& stream, const Job<E>& job) {
  using Product = WarpgroupProduct<E, E, float, columns, a_along_k, b_along_k>;
  const int64_t batches = job.batch.size();
  const WarpgroupCut cut(job.m, job.n, batches, ceil_divide(job.k, Product::depth), columns);
  const auto map = [&](const E* data, bool along_k, int64_t rows, int64_t stride,
                       const int64_t* batch_strides) {
    const int64_t batch_stride = job.batch.rank > 0 ? batch_strides[0] : 0;
    return group_map("gemm", data, along_k, rows, job.k, stride, batch_stride ? batches : 1,
                     batch_stride);
  };
  launch(stream,
         {.name = "gemm",
          .grid = {cut.blocks()},
          .block = {Product::threads},
          .shared_bytes = sizeof(typename Product::Shared),
          .cluster = {2}},
         multiply_warpgroups<E, columns, a_along_k, b_along_k>,
         map(job.a, a_along_k, job.m, job.a_stride, job.batch.a),
         map(job.b, b_along_k, job.n, job.b_stride, job.batch.b), job, cut);
}

template <class E, int columns>
void launch_warpgroups(Stream& stream, const Job<E>& job, bool a_along_k, bool b_along_k) {
  if (a_along_k)
    b_along_k ? launch_warpgroups<E, columns, true, true>(stream, job)
              : launch_warpgroups<E, columns, true, false>(stream, job);
  else
    b_along_k ? launch_warpgroups<E, columns, false, true>(stream, job)
              : launch_warpgroups<E, columns, false, false>(stream, job);
}

}  // namespace

template <class E>
bool multiply_by_warpgroups(Stream& stream, const Job<E>& job, bool a_along_k, bool b_along_k) {
  const int64_t batches = job.batch.size();
  if (!has_warpgroups(stream) || job.k == 0 || job.batch.rank > 1 || !job.a_chunks ||
      !job.b_chunks || !job.c_chunks)
    return false;
  if (WarpgroupCut::pays(job.m, job.n, batches, 256))
    launch_warpgroups<E, 256>(stream, job, a_along_k, b_along_k);
  else if (WarpgroupCut::pays(job.m, job.n, batches, 128))
    launch_warpgroups<E, 128>(stream, job, a_along_k, b_along_k);
  else
    return false;
  return true;
}
template bool multiply_by_warpgroups(Stream&, const Job<f16>&, bool, bool);
template bool multiply_by_warpgroups(Stream&, const Job<bf16>&, bool, bool);

}  // namespace tessera::kernels::cuda
