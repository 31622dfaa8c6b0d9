// Sorting along rows and segments, and what follows from it. Rows of up to 512 elements are sorted
// by counting: the place of an element is the number of elements before it, all read from shared
// memory; floor: x once, the results once. All others go through one radix sort of all elements,
// whose last passes are by the number of the row or segment (8 more bits for every factor of 256 of
// them); the floor is that of radix_sort.cu. Then each element is fetched from where it was, up to
// 2.7 of the ideal sectors in random order; short rows write to 1.5 of them, `unique` to 2.1. What
// compares keys with their predecessors reads 5 sectors for 4. searchsorted goes by halves: twice
// the sectors that its bytes would fill.
#include "tessera/kernels/sort.hpp"

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/reduce.cuh"
#include "tessera/kernels/cuda/sort.cuh"
#include "tessera/kernels/cuda/vendor.hpp"
#include "tessera/kernels/sort_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

/// Where positions go: i32 or i64, or nowhere.
struct IndexOutput {
  void* data;
  bool wide;

  IndexOutput(std::string_view operation, const View& index) : data(index.data), wide(false) {
    if (index) for_index(index.dtype, operation, [&]<class I>() { wide = sizeof(I) == 8; });
  }
  TS_DEVICE void put(int64_t i, int64_t position) const {
    if (data && wide) static_cast<int64_t*>(data)[i] = position;
    if (data && !wide) static_cast<int32_t*>(data)[i] = static_cast<int32_t>(position);
  }
};

// ---------------------------------------------------------------- short rows

constexpr int64_t longest_short_row = 512;

/// A block per `block_rows` rows, as many as there are threads for.
template <class T>
__global__ void __launch_bounds__(sort_threads)
    sort_short_rows(const T* x, int64_t rows, uint32_t n, uint32_t block_rows, bool descending,
                    T* y, IndexOutput index) {
  struct Shared {
    sort_key_t<T> keys[longest_short_row];
  };
  Shared& shared = static_shared<Shared>();
  const int64_t first_row = int64_t{block_index().x} * block_rows, first = first_row * n;
  const auto count =
      static_cast<uint32_t>(rows - first_row < block_rows ? rows - first_row : block_rows) * n;
  for (uint32_t i = thread_index().x; i < count; i += sort_threads)
    shared.keys[i] = sort_key(x[first + i], descending);
  sync_block();
  for (uint32_t i = thread_index().x; i < count; i += sort_threads) {
    const uint32_t row = i / n * n;
    const auto key = shared.keys[i];
    uint32_t place = row;
    for (uint32_t j = row; j < row + n; ++j) {
      const auto other = shared.keys[j];
      place += other < key || (other == key && j < i);
    }
    if (y) y[first + place] = x[first + i];
    index.put(first + place, i - row);
  }
}

// ---------------------------------------------------------------- long rows and segments

template <class T>
__global__ void __launch_bounds__(sort_threads)
    make_items(const T* x, int64_t n, bool descending, Items<sort_key_t<T>> items) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    items.keys[i] = sort_key(x[i], descending);
    items.positions[i] = static_cast<uint32_t>(i);
  }
}

/// items.keys[i] = the row of the element, of `width` elements each.
__global__ void __launch_bounds__(sort_threads)
    keys_of_rows(Items<uint32_t> items, int64_t n, int64_t width) {
  for (int64_t i = first_element(); i < n; i += element_step())
    items.keys[i] = static_cast<uint32_t>(items.positions[i] / width);
}

/// items.keys[i] = the segment of the element: the last one that begins at or before it.
template <class I>
__global__ void __launch_bounds__(sort_threads)
    keys_of_segments(Items<uint32_t> items, int64_t n, const I* offsets, int64_t segments) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    int64_t low = 0, high = segments;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      if (offsets[middle] <= static_cast<I>(items.positions[i]))
        low = middle;
      else
        high = middle;
    }
    items.keys[i] = static_cast<uint32_t>(low);
  }
}

template <class I>
__global__ void __launch_bounds__(sort_threads)
    find_falling(const I* offsets, int64_t segments, int64_t n, Finding* finding, int32_t call) {
  for (int64_t s = first_element(); s <= segments; s += element_step()) {
    const int64_t at = offsets[s],
                  low = s == segments ? n
                        : s > 0       ? int64_t{offsets[s - 1]}
                                      : 0,
                  high = s == 0 ? 1 : n + 1;
    if (at < low || at >= high) report(finding, call, s, at, low, high);
  }
}

/// y[i] = x[position of item i]; its index counts from the beginning of its row of `width`.
template <class T>
__global__ void __launch_bounds__(sort_threads, 4)
    fetch_items(const T* x, const uint32_t* positions, int64_t n, int64_t width, T* y,
                IndexOutput index) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t at = positions[i];
    if (y) y[i] = x[at];
    if (index.data) index.put(i, at - i / width * width);
  }
}

template <class T>
Items<sort_key_t<T>> sort_elements(Stream& stream, const View& x, bool descending,
                                   const ItemMemory<sort_key_t<T>>& memory) {
  const int64_t n = x.numel();
  launch(stream, shape_over("sort make_items", n), make_items<T>, x.as<T>(), n, descending,
         memory.items);
  return radix_sort(stream, memory.items, memory.spare, n, 8 * static_cast<int>(sizeof(T)));
}

/// Sorts the elements of each of `parts` rows or segments of x. assign(items) launches what turns
/// keys into the number of the part; positions count from the beginning of rows of `width`.
template <class Assign>
void sort_parts(Stream& stream, const View& x, const View& y, const IndexOutput& index,
                bool descending, int64_t parts, int64_t width, Assign&& assign) {
  const int64_t n = x.numel();
  int bits = 0;
  while ((int64_t{1} << bits) < parts) ++bits;
  for_computed(x.dtype, "sort", [&]<class T>() {
    using Key = sort_key_t<T>;
    const ItemMemory<Key> memory(stream, n);
    const Items<Key> sorted = sort_elements<T>(stream, x, descending, memory);
    const bool swapped = sorted.keys == memory.spare.keys;
    // numbers of parts have 32 bits, and so room where the keys were
    Items<uint32_t> by_part{reinterpret_cast<uint32_t*>(sorted.keys), sorted.positions};
    const Items<Key>& other = swapped ? memory.items : memory.spare;
    const Items<uint32_t> spare{reinterpret_cast<uint32_t*>(other.keys), other.positions};
    if (bits > 0) {
      assign(by_part);
      by_part = radix_sort(stream, by_part, spare, n, bits);
    }
    for_bits(x.dtype, [&]<class S>() {
      launch(stream, shape_over("sort fetch_items", n), fetch_items<S>, x.as<S>(),
             by_part.positions, n, width, y.as<S>(), index);
    });
  });
}

void sort(Stream& stream, View x, View y, View index, const SortParams& p) {
  const int64_t n = check_sort(x, y, index);
  const IndexOutput output("sort", index);
  if (x.numel() == 0) return;
  const int64_t rows = x.numel() / n;
  const bool vendor = p.variant == SortVariant::vendor;
  if (n <= longest_short_row && !vendor) {
    const int64_t block_rows = std::max<int64_t>(1, sort_threads / n);
    for_computed(x.dtype, "sort", [&]<class T>() {
      launch(stream,
             {"sort short rows",
              {static_cast<uint32_t>(ceil_divide(rows, block_rows))},
              {sort_threads}},
             sort_short_rows<T>, x.as<T>(), rows, n, block_rows, p.descending, y.as<T>(), output);
    });
    return;
  }
  // a few rows at a time, where there are more elements than positions can name
  const int64_t most = longest_sorted / n;
  for (int64_t row = 0; row < rows; row += most) {
    const auto part = [&](View v) {
      if (!v) return v;
      v.data = v.as<char>() + static_cast<size_t>(row * n) * size_of(v.dtype);
      v.rank = 2;
      v.shape[0] = std::min(most, rows - row), v.stride[0] = n;
      v.shape[1] = n, v.stride[1] = 1;
      return v;
    };
    if (vendor) {
      vendor_sort(stream, part(x), part(y), part(index), p.descending);
      continue;
    }
    const int64_t count = part(x).numel();
    sort_parts(stream, part(x), part(y), IndexOutput("sort", part(index)), p.descending, count / n,
               n, [&](const Items<uint32_t>& items) {
                 launch(stream, shape_over("sort keys_of_rows", count), keys_of_rows, items, count,
                        n);
               });
  }
}

void segmented_sort(Stream& stream, View x, View offsets, View y, View index, const SortParams& p) {
  const int64_t segments = check_segmented_sort(x, offsets, y, index), n = x.numel();
  const IndexOutput output("segmented_sort", index);
  check_rising_offsets(stream, "segmented_sort", offsets, n);
  for_index(offsets.dtype, "segmented_sort", [&]<class I>() {
    const I* cut = offsets.as<I>();
    if (n == 0) return;
    if (p.variant == SortVariant::vendor)
      return vendor_segmented_sort(stream, x, offsets, y, index, p.descending);
    sort_parts(stream, x, y, output, p.descending, segments, n, [&](const Items<uint32_t>& items) {
      launch(stream, shape_over("sort keys_of_segments", n), keys_of_segments<I>, items, n, cut,
             segments);
    });
  });
}

// ---------------------------------------------------------------- scan, unique, searchsorted

void scan(Stream& stream, View x, View y, const ScanParams& p) {
  check_sorted_outputs("scan", x, y, {});
  if (!is_float(x.dtype) && x.dtype != DType::i32 && x.dtype != DType::i64)
    unsupported_dtype("scan", x.dtype);
  if (p.variant == SortVariant::vendor) return vendor_scan(stream, x, y, p.exclusive);
  running_sums(stream, x, x.rank - 1, y, p.exclusive);
}

/// first[i] = 1 where a key differs from the one before it.
template <class Key>
__global__ void __launch_bounds__(sort_threads)
    mark_first(const Key* keys, int64_t n, int32_t* first) {
  for (int64_t i = first_element(); i < n; i += element_step())
    first[i] = i == 0 || keys[i] != keys[i - 1];
}

/// number[i] = the distinct elements up to i; starts[g] = where those equal to element g begin.
template <class T>
__global__ void __launch_bounds__(sort_threads)
    write_distinct(const T* x, const uint32_t* positions, const int32_t* number, int64_t n,
                   T* values, int64_t* inverse, int32_t* starts, int64_t* count) {
  if (first_element() == 0) *count = n > 0 ? number[n - 1] : 0;
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t group = number[i] - 1, before = i > 0 ? number[i - 1] - 1 : -1;
    if (inverse) inverse[positions[i]] = group;
    if (group == before) continue;
    values[group] = x[positions[i]];
    starts[group] = static_cast<int32_t>(i);
  }
}

__global__ void __launch_bounds__(sort_threads)
    count_distinct(const int32_t* starts, const int64_t* count, int64_t n, int64_t* counts) {
  for (int64_t g = first_element(); g < *count; g += element_step())
    counts[g] = (g + 1 < *count ? starts[g + 1] : n) - starts[g];
}

void unique(Stream& stream, View x, View values, View inverse, View counts, View count,
            SortVariant variant) {
  check_unique(x, values, inverse, counts, count);
  if (variant == SortVariant::vendor)
    return vendor_unique(stream, x, values, inverse, counts, count);
  const int64_t n = x.numel();
  const Scratch number = stream.scratch(static_cast<size_t>(n) * sizeof(int32_t)),
                starts = stream.scratch(static_cast<size_t>(n) * sizeof(int32_t));
  for_computed(x.dtype, "unique", [&]<class T>() {
    using Key = sort_key_t<T>;
    const ItemMemory<Key> memory(stream, n);
    const Items<Key> sorted = sort_elements<T>(stream, x, false, memory);
    launch(stream, shape_over("unique mark_first", n), mark_first<Key>, sorted.keys, n,
           number.as<int32_t>());
    const View numbers{number.as<void>(), DType::i32, 1, {n}, {1}};
    running_sums(stream, numbers, 0, numbers, false);
    for_bits(x.dtype, [&]<class S>() {
      launch(stream, shape_over("unique write_distinct", n), write_distinct<S>, x.as<S>(),
             sorted.positions, number.as<int32_t>(), n, values.as<S>(), inverse.as<int64_t>(),
             starts.as<int32_t>(), count.as<int64_t>());
    });
  });
  if (counts && n > 0)
    launch(stream, shape_over("unique count_distinct", n), count_distinct, starts.as<int32_t>(),
           count.as<int64_t>(), n, counts.as<int64_t>());
}

template <class T>
__global__ void __launch_bounds__(sort_threads)
    search(const T* sorted, int64_t m, const T* x, int64_t n, bool right, int64_t* y) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const auto key = order_key(x[i]);
    int64_t low = 0, high = m;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      const auto other = order_key(sorted[middle]);
      if (right ? other <= key : other < key)
        low = middle + 1;
      else
        high = middle;
    }
    y[i] = low;
  }
}

void searchsorted(Stream& stream, View sorted, View x, bool right, View y) {
  check_searchsorted(sorted, x, y);
  const int64_t n = x.numel();
  if (n == 0) return;
  for_computed(x.dtype, "searchsorted", [&]<class T>() {
    launch(stream, shape_over("searchsorted", n), search<T>, sorted.as<T>(), sorted.numel(),
           x.as<T>(), n, right, y.as<int64_t>());
  });
}

}  // namespace

void check_rising_offsets(Stream& stream, const std::string& operation, const View& offsets,
                          int64_t n) {
  Faults& faults = stream.resource<Faults>();
  for_index(offsets.dtype, operation, [&]<class I>() {
    launch(stream, shape_over("sort find_falling", offsets.numel()), find_falling<I>,
           offsets.as<I>(), offsets.numel() - 1, n, faults.finding(),
           faults.expect(operation + ": offset"));
  });
  faults.launched();
}

extern const SortKernels sort_kernels{
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

}  // namespace tessera::kernels::cuda
