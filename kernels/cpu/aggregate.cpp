// Largest and smallest of the dense rows that a sparse matrix or segments select, and the two
// linear maps that go with a choice once made. Columns are worked on in chunks that stay in the
// first-level cache.
#include <cmath>

#include "tessera/kernels/cpu/spmm.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t chunk = 64;

/// write(position in y, entry) receives the entry that each element came from, -1 for none.
template <bool maximum, class T, class Write>
void extreme_rows(const CsrView& a, const View& x, const View& y, int64_t width, Write&& write) {
  using C = compute_t<T>;
  for_balanced_rows(a, width, [&](int64_t first, int64_t last) {
    C best[chunk];
    int32_t from[chunk];
    for (int64_t i = first; i < last; ++i) {
      const int32_t begin = a.row_ptr[i], end = a.row_ptr[i + 1];
      for (int64_t j0 = 0; j0 < width; j0 += chunk) {
        const int64_t n = std::min(chunk, width - j0);
        std::fill_n(best, n, C{0});
        std::fill_n(from, n, -1);
        for (int32_t e = begin; e < end; ++e) {
          const T* row = x.as<T>() + (a.col ? a.col[e] : e) * x.stride[0] + j0;
          for (int64_t j = 0; j < n; ++j) {
            const C v = static_cast<C>(row[j]), b = best[j];
            const bool better =
                (maximum ? v > b : v < b) | (std::isnan(v) & !std::isnan(b)) | (e == begin);
            best[j] = better ? v : b;
            from[j] = better ? e : from[j];
          }
        }
        T* to = y.as<T>() + i * y.stride[0] + j0;
        for (int64_t j = 0; j < n; ++j) {
          to[j] = static_cast<T>(best[j]);
          write(i * width + j0 + j, from[j]);
        }
      }
    }
  });
}

template <class Write>
void extremes(std::string_view operation, bool maximum, const CsrView& a, const View& x,
              const View& y, int64_t width, Write&& write) {
  for_float(x.dtype, operation, [&]<class T>() {
    if (maximum)
      extreme_rows<true, T>(a, x, y, width, write);
    else
      extreme_rows<false, T>(a, x, y, width, write);
  });
}

}  // namespace

void aggregate_extreme(Stream&, ExtremeOp op, const CsrView& a, View x, View y, View index) {
  const int64_t width = check_aggregate_extreme(a, x, y, index);
  extremes("aggregate_extreme", op == ExtremeOp::maximum, a, x, y, width,
           [to = index.as<int32_t>()](int64_t at, int32_t entry) { to[at] = entry; });
}

void segment_extreme(SegmentOp op, const CsrView& segments, View x, View y, View index) {
  const bool maximum = op == SegmentOp::maximum;
  const int64_t width = x.shape[1];
  if (!index)
    return extremes("segment_reduce", maximum, segments, x, y, width, [](int64_t, int32_t) {});
  check_index("segment_reduce", index, DType::i64, segments.rows, width);
  extremes("segment_reduce", maximum, segments, x, y, width,
           [to = index.as<int64_t>(), order = segments.col](int64_t at, int32_t entry) {
             to[at] = entry >= 0 && order ? order[entry] : entry;
           });
}

void aggregate_gather(Stream&, const CsrView& a, View x, View index, View y) {
  const int64_t width = check_aggregate_gather(a, x, index, y);
  for_float(x.dtype, "aggregate_gather", [&]<class T>() {
    parallel_for(a.rows, 1 + (1 << 14) / std::max<int64_t>(width, 1),
                 [&](int64_t first, int64_t last) {
                   for (int64_t i = first; i < last; ++i) {
                     for (int64_t j = 0; j < width; ++j) {
                       const int64_t e = index.as<int32_t>()[i * width + j];
                       TS_CHECK(e >= -1 && e < a.nnz, "aggregate_gather: index [", i, ", ", j,
                                "] is ", e, ", outside [-1, ", a.nnz, ")");
                       y.as<T>()[i * y.stride[0] + j] =
                           e < 0 ? T(0.0f) : x.as<T>()[a.col[e] * x.stride[0] + j];
                     }
                   }
                 });
  });
}

void aggregate_scatter(Stream&, const CsrView& transposed, View permutation, View y, View index,
                       View x) {
  const CsrView& a = transposed;
  const int64_t width = check_aggregate_scatter(a, permutation, y, index, x);
  for_float(x.dtype, "aggregate_scatter", [&]<class T>() {
    using C = compute_t<T>;
    for_balanced_rows(a, width, [&](int64_t first, int64_t last) {
      C sum[chunk];
      for (int64_t c = first; c < last; ++c) {
        for (int64_t j0 = 0; j0 < width; j0 += chunk) {
          const int64_t n = std::min(chunk, width - j0);
          std::fill_n(sum, n, C{0});
          for (int64_t t = a.row_ptr[c]; t < a.row_ptr[c + 1]; ++t) {
            const int64_t i = a.col[t];
            const int32_t entry = permutation.as<int32_t>()[t];
            const int32_t* chosen = index.as<int32_t>() + i * width + j0;
            const T* from = y.as<T>() + i * y.stride[0] + j0;
            for (int64_t j = 0; j < n; ++j)
              sum[j] += chosen[j] == entry ? static_cast<C>(from[j]) : C{0};
          }
          T* to = x.as<T>() + c * x.stride[0] + j0;
          for (int64_t j = 0; j < n; ++j) to[j] = static_cast<T>(sum[j]);
        }
      }
    });
  });
}

}  // namespace tessera::kernels::cpu
