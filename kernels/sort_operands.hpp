#pragma once

#include <bit>
#include <cmath>
#include <limits>
#include <string_view>
#include <type_traits>

#include "tessera/kernels/sort.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/host_device.hpp"

/// Operands of the sort family, checked against the contract of the family's header (all but the
/// values of offsets and of elements to count); errors name the operation, shapes and dtypes.
namespace tessera::kernels {

inline constexpr int64_t longest_sorted = std::numeric_limits<int32_t>::max();

/// For devices without a vendor's library.
inline void refuse_vendor(std::string_view operation, SortVariant variant, Device device) {
  if (variant == SortVariant::vendor)
    throw Error(ErrorKind::unsupported, concat(operation, ": no vendor variant on ", device));
}

inline void check_sorted_outputs(std::string_view operation, const View& x, const View& y,
                                 const View& index) {
  TS_CHECK(x.rank >= 1 && x.contiguous(), operation,
           ": x must be contiguous of rank 1 or more, got ", x.dims());
  TS_CHECK(!y || (y.dims() == x.dims() && y.dtype == x.dtype && y.contiguous()), operation,
           ": y is ", y.dtype, " ", y.dims(), ", expected ", x.dtype, " ", x.dims());
  TS_CHECK(!index || (index.dims() == x.dims() && index.contiguous()), operation, ": index is ",
           index.dims(), ", expected ", x.dims());
}

/// Returns the length of a row.
inline int64_t check_sort(const View& x, const View& y, const View& index) {
  check_sorted_outputs("sort", x, y, index);
  const int64_t n = x.shape[x.rank - 1];
  TS_CHECK(n < longest_sorted, "sort: rows of ", n, " elements are too long");
  return n;
}

/// Returns the number of segments.
inline int64_t check_segmented_sort(const View& x, const View& offsets, const View& y,
                                    const View& index) {
  check_sorted_outputs("segmented_sort", x, y, index);
  const int64_t n = x.numel(), segments = offsets.numel() - 1;
  TS_CHECK(x.rank == 1 && offsets.rank == 1 && segments >= 0 && offsets.contiguous(),
           "segmented_sort: expected x [n] and offsets [segments + 1], got ", x.dims(), " and ",
           offsets.dims());
  TS_CHECK(n < longest_sorted, "segmented_sort: ", n, " elements are too many");
  return segments;
}

inline void check_unique(const View& x, const View& values, const View& inverse, const View& counts,
                         const View& count) {
  TS_CHECK(x.rank == 1 && x.contiguous() && x.numel() < longest_sorted,
           "unique: x must be contiguous [n], got ", x.dims());
  TS_CHECK(values.dims() == x.dims() && values.dtype == x.dtype && values.contiguous(),
           "unique: values is ", values.dtype, " ", values.dims(), ", expected ", x.dtype, " ",
           x.dims());
  for (const View* v : {&inverse, &counts})
    TS_CHECK(!*v || (v->dims() == x.dims() && v->dtype == DType::i64 && v->contiguous()),
             "unique: inverse and counts must be i64 ", x.dims(), ", got ", v->dtype, " ",
             v->dims());
  TS_CHECK(count.dtype == DType::i64 && count.numel() == 1, "unique: count must be one i64");
}

/// Returns whether there are weights.
inline bool check_bincount(const View& x, const View& weights, const View& y) {
  const bool weighted = weights.data || weights.rank > 0;  // an empty tensor has no data either
  TS_CHECK(x.contiguous() && y.rank == 1 && y.contiguous(), "bincount: x ", x.dims(), " and y ",
           y.dims(), " must be contiguous, y of rank 1");
  TS_CHECK(!weighted || (weights.dims() == x.dims() && weights.contiguous()), "bincount: weights ",
           weights.dims(), " do not go with x ", x.dims());
  TS_CHECK(weighted || y.dtype == DType::i64, "bincount: counts must be i64, got ", y.dtype);
  return weighted;
}

/// Equal parts of [lower, upper]. Edges are rounded once, on every device, and they decide.
struct HistogramBins {
  double lower, upper;
  int64_t bins;

  TS_HD double edge(int64_t b) const {
    return b == bins
               ? upper
               : std::fma(upper - lower, static_cast<double>(b) / static_cast<double>(bins), lower);
  }
  /// The bin of v; -1 for none.
  TS_HD int64_t of(double v) const {
    if (!(v >= lower && v <= upper)) return -1;
    auto b = static_cast<int64_t>((v - lower) / (upper - lower) * static_cast<double>(bins));
    if (b > bins - 1) b = bins - 1;
    if (v < edge(b)) return b - 1;  // the quotient may have been rounded across an edge
    return b + 1 < bins && v >= edge(b + 1) ? b + 1 : b;
  }
};

inline HistogramBins check_histogram(const View& x, double lower, double upper,
                                     const View& counts) {
  const int64_t bins = counts.numel();
  TS_CHECK(x.contiguous() && counts.rank == 1 && counts.contiguous() && counts.dtype == DType::i64,
           "histogram: x must be contiguous and counts i64 [bins], got ", counts.dtype, " ",
           counts.dims());
  TS_CHECK(bins > 0 && lower < upper && std::isfinite(upper - lower), "histogram: ", bins,
           " bins in [", lower, ", ", upper, "]");
  return {lower, upper, bins};
}

inline void check_searchsorted(const View& sorted, const View& x, const View& y) {
  TS_CHECK(sorted.rank == 1 && sorted.contiguous() && x.contiguous() && sorted.dtype == x.dtype,
           "searchsorted: expected contiguous operands of one dtype, got ", sorted.dtype, " ",
           sorted.dims(), " and ", x.dtype, " ", x.dims());
  TS_CHECK(y.dtype == DType::i64 && y.dims() == x.dims() && y.contiguous(), "searchsorted: y is ",
           y.dtype, " ", y.dims(), ", expected i64 ", x.dims());
}

struct NeighborExtents {
  int64_t m, n, d, k;
};

inline NeighborExtents check_neighbors(const View& queries, const View& points,
                                       const View& distance, const View& index,
                                       const NeighborParams& params) {
  TS_CHECK(
      queries.rank == 2 && points.rank == 2 && queries.shape[1] == points.shape[1] &&
          queries.dtype == points.dtype && queries.contiguous() && points.contiguous(),
      "nearest_neighbors: expected contiguous queries [m, d] and points [n, d] of one dtype, got ",
      queries.dtype, " ", queries.dims(), " and ", points.dtype, " ", points.dims());
  TS_CHECK(distance.rank == 2 && distance.shape[0] == queries.shape[0] &&
               index.dims() == distance.dims() && distance.dtype == queries.dtype &&
               index.dtype == DType::i64 && distance.contiguous() && index.contiguous(),
           "nearest_neighbors: distance ", distance.dtype, " ", distance.dims(), " and index ",
           index.dtype, " ", index.dims(), " do not go with queries ", queries.dtype, " ",
           queries.dims());
  const NeighborExtents e{queries.shape[0], points.shape[0], points.shape[1], distance.shape[1]};
  TS_CHECK(e.k <= e.n - (params.exclude_same_index ? 1 : 0) || e.m == 0, "nearest_neighbors: ", e.k,
           " neighbours among ", e.n, " points",
           params.exclude_same_index ? " without the query" : "");
  return e;
}

inline void check_class_neighbors(const View& sorted, const View& grouped, const View& offsets,
                                  const View& counts, const ClassNeighborParams& params) {
  TS_CHECK(
      sorted.rank == 2 && sorted.contiguous() && grouped.dims() == sorted.dims() &&
          grouped.dtype == sorted.dtype && grouped.contiguous(),
      "class_neighbors: expected contiguous `sorted` and `grouped` [rows, n] of one dtype, got ",
      sorted.dtype, " ", sorted.dims(), " and ", grouped.dtype, " ", grouped.dims());
  TS_CHECK(offsets.rank == 1 && offsets.dtype == DType::i64 && offsets.contiguous() &&
               offsets.shape[0] >= 1,
           "class_neighbors: offsets must be contiguous i64 [classes + 1], got ", offsets.dtype,
           " ", offsets.dims());
  TS_CHECK(counts.dims() == sorted.dims() && counts.dtype == DType::i32 && counts.contiguous(),
           "class_neighbors: counts is ", counts.dtype, " ", counts.dims(), ", expected i32 ",
           sorted.dims());
  TS_CHECK(params.k >= 1 && sorted.shape[1] < longest_sorted, "class_neighbors: neighbour ",
           params.k, " among ", sorted.shape[1], " elements");
}

/// The next number below r towards 0; 0 stays.
template <class T>
TS_HD inline T next_below(T r) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  return r > 0 ? std::bit_cast<T>(std::bit_cast<Bits>(r) - 1) : T{0};
}

/// The distance from group[p] to its k-th nearest other element in the rising group[begin, end),
/// where k < end - begin.
template <class T>
TS_HD inline T kth_distance(const T* group, int64_t begin, int64_t end, int64_t p, int64_t k) {
  int64_t left = p, right = p;  // [left, right] holds the nearest so far
  T distance = 0;
  for (; k > 0; --k) {
    const bool has_left = left > begin, has_right = right + 1 < end;
    const T to_left = has_left ? group[p] - group[left - 1] : T{0},
            to_right = has_right ? group[right + 1] - group[p] : T{0};
    if (has_left && (!has_right || to_left <= to_right)) {
      distance = to_left;
      --left;
    } else {
      distance = to_right;
      ++right;
    }
  }
  return distance;
}

}  // namespace tessera::kernels
