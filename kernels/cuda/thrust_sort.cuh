#pragma once

#include <thrust/binary_search.h>
#include <thrust/fill.h>
#include <thrust/for_each.h>
#include <thrust/gather.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <thrust/iterator/transform_output_iterator.h>
#include <thrust/scan.h>
#include <thrust/sequence.h>
#include <thrust/sort.h>
#include <thrust/transform.h>

#include "tessera/kernels/order_key.hpp"
#include "tessera/kernels/sort_operands.hpp"
#include "tessera/runtime/host_device.hpp"
#include "tessera/runtime/stream.hpp"

/// Sorting, running sums and distinct elements by Thrust. Each function runs under any of its
/// execution policies: vendor_sort.cu gives them a stream of a GPU, tests/vendor the host. Operands
/// as kernels/sort.hpp says, and checked. All memory is scratch of `stream`; nothing is read back,
/// so a policy that does not wait leaves all of it queued.
namespace tessera::kernels::cuda::by_thrust {

template <class T>
struct MakeKey {
  bool descending;
  TS_HD order_key_t<T> operator()(T x) const {
    const auto key = order_key(x);
    return descending ? static_cast<order_key_t<T>>(~key) : key;
  }
};

/// Keys and their positions in the order of the keys, stably.
template <class Policy, class Key>
void sort_pairs(const Policy& policy, Key* keys, int64_t n, uint32_t* positions) {
  thrust::stable_sort_by_key(policy, keys, keys + n, positions);
}

/// Positions in the order of their elements.
template <class Policy>
void sort_positions(const Policy& policy, const View& x, bool descending, uint32_t* positions,
                    void* keys) {
  const int64_t n = x.numel();
  thrust::sequence(policy, positions, positions + n);
  for_computed(x.dtype, "sort", [&]<class T>() {
    auto* const key = static_cast<order_key_t<T>*>(keys);
    thrust::transform(policy, x.as<const T>(), x.as<const T>() + n, key, MakeKey<T>{descending});
  });
  for_bits(x.dtype,
           [&]<class Key>() { sort_pairs(policy, static_cast<Key*>(keys), n, positions); });
}

/// What a position means in rows of `width` elements.
struct RowOf {
  int64_t width;
  TS_HD uint32_t operator()(int64_t position) const {
    return static_cast<uint32_t>(position / width);
  }
};
template <class I>
struct InRow {
  int64_t width;
  TS_HD I operator()(uint32_t position) const { return static_cast<I>(position % width); }
};

/// y and index (each optional) from where sorted elements were, in rows of `width`.
template <class Policy>
void fetch(const Policy& policy, const View& x, const uint32_t* positions, int64_t width,
           const View& y, const View& index) {
  const int64_t n = x.numel();
  if (y)
    for_bits(x.dtype, [&]<class S>() {
      thrust::gather(policy, positions, positions + n, x.as<const S>(), y.as<S>());
    });
  if (index)
    for_index(index.dtype, "sort", [&]<class I>() {
      thrust::transform(policy, positions, positions + n, index.as<I>(), InRow<I>{width});
    });
}

/// Along the last axis: all elements at once, then stably by row. x has fewer than 2^31 elements.
template <class Policy>
void sort(const Policy& policy, Stream& stream, const View& x, const View& y, const View& index,
          bool descending) {
  const int64_t n = x.numel();
  if (n == 0) return;
  const int64_t width = x.shape[x.rank - 1];
  const Scratch positions = stream.scratch(static_cast<size_t>(n) * sizeof(uint32_t)),
                keys = stream.scratch(static_cast<size_t>(n) * sizeof(uint64_t));
  auto* const at = positions.as<uint32_t>();
  sort_positions(policy, x, descending, at, keys.as<void>());
  if (width < n) {
    auto* const rows = keys.as<uint32_t>();
    thrust::transform(policy, at, at + n, rows, RowOf{width});
    sort_pairs(policy, rows, n, at);
  }
  fetch(policy, x, at, width, y, index);
}

/// Within x[offsets[s] .. offsets[s + 1]); the segment of an element is the last that begins at or
/// before it.
template <class Policy>
void segmented_sort(const Policy& policy, Stream& stream, const View& x, const View& offsets,
                    const View& y, const View& index, bool descending) {
  const int64_t n = x.numel(), segments = offsets.numel() - 1;
  if (n == 0) return;
  const Scratch positions = stream.scratch(static_cast<size_t>(n) * sizeof(uint32_t)),
                keys = stream.scratch(static_cast<size_t>(n) * sizeof(uint64_t));
  auto* const at = positions.as<uint32_t>();
  sort_positions(policy, x, descending, at, keys.as<void>());
  auto* const parts = keys.as<uint32_t>();
  for_index(offsets.dtype, "segmented_sort", [&]<class I>() {
    const I* const cuts = offsets.as<const I>();
    thrust::upper_bound(policy, cuts, cuts + segments, at, at + n, parts);
  });
  sort_pairs(policy, parts, n, at);
  fetch(policy, x, at, n, y, index);
}

// ---------------------------------------------------------------- running sums

/// f64 for floating elements, 64 bits for integers.
template <class S>
using Wide = std::conditional_t<std::is_integral_v<S>, int64_t, double>;

template <class S>
struct Widen {
  TS_HD Wide<S> operator()(S x) const {
    if constexpr (std::is_integral_v<S>)
      return x;
    else
      return static_cast<compute_t<S>>(x);
  }
};
template <class S>
struct Narrow {
  TS_HD S operator()(Wide<S> x) const {
    if constexpr (std::is_integral_v<S>)
      return static_cast<S>(x);
    else
      return static_cast<S>(static_cast<compute_t<S>>(x));
  }
};
/// Integers wrap around.
struct Plus {
  TS_HD double operator()(double a, double b) const { return a + b; }
  TS_HD int64_t operator()(int64_t a, int64_t b) const {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
};

/// Along the last axis; i32, i64 or floating.
template <class Policy>
void scan(const Policy& policy, const View& x, const View& y, bool exclusive) {
  const int64_t n = x.numel();
  if (n == 0) return;
  const int64_t width = x.shape[x.rank - 1];
  const auto row =
      thrust::make_transform_iterator(thrust::counting_iterator<int64_t>(0), RowOf{width});
  const auto scan_as = [&]<class S>() {
    const Wide<S> zero = 0;
    const auto from = thrust::make_transform_iterator(x.as<const S>(), Widen<S>{});
    const auto to = thrust::make_transform_output_iterator(y.as<S>(), Narrow<S>{});
    if (width == n && exclusive)
      thrust::exclusive_scan(policy, from, from + n, to, zero, Plus{});
    else if (width == n)
      thrust::inclusive_scan(policy, from, from + n, to, Plus{});
    else if (exclusive)
      thrust::exclusive_scan_by_key(policy, row, row + n, from, to, zero,
                                    thrust::equal_to<uint32_t>{}, Plus{});
    else
      thrust::inclusive_scan_by_key(policy, row, row + n, from, to, thrust::equal_to<uint32_t>{},
                                    Plus{});
  };
  if (is_float(x.dtype))
    for_float(x.dtype, "scan", scan_as);
  else
    for_index(x.dtype, "scan", scan_as);
}

// ---------------------------------------------------------------- distinct elements

template <class Key>
struct IsFirst {
  const Key* keys;
  TS_HD uint32_t operator()(int64_t i) const { return i == 0 || keys[i] != keys[i - 1]; }
};

/// number[i] = the distinct elements up to i; the first of each writes its value and where it is.
template <class S>
struct WriteDistinct {
  const S* x;
  const uint32_t *positions, *number;
  S* values;
  int64_t* inverse;
  uint32_t* starts;
  int64_t *count, n;

  TS_HD void operator()(int64_t i) const {
    const uint32_t group = number[i] - 1;
    if (inverse) inverse[positions[i]] = group;
    if (i + 1 == n) *count = number[i];
    if (i > 0 && number[i - 1] == number[i]) return;
    values[group] = x[positions[i]];
    starts[group] = static_cast<uint32_t>(i);
  }
};
struct CountEqual {
  const uint32_t* starts;
  const int64_t* count;
  int64_t n, *counts;

  TS_HD void operator()(int64_t group) const {
    if (group < *count)
      counts[group] = (group + 1 < *count ? starts[group + 1] : n) - starts[group];
  }
};

template <class Policy>
void unique(const Policy& policy, Stream& stream, const View& x, const View& values,
            const View& inverse, const View& counts, const View& count) {
  const int64_t n = x.numel();
  if (n == 0) {
    thrust::fill_n(policy, count.as<int64_t>(), 1, int64_t{0});
    return;
  }
  const auto words = [&](size_t bytes) { return stream.scratch(static_cast<size_t>(n) * bytes); };
  const Scratch positions = words(4), keys = words(8), number = words(4), starts = words(4);
  auto *const at = positions.as<uint32_t>(), *const numbers = number.as<uint32_t>();
  sort_positions(policy, x, false, at, keys.as<void>());
  const thrust::counting_iterator<int64_t> all(0);
  for_bits(x.dtype, [&]<class S>() {
    const auto first = thrust::make_transform_iterator(all, IsFirst<S>{keys.as<const S>()});
    thrust::inclusive_scan(policy, first, first + n, numbers);
    thrust::for_each(
        policy, all, all + n,
        WriteDistinct<S>{x.as<const S>(), at, numbers, values.as<S>(), inverse.as<int64_t>(),
                         starts.as<uint32_t>(), count.as<int64_t>(), n});
  });
  if (counts)
    thrust::for_each(
        policy, all, all + n,
        CountEqual{starts.as<uint32_t>(), count.as<int64_t>(), n, counts.as<int64_t>()});
}

}  // namespace tessera::kernels::cuda::by_thrust
