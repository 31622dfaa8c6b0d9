#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Selection by index. Indices are i32 or i64, contiguous; one that is out of range throws an Error
/// that names its position and value: on the CPU before anything is written, on a GPU at the
/// stream's next synchronisation, with the elements it selects left out. Layouts: "rows" means rank
/// 2 with a contiguous last dimension and a free row stride; everything else is contiguous. Outputs
/// overlap no input. The bits do not depend on the thread count.
namespace tessera::kernels {

struct IndexingKernels {
  /// y[k] = x[index[k]]; x [n, width] and y [count, width] are rows of one dtype, index [count].
  void (*gather)(Stream&, View x, View index, View y);
  /// y[index[k]] += x[k], in the order of k: the transpose of gather. x [count, width], y [n,
  /// width]: rows of one floating dtype; halves sum in f32 and round once.
  void (*scatter_add)(Stream&, View x, View index, View y);

  /// y[.., k, ..] = x[.., index[.., k, ..], ..] along `axis`. index and y have one shape, equal to
  /// x's but for the extent of `axis`; any dtype. Index -1 reads 0.
  void (*take_along)(Stream&, View x, int axis, View index, View y);
  /// y[.., index[.., k, ..], ..] += x[.., k, ..] along `axis`, in the order of k: the transpose of
  /// take_along. Floating dtypes; index -1 is skipped.
  void (*add_along)(Stream&, View x, int axis, View index, View y);
  /// y[.., index[.., k, ..], ..] = x[.., k, ..]; of equal indices the last wins. Any dtype.
  void (*put_along)(Stream&, View x, int axis, View index, View y);

  /// y[.., c] = 1 where c = index[..], else 0; y has index's shape and one more dimension, any
  /// dtype.
  void (*one_hot)(Stream&, View index, View y);

  /// The k largest (or smallest) of each row in order, k = the last extent of `values`; x [.., n]
  /// with k <= n, index i64 of values' shape (their positions). Equal elements: the lower index
  /// first. NaN counts as larger than everything. Every real dtype.
  void (*top_k)(Stream&, View x, bool largest, View values, View index);

  /// The positions of the true elements of mask (bool, [n]) in order: index (i64, [n]) holds them
  /// in its first `count` elements, count (i64, one element) how many; the rest of index is
  /// unspecified.
  void (*nonzero)(Stream&, View mask, View index, View count);
};

inline void gather(Stream& s, View x, View index, View y) {
  call("gather", s.device(), &Backend::indexing, &IndexingKernels::gather, s, x, index, y);
}
inline void scatter_add(Stream& s, View x, View index, View y) {
  call("scatter_add", s.device(), &Backend::indexing, &IndexingKernels::scatter_add, s, x, index,
       y);
}
inline void take_along(Stream& s, View x, int axis, View index, View y) {
  call("take_along", s.device(), &Backend::indexing, &IndexingKernels::take_along, s, x, axis,
       index, y);
}
inline void add_along(Stream& s, View x, int axis, View index, View y) {
  call("add_along", s.device(), &Backend::indexing, &IndexingKernels::add_along, s, x, axis, index,
       y);
}
inline void put_along(Stream& s, View x, int axis, View index, View y) {
  call("put_along", s.device(), &Backend::indexing, &IndexingKernels::put_along, s, x, axis, index,
       y);
}
inline void one_hot(Stream& s, View index, View y) {
  call("one_hot", s.device(), &Backend::indexing, &IndexingKernels::one_hot, s, index, y);
}
inline void top_k(Stream& s, View x, bool largest, View values, View index) {
  call("top_k", s.device(), &Backend::indexing, &IndexingKernels::top_k, s, x, largest, values,
       index);
}
inline void nonzero(Stream& s, View mask, View index, View count) {
  call("nonzero", s.device(), &Backend::indexing, &IndexingKernels::nonzero, s, mask, index, count);
}

}  // namespace tessera::kernels
