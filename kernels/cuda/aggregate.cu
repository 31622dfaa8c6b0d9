// Largest and smallest of the dense rows that a sparse matrix or segments select, and the two
// linear maps that go with a choice once made. A thread per element of the result, neighbours in
// columns, so that every gather is coalesced; a row's entries are walked in order, which makes ties
// take the first. Once chosen, elements come each from a row of its own: up to a sector each.
#include "tessera/kernels/cuda/spmm.cuh"

namespace tessera::kernels::cuda {
namespace {

/// index[i, j] = the entry, or with I = int64_t the row of x, that y[i, j] came from; -1 for none.
template <bool maximum, class T, class I>
__global__ void __launch_bounds__(block_threads)
    extreme_rows(CsrView a, const T* x, int64_t x_stride, T* y, int64_t y_stride, int64_t width,
                 I* index) {
  using C = compute_t<T>;
  for (int64_t k = first_element(); k < a.rows * width; k += element_step()) {
    const int64_t i = k / width, j = k % width;
    const int32_t begin = a.row_ptr[i], end = a.row_ptr[i + 1];
    C best = 0;
    int64_t from = -1;
    for (int32_t e = begin; e < end; ++e) {
      const C v = widen(x[(a.col ? a.col[e] : e) * x_stride + j]);
      const bool better = (maximum ? v > best : v < best) || (v != v && best == best) || e == begin;
      best = better ? v : best;
      from = better ? e : from;
    }
    y[i * y_stride + j] = narrow<T>(best);
    if (!index) continue;
    if (sizeof(I) == 8 && from >= 0 && a.col) from = a.col[from];
    index[k] = static_cast<I>(from);
  }
}

template <class I>
void extremes(Stream& stream, const char* operation, bool maximum, const CsrView& a, const View& x,
              const View& y, int64_t width, I* index) {
  if (a.rows * width == 0) return;
  for_float(x.dtype, operation, [&]<class T>() {
    launch(stream, {operation, {blocks_for(a.rows * width, block_threads)}, {block_threads}},
           maximum ? extreme_rows<true, T, I> : extreme_rows<false, T, I>, a, x.as<T>(),
           x.stride[0], y.as<T>(), y.stride[0], width, index);
  });
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    gather_chosen(CsrView a, const T* x, int64_t x_stride, const int32_t* index, T* y,
                  int64_t y_stride, int64_t width, Finding* finding, int32_t call) {
  for (int64_t k = first_element(); k < a.rows * width; k += element_step()) {
    const int64_t e = index[k];
    const bool fits = e >= -1 && e < a.nnz;
    if (!fits) report(finding, call, k, e, -1, a.nnz);
    y[k / width * y_stride + k % width] =
        fits && e >= 0 ? x[a.col[e] * x_stride + k % width] : narrow<T>(0);
  }
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    scatter_chosen(CsrView a, const int32_t* permutation, const T* y, int64_t y_stride,
                   const int32_t* index, T* x, int64_t x_stride, int64_t width) {
  using C = compute_t<T>;
  for (int64_t k = first_element(); k < a.rows * width; k += element_step()) {
    const int64_t c = k / width, j = k % width;
    C sum = 0;
    for (int32_t t = a.row_ptr[c]; t < a.row_ptr[c + 1]; ++t) {
      const int64_t i = a.col[t];
      sum += index[i * width + j] == permutation[t] ? widen(y[i * y_stride + j]) : C{0};
    }
    x[c * x_stride + j] = narrow<T>(sum);
  }
}

}  // namespace

void aggregate_extreme(Stream& stream, ExtremeOp op, const CsrView& a, View x, View y, View index) {
  const int64_t width = check_aggregate_extreme(a, x, y, index);
  extremes(stream, "aggregate_extreme", op == ExtremeOp::maximum, a, x, y, width,
           index.as<int32_t>());
}

void segment_extreme(Stream& stream, SegmentOp op, const CsrView& segments, View x, View y,
                     View index) {
  if (index) check_index("segment_reduce", index, DType::i64, segments.rows, x.shape[1]);
  extremes(stream, "segment_reduce", op == SegmentOp::maximum, segments, x, y, x.shape[1],
           index.as<int64_t>());
}

void aggregate_gather(Stream& stream, const CsrView& a, View x, View index, View y) {
  const int64_t width = check_aggregate_gather(a, x, index, y);
  if (a.rows * width == 0) return;
  Faults& faults = stream.resource<Faults>();
  for_float(x.dtype, "aggregate_gather", [&]<class T>() {
    launch(stream,
           {"aggregate_gather", {blocks_for(a.rows * width, block_threads)}, {block_threads}},
           gather_chosen<T>, a, x.as<T>(), x.stride[0], index.as<int32_t>(), y.as<T>(), y.stride[0],
           width, faults.finding(), faults.expect("aggregate_gather: index"));
  });
  faults.launched();
}

void aggregate_scatter(Stream& stream, const CsrView& transposed, View permutation, View y,
                       View index, View x) {
  const int64_t width = check_aggregate_scatter(transposed, permutation, y, index, x);
  if (transposed.rows * width == 0) return;
  for_float(x.dtype, "aggregate_scatter", [&]<class T>() {
    launch(stream,
           {"aggregate_scatter",
            {blocks_for(transposed.rows * width, block_threads)},
            {block_threads}},
           scatter_chosen<T>, transposed, permutation.as<int32_t>(), y.as<T>(), y.stride[0],
           index.as<int32_t>(), x.as<T>(), x.stride[0], width);
  });
}

}  // namespace tessera::kernels::cuda
