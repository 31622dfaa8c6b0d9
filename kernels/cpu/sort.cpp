// Sorting and what follows from it. One routine sorts (key, position) pairs: a radix sort on the
// keys of order_key.hpp, stable by construction, or a comparison sort where a range is short.
#include "tessera/kernels/sort.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/sort.hpp"
#include "tessera/kernels/order_key.hpp"
#include "tessera/kernels/sort_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

template <class Key>
struct Item {
  Key key;
  uint32_t position;
};

constexpr int digit_bits = 8;
constexpr int64_t digits = 1 << digit_bits;

/// One stable pass by the digit at `shift`. Each block of items counts and moves its own; counts
/// [blocks][digits] become the places where a block's items of a digit go. False if all digits are
/// equal.
template <class Key>
bool radix_pass(const Item<Key>* from, Item<Key>* to, int64_t n, int shift, int64_t blocks,
                int64_t* counts) {
  const auto digit = [shift](Key key) { return static_cast<int64_t>(key >> shift) & (digits - 1); };
  parallel_blocks(blocks, [&](int64_t b) {
    int64_t* count = counts + b * digits;
    std::fill_n(count, digits, 0);
    for (int64_t i = n * b / blocks; i < n * (b + 1) / blocks; ++i) ++count[digit(from[i].key)];
  });
  int64_t sum = 0;
  for (int64_t d = 0; d < digits; ++d) {
    const int64_t before = sum;
    for (int64_t b = 0; b < blocks; ++b) sum += std::exchange(counts[b * digits + d], sum);
    if (sum - before == n) return false;
  }
  parallel_blocks(blocks, [&](int64_t b) {
    int64_t* place = counts + b * digits;
    for (int64_t i = n * b / blocks; i < n * (b + 1) / blocks; ++i)
      to[place[digit(from[i].key)]++] = from[i];
  });
  return true;
}

constexpr int64_t most_blocks = 16;

/// Sorts n items, with room for n more at `spare`; returns where the result is.
template <class Key>
Item<Key>* sort_items(Item<Key>* items, Item<Key>* spare, int64_t n) {
  if (n < 512) {
    std::sort(items, items + n, [](const Item<Key>& a, const Item<Key>& b) {
      return a.key != b.key ? a.key < b.key : a.position < b.position;
    });
    return items;
  }
  const int64_t blocks =
      std::clamp<int64_t>(n >> 15, 1, std::min<int64_t>(max_threads(), most_blocks));
  int64_t counts[most_blocks * digits];
  for (int shift = 0; shift < static_cast<int>(8 * sizeof(Key)); shift += digit_bits)
    if (radix_pass(items, spare, n, shift, blocks, counts)) std::swap(items, spare);
  return items;
}

/// The items of x[begin, end) in order; positions count from `begin`.
template <class T>
const Item<order_key_t<T>>* sort_range(const T* x, int64_t begin, int64_t end, bool descending,
                                       Item<order_key_t<T>>* items, Item<order_key_t<T>>* spare) {
  using Key = order_key_t<T>;
  for (int64_t i = begin; i < end; ++i) {
    const Key key = order_key(x[i]);
    items[i] = {descending ? static_cast<Key>(~key) : key, static_cast<uint32_t>(i - begin)};
  }
  return sort_items(items + begin, spare + begin, end - begin);
}

/// Sorts the ranges [cut(s), cut(s + 1)) of x, each by itself; written positions start at base(s).
template <class Cut, class Base>
void sort_ranges(Stream& stream, View x, View y, View index, bool descending, int64_t ranges,
                 Cut&& cut, Base&& base) {
  if (ranges == 0 || x.numel() == 0) return;
  for_computed(x.dtype, "sort", [&]<class T>() {
    using Entry = Item<order_key_t<T>>;
    const Scratch scratch = stream.scratch(static_cast<size_t>(2 * x.numel()) * sizeof(Entry));
    Entry* items = scratch.as<Entry>();
    const T* from = x.as<T>();
    // A few ranges are sorted one after the other, by all threads; many are shared out.
    const bool shared = ranges >= 2 * max_threads() && x.numel() >= (1 << 13);
    const int64_t pieces = shared ? std::min<int64_t>(8 * max_threads(), ranges) : 1;
    parallel_blocks(pieces, [&](int64_t piece) {
      for (int64_t s = ranges * piece / pieces; s < ranges * (piece + 1) / pieces; ++s) {
        const int64_t begin = cut(s), n = cut(s + 1) - begin;
        const Entry* sorted =
            sort_range(from, begin, begin + n, descending, items, items + x.numel());
        if (y)
          for (int64_t i = 0; i < n; ++i) y.as<T>()[begin + i] = from[begin + sorted[i].position];
        if (index)
          for_index(index.dtype, "sort", [&]<class I>() {
            for (int64_t i = 0; i < n; ++i)
              index.as<I>()[begin + i] = static_cast<I>(base(s) + sorted[i].position);
          });
      }
    });
  });
}

void sort(Stream& stream, View x, View y, View index, const SortParams& p) {
  refuse_vendor("sort", p.variant, stream.device());
  const int64_t n = check_sort(x, y, index);
  sort_ranges(
      stream, x, y, index, p.descending, n == 0 ? 0 : x.numel() / n,
      [n](int64_t row) { return row * n; }, [](int64_t) { return int64_t{0}; });
}

void segmented_sort(Stream& stream, View x, View offsets, View y, View index, const SortParams& p) {
  refuse_vendor("segmented_sort", p.variant, stream.device());
  const int64_t n = x.numel(), segments = check_segmented_sort(x, offsets, y, index);
  for_index(offsets.dtype, "segmented_sort", [&]<class I>() {
    const I* cut = offsets.as<I>();
    for (int64_t s = 0; s <= segments; ++s)
      TS_CHECK(cut[s] >= (s == 0 ? I{0} : cut[s - 1]) && (s > 0 || cut[0] == 0) &&
                   (s < segments || cut[s] == n),
               "segmented_sort: offset ", s, " is ", cut[s], "; offsets must rise from 0 to ", n);
    const auto at = [cut](int64_t s) { return static_cast<int64_t>(cut[s]); };
    sort_ranges(stream, x, y, index, p.descending, segments, at, at);
  });
}

constexpr int64_t scan_block = 1 << 14;

/// Rows are cut into fixed blocks; a block continues from the sum of the blocks before it.
template <class T, class Sum>
void scan_row(const T* x, T* y, int64_t n, bool exclusive, Sum* base) {
  const auto value = [](T v) {
    if constexpr (is_float(dtype_of<T>))
      return static_cast<Sum>(static_cast<compute_t<T>>(v));
    else
      return static_cast<Sum>(v);
  };
  const int64_t blocks = (n + scan_block - 1) / scan_block;
  parallel_for(blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      Sum sum = 0;
      for (int64_t i = b * scan_block; i < std::min(n, (b + 1) * scan_block); ++i)
        sum += value(x[i]);
      base[b] = sum;
    }
  });
  Sum total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += std::exchange(base[b], total);
  parallel_for(blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      Sum sum = base[b];
      for (int64_t i = b * scan_block; i < std::min(n, (b + 1) * scan_block); ++i) {
        const Sum next = sum + value(x[i]);
        const Sum written = exclusive ? sum : next;
        if constexpr (is_half(dtype_of<T>))
          y[i] = static_cast<T>(static_cast<float>(written));
        else
          y[i] = static_cast<T>(written);
        sum = next;
      }
    }
  });
}

void scan(Stream& stream, View x, View y, const ScanParams& p) {
  refuse_vendor("scan", p.variant, stream.device());
  check_sorted_outputs("scan", x, y, {});
  const int64_t n = x.shape[x.rank - 1], rows = n == 0 ? 0 : x.numel() / n;
  const int64_t blocks = (n + scan_block - 1) / scan_block;
  const Scratch scratch = stream.scratch(static_cast<size_t>(rows * blocks) * sizeof(double));
  for_computed(x.dtype, "scan", [&]<class T>() {
    if constexpr (is_float(dtype_of<T>) || std::is_same_v<T, int32_t> ||
                  std::is_same_v<T, int64_t>) {
      using Sum = std::conditional_t<is_float(dtype_of<T>), double, int64_t>;
      const auto body = [&](int64_t first, int64_t last) {
        for (int64_t r = first; r < last; ++r)
          scan_row(x.as<T>() + r * n, y.as<T>() + r * n, n, p.exclusive,
                   scratch.as<Sum>() + r * blocks);
      };
      if (rows < 2 * max_threads())
        body(0, rows);
      else
        parallel_for(rows, 1 + (1 << 14) / std::max<int64_t>(n, 1), body);
    } else {
      unsupported_dtype("scan", x.dtype);
    }
  });
}

void unique(Stream& stream, View x, View values, View inverse, View counts, View count,
            SortVariant variant) {
  refuse_vendor("unique", variant, stream.device());
  check_unique(x, values, inverse, counts, count);
  const int64_t n = x.numel();
  for_computed(x.dtype, "unique", [&]<class T>() {
    using Entry = Item<order_key_t<T>>;
    const Scratch scratch = stream.scratch(static_cast<size_t>(2 * n) * sizeof(Entry));
    Entry* items = scratch.as<Entry>();
    const T* from = x.as<T>();
    const Entry* sorted = sort_range(from, 0, n, false, items, items + n);
    int64_t found = 0, begin = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (i == 0 || sorted[i].key != sorted[i - 1].key) {
        values.as<T>()[found++] = from[sorted[i].position];
        begin = i;
      }
      if (inverse) inverse.as<int64_t>()[sorted[i].position] = found - 1;
      if (counts) counts.as<int64_t>()[found - 1] = i + 1 - begin;
    }
    *count.as<int64_t>() = found;
  });
}

/// Adds add(bins, i) for all i < n into y [bins] from fixed blocks of i, so that threads can share
/// the work and the order of sums stays the same.
template <class Sum, class Add>
void count_in_blocks(Stream& stream, int64_t n, int64_t bins, Sum* y, Add&& add) {
  const int64_t blocks = std::clamp<int64_t>(n / std::max<int64_t>(bins, 1 << 15), 1, 16);
  const Scratch scratch = stream.scratch(static_cast<size_t>(blocks * bins) * sizeof(Sum));
  Sum* part = scratch.as<Sum>();
  parallel_blocks(blocks, [&](int64_t b) {
    std::fill_n(part + b * bins, bins, Sum{0});
    for (int64_t i = n * b / blocks; i < n * (b + 1) / blocks; ++i) add(part + b * bins, i);
  });
  for (int64_t c = 0; c < bins; ++c) {
    Sum sum = 0;
    for (int64_t b = 0; b < blocks; ++b) sum += part[b * bins + c];
    y[c] = sum;
  }
}

void bincount(Stream& stream, View x, View weights, View y) {
  const int64_t n = x.numel(), bins = y.numel();
  const bool weighted = check_bincount(x, weights, y);
  for_index(x.dtype, "bincount", [&]<class I>() {
    const I* at = x.as<I>();
    for (int64_t i = 0; i < n; ++i)
      TS_CHECK(at[i] >= 0 && at[i] < bins, "bincount: element ", i, " is ", at[i], ", outside [0, ",
               bins, ")");
    if (!weighted) {
      count_in_blocks(stream, n, bins, y.as<int64_t>(),
                      [at](int64_t* part, int64_t i) { ++part[at[i]]; });
      return;
    }
    const Scratch sums = stream.scratch(static_cast<size_t>(bins) * sizeof(double));
    for_float(weights.dtype, "bincount", [&]<class W>() {
      const W* w = weights.as<W>();
      count_in_blocks(stream, n, bins, sums.as<double>(), [at, w](double* part, int64_t i) {
        part[at[i]] += static_cast<double>(static_cast<compute_t<W>>(w[i]));
      });
    });
    for_float(y.dtype, "bincount", [&]<class T>() {
      for (int64_t b = 0; b < bins; ++b)
        y.as<T>()[b] = static_cast<T>(static_cast<compute_t<T>>(sums.as<double>()[b]));
    });
  });
}

void histogram(Stream& stream, View x, double lower, double upper, View counts) {
  const HistogramBins parts = check_histogram(x, lower, upper, counts);
  for_float(x.dtype, "histogram", [&]<class T>() {
    const T* from = x.as<T>();
    count_in_blocks(stream, x.numel(), parts.bins, counts.as<int64_t>(),
                    [&](int64_t* part, int64_t i) {
                      const int64_t b = parts.of(static_cast<compute_t<T>>(from[i]));
                      if (b >= 0) ++part[b];
                    });
  });
}

void searchsorted(Stream&, View sorted, View x, bool right, View y) {
  check_searchsorted(sorted, x, y);
  const int64_t m = sorted.numel();
  for_computed(x.dtype, "searchsorted", [&]<class T>() {
    parallel_for(x.numel(), 1 << 10, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const auto key = order_key(x.as<T>()[i]);
        y.as<int64_t>()[i] = std::partition_point(sorted.as<T>(), sorted.as<T>() + m,
                                                  [&](T v) {
                                                    const auto k = order_key(v);
                                                    return right ? k <= key : k < key;
                                                  }) -
                             sorted.as<T>();
      }
    });
  });
}

}  // namespace

const SortKernels sort_kernels{
    .sort = sort,
    .segmented_sort = segmented_sort,
    .scan = scan,
    .unique = unique,
    .bincount = bincount,
    .histogram = histogram,
    .searchsorted = searchsorted,
    .nearest_neighbors = nearest_neighbors,
    .class_neighbors = class_neighbors,
};

}  // namespace tessera::kernels::cpu
