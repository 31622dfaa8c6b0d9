#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Ordering, counting and nearest neighbours. Every sort is stable, orders by value (-0 equals 0)
/// and takes NaN as larger than everything. Operands are contiguous, outputs overlap no input,
/// index outputs are i64 unless said. Results depend neither on the thread count nor on the device,
/// up to the rounding of floating sums.
namespace tessera::kernels {

enum class SortVariant : uint8_t {
  own,
  vendor,  // Thrust, on a GPU; throws where there is none. Floating sums depend on its schedule
};

struct SortParams {
  bool descending = false;  // equal elements keep their order in both directions
  SortVariant variant = SortVariant::own;
};

struct ScanParams {
  bool exclusive = false;  // y[i] = sum of x[0 .. i) instead of x[0 .. i]
  SortVariant variant = SortVariant::own;
};

enum class Metric : uint8_t {
  squared_l2,  // |q - p|^2
  cosine,      // 1 - q.p / (|q| |p|); 1 when either is 0
};

struct NeighborParams {
  Metric metric = Metric::squared_l2;
  bool exclude_same_index = false;  // queries are the points: query i does not find point i
};

struct ClassNeighborParams {
  int64_t k = 3;  // at least 1
};

struct SortKernels {
  /// y = x sorted along the last axis; index (optional, i32 or i64) = where each element was along
  /// that axis. y is optional too. Every dtype that is computed with: not i16 and u16.
  void (*sort)(Stream&, View x, View y, View index, const SortParams&);
  /// As `sort`, within each x[offsets[s] .. offsets[s + 1]) of a vector x; offsets i32 or i64,
  /// rising from 0 to n. index counts from the beginning of x.
  void (*segmented_sort)(Stream&, View x, View offsets, View y, View index, const SortParams&);

  /// Running sums along the last axis; i32, i64, and floating dtypes, which are summed in f64.
  void (*scan)(Stream&, View x, View y, const ScanParams&);

  /// The distinct elements of x [n], rising, in the first `count` elements of values [n];
  /// inverse [n] (optional): x[i] = values[inverse[i]]; counts [n] (optional): how often each
  /// occurs; count: i64, one element. What lies behind the first `count` elements is unspecified.
  /// Dtypes as `sort`.
  void (*unique)(Stream&, View x, View values, View inverse, View counts, View count, SortVariant);

  /// y[b] = number of elements of x [n] (i32 or i64) equal to b or, with weights [n] (floating),
  /// the sum of their weights in f64; y [bins]: i64 without weights, floating with. An element
  /// outside [0, bins) throws, naming position and value.
  void (*bincount)(Stream&, View x, View weights, View y);
  /// counts[b] (i64) = number of elements of x (floating) in bin b of `bins` equal parts of
  /// [lower, upper]; a part has its left edge, the last one both. Elements outside and NaN count
  /// nowhere.
  void (*histogram)(Stream&, View x, double lower, double upper, View counts);

  /// y[i] (i64) = number of elements of `sorted` [m] (rising) that are < x[i], or <= x[i] with
  /// `right`; one real dtype.
  void (*searchsorted)(Stream&, View sorted, View x, bool right, View y);

  /// For each row of queries [m, d] the k nearest rows of points [n, d], nearest first, equal
  /// distances by the lower index; k = the last extent of distance [m, k] and index [m, k]. f32 or
  /// f64, all of one dtype. NaN counts as farthest.
  void (*nearest_neighbors)(Stream&, View queries, View points, View distance, View index,
                            const NeighborParams&);

  /// How many points lie as near as the k-th nearest of the own class (Ross 2014). Each row of
  /// `sorted` and of `grouped` [rows, n] holds the same numbers: rising in `sorted`, and in
  /// `grouped` those of class c, rising, at [offsets[c], offsets[c + 1]); offsets (i64,
  /// [classes + 1]) rise from 0 to n. For z = grouped[row, p], whose class has m elements, let r be
  /// the next number below (towards 0) the distance from z to the min(k, m - 1)-th nearest other
  /// element of its class. counts[row, p] (i32) = number of v in the row with |v - z| <= r, z
  /// itself among them, the difference rounded once; 0 where z is alone in its class. f32 or f64
  /// without NaN, n < 2^31.
  void (*class_neighbors)(Stream&, View sorted, View grouped, View offsets, View counts,
                          const ClassNeighborParams&);
};

inline void sort(Stream& s, View x, View y, View index, const SortParams& p = {}) {
  call("sort", s.device(), &Backend::sort, &SortKernels::sort, s, x, y, index, p);
}
inline void segmented_sort(Stream& s, View x, View offsets, View y, View index,
                           const SortParams& p = {}) {
  call("segmented_sort", s.device(), &Backend::sort, &SortKernels::segmented_sort, s, x, offsets, y,
       index, p);
}
inline void scan(Stream& s, View x, View y, const ScanParams& p = {}) {
  call("scan", s.device(), &Backend::sort, &SortKernels::scan, s, x, y, p);
}
inline void unique(Stream& s, View x, View values, View inverse, View counts, View count,
                   SortVariant variant = SortVariant::own) {
  call("unique", s.device(), &Backend::sort, &SortKernels::unique, s, x, values, inverse, counts,
       count, variant);
}
inline void bincount(Stream& s, View x, View weights, View y) {
  call("bincount", s.device(), &Backend::sort, &SortKernels::bincount, s, x, weights, y);
}
inline void histogram(Stream& s, View x, double lower, double upper, View counts) {
  call("histogram", s.device(), &Backend::sort, &SortKernels::histogram, s, x, lower, upper,
       counts);
}
inline void searchsorted(Stream& s, View sorted, View x, bool right, View y) {
  call("searchsorted", s.device(), &Backend::sort, &SortKernels::searchsorted, s, sorted, x, right,
       y);
}
inline void nearest_neighbors(Stream& s, View queries, View points, View distance, View index,
                              const NeighborParams& p = {}) {
  call("nearest_neighbors", s.device(), &Backend::sort, &SortKernels::nearest_neighbors, s, queries,
       points, distance, index, p);
}
inline void class_neighbors(Stream& s, View sorted, View grouped, View offsets, View counts,
                            const ClassNeighborParams& p = {}) {
  call("class_neighbors", s.device(), &Backend::sort, &SortKernels::class_neighbors, s, sorted,
       grouped, offsets, counts, p);
}

}  // namespace tessera::kernels
