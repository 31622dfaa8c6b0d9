#pragma once

#include "tessera/kernels/cuda/gemm_block.cuh"
#include "tessera/kernels/gemm_operands.hpp"

/// A matrix product as its kernels see it, and what becomes of their sums.
namespace tessera::kernels::cuda {

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
  bool wide, row_bias, a_chunks, b_chunks, c_chunks;
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

/// The same for as many columns as 16 bytes of C hold, eight of E or, where C is wide, four of its
/// type; `column` and n are multiples of 8, and C lies in chunks of 16 bytes.
template <class E, int n>
TS_DEVICE void finish(const Job<E>& job, const Pack<compute_t<E>, n>& sums, int64_t c_offset,
                      int64_t row, int64_t column) {
  using T = compute_t<E>;
  using Result = std::conditional_t<n == vector_length<E>, E, T>;
  static_assert(n == vector_length<Result>);
  auto* const to = reinterpret_cast<Pack<Result, n>*>(static_cast<Result*>(job.c) + c_offset +
                                                      row * job.c_stride + column);
  T x[n];
#pragma unroll
  for (int k = 0; k < n; ++k) x[k] = job.alpha * sums.lane[k];
  if (job.beta != 0) {
    const Pack<Result, n> before = load_vector(to);
#pragma unroll
    for (int k = 0; k < n; ++k) x[k] = fma(job.beta, widen(before.lane[k]), x[k]);
  }
  if (job.bias) {
    const auto* const bias = static_cast<const Result*>(job.bias);
#pragma unroll
    for (int k = 0; k < n; ++k) x[k] += widen(bias[job.row_bias ? row : column + k]);
  }
  Pack<Result, n> y;
#pragma unroll
  for (int k = 0; k < n; ++k) y.lane[k] = narrow<Result>(activated(job.activation, x[k]));
  store_vector(to, y);
}

/// Where a matrix of a batch begins in A, B and C.
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

/// The product by warp groups (gemm_warpgroup.cu), E = f16 or bf16; false, and nothing is done,
/// where the device, the extents or the layout of the operands are not for them.
template <class E>
bool multiply_by_warpgroups(Stream& stream, const Job<E>& job, bool a_along_k, bool b_along_k);

}  // namespace tessera::kernels::cuda
