// Selection by index. Sums over equal indices, and the last of equal indices, come from grouping
// the positions by where they go: the groups of scatter_add are the rows of a sparse matrix of
// ones. Floors: what is selected once, the indices once, the result once; grouping adds a radix
// sort of the indices.
#include "tessera/kernels/indexing.hpp"

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/spmm.cuh"
#include "tessera/kernels/indexing_operands.hpp"
#include "tessera/kernels/order_key.hpp"

namespace tessera::kernels::cuda {
namespace {

/// A byte pattern of `bytes` that is moved as it is.
template <int bytes>
struct Bytes {
  using type = Pack<uint32_t, bytes / 4>;
};
template <>
struct Bytes<1> {
  using type = uint8_t;
};
template <>
struct Bytes<2> {
  using type = uint16_t;
};
template <class Body>
void for_bytes(size_t bytes, Body&& body) {
  switch (bytes) {
    case 1:
      return body.template operator()<Bytes<1>::type>();
    case 2:
      return body.template operator()<Bytes<2>::type>();
    case 4:
      return body.template operator()<Bytes<4>::type>();
    case 8:
      return body.template operator()<Bytes<8>::type>();
    default:
      return body.template operator()<Bytes<16>::type>();
  }
}

LaunchShape over(const char* name, int64_t n) {
  return {name, {blocks_for(n, block_threads)}, {block_threads}};
}

// ---------------------------------------------------------------- rows

/// One thread per S of the result; strides and width in units of S.
template <class S, class I>
__global__ void __launch_bounds__(block_threads)
    gather_rows(const S* x, int64_t x_stride, int64_t n, const I* index, S* y, int64_t y_stride,
                int64_t count, int64_t width, Finding* finding, int32_t call) {
  for (int64_t i = first_element(); i < count * width; i += element_step()) {
    const int64_t k = i / width, j = i % width, row = index[k];
    if (row >= 0 && row < n)
      y[k * y_stride + j] = x[row * x_stride + j];
    else
      report(finding, call, k, row, 0, n);
  }
}

void gather(Stream& stream, View x, View index, View y) {
  check_gather(x, index, y);
  const int64_t count = y.shape[0], size = static_cast<int64_t>(size_of(x.dtype));
  if (count == 0 || y.shape[1] == 0) return;
  const auto fits = [&](int64_t bytes) {
    return x.shape[1] * size % bytes == 0 && x.stride[0] * size % bytes == 0 &&
           y.stride[0] * size % bytes == 0 && aligned(x.data, bytes) && aligned(y.data, bytes);
  };
  const int64_t bytes = fits(16) ? 16 : size;
  Faults& faults = stream.resource<Faults>();
  for_bytes(static_cast<size_t>(bytes), [&]<class S>() {
    for_index(index.dtype, "gather", [&]<class I>() {
      const int64_t width = x.shape[1] * size / bytes;
      launch(stream, over("gather", count * width), gather_rows<S, I>, x.as<S>(),
             x.stride[0] * size / bytes, x.shape[0], index.as<I>(), y.as<S>(),
             y.stride[0] * size / bytes, count, width, faults.finding(),
             faults.expect("gather: index"));
    });
  });
  faults.launched();
}

/// keys[k] = index[k], or `n` where it is `skipped` or, with a report, out of range.
template <class I>
__global__ void __launch_bounds__(block_threads)
    keys_of_rows(const I* index, int64_t count, int64_t n, int32_t* keys, Finding* finding,
                 int32_t call) {
  for (int64_t k = first_element(); k < count; k += element_step()) {
    const int64_t row = index[k];
    const bool fits = row >= 0 && row < n;
    if (!fits) report(finding, call, k, row, 0, n);
    keys[k] = static_cast<int32_t>(fits ? row : n);
  }
}

void scatter_add(Stream& stream, View x, View index, View y) {
  check_scatter_add(x, index, y);
  const int64_t count = x.shape[0], n = y.shape[0];
  if (count == 0 || n == 0) {
    TS_CHECK(count == 0, "scatter_add: index 0 is outside [0, 0)");
    return;
  }
  const Scratch keys = stream.scratch(static_cast<size_t>(count) * sizeof(int32_t)),
                order = stream.scratch(static_cast<size_t>(count) * sizeof(int32_t)),
                start = stream.scratch(static_cast<size_t>(n + 2) * sizeof(int32_t));
  Faults& faults = stream.resource<Faults>();
  for_index(index.dtype, "scatter_add", [&]<class I>() {
    launch(stream, over("scatter_add keys", count), keys_of_rows<I>, index.as<I>(), count, n,
           keys.as<int32_t>(), faults.finding(), faults.expect("scatter_add: index"));
  });
  faults.launched();
  // What has no row to go to is a group behind the last row.
  group_positions(stream, keys.as<int32_t>(), count, n + 1, start.as<int32_t>(),
                  order.as<int32_t>());
  spmm(stream, CsrView{n, count, count, start.as<int32_t>(), order.as<int32_t>()}, x, y,
       {.beta = 1});
}

// ---------------------------------------------------------------- along an axis

template <class S, class I>
__global__ void __launch_bounds__(block_threads)
    take(const S* x, const I* index, S* y, Along along, Finding* finding, int32_t call) {
  for (int64_t k = first_element(); k < along.count(); k += element_step()) {
    const int64_t at = index[k];
    if (at >= -1 && at < along.full)
      y[k] = at < 0 ? S{} : x[along.position(k, at)];
    else
      report(finding, call, k, at, -1, along.full);
  }
}

void take_along(Stream& stream, View x, int axis, View index, View y) {
  const Along along = check_along("take_along", x, axis, index, y);
  if (along.count() == 0) return;
  Faults& faults = stream.resource<Faults>();
  for_bytes(size_of(x.dtype), [&]<class S>() {
    for_index(index.dtype, "take_along", [&]<class I>() {
      launch(stream, over("take_along", along.count()), take<S, I>, x.as<S>(), index.as<I>(),
             y.as<S>(), along, faults.finding(), faults.expect("take_along: index"));
    });
  });
  faults.launched();
}

/// keys[k] = the position in the indexed operand that element k goes to; `elements` for none.
template <class I>
__global__ void __launch_bounds__(block_threads)
    keys_along(const I* index, Along along, int64_t lowest, int32_t* keys, Finding* finding,
               int32_t call) {
  for (int64_t k = first_element(); k < along.count(); k += element_step()) {
    const int64_t at = index[k];
    if (at < lowest || at >= along.full) report(finding, call, k, at, lowest, along.full);
    const bool goes = at >= 0 && at < along.full;
    keys[k] = static_cast<int32_t>(goes ? along.position(k, at) : along.elements());
  }
}

/// The positions of x grouped by the element of the indexed operand that they go to.
struct Destinations {
  Scratch keys, order, start;

  Destinations(Stream& stream, const char* operation, const View& index, const Along& along,
               int64_t lowest)
      : keys(stream.scratch(static_cast<size_t>(along.count()) * sizeof(int32_t))),
        order(stream.scratch(static_cast<size_t>(along.count()) * sizeof(int32_t))),
        start(stream.scratch(static_cast<size_t>(along.elements() + 2) * sizeof(int32_t))) {
    TS_CHECK(along.elements() < INT32_MAX && along.count() < INT32_MAX, operation, ": ",
             along.elements(), " elements are more than 32-bit indices can address");
    Faults& faults = stream.resource<Faults>();
    for_index(index.dtype, operation, [&]<class I>() {
      launch(stream, over("keys_along", along.count()), keys_along<I>, index.as<I>(), along, lowest,
             keys.as<int32_t>(), faults.finding(), faults.expect(concat(operation, ": index")));
    });
    faults.launched();
    group_positions(stream, keys.as<int32_t>(), along.count(), along.elements() + 1,
                    start.as<int32_t>(), order.as<int32_t>());
  }
};

View column_of(const View& x) {
  View column = x;
  column.rank = 2;
  column.shape[0] = x.numel();
  column.shape[1] = column.stride[0] = column.stride[1] = 1;
  return column;
}

void add_along(Stream& stream, View x, int axis, View index, View y) {
  const Along along = check_along("add_along", y, axis, index, x);
  if (along.count() == 0) return;
  const Destinations to(stream, "add_along", index, along, -1);
  spmm(stream,
       CsrView{along.elements(), along.count(), along.count(), to.start.as<int32_t>(),
               to.order.as<int32_t>()},
       column_of(x), column_of(y), {.beta = 1});
}

template <class S>
__global__ void __launch_bounds__(block_threads)
    put_last(const S* x, const int32_t* start, const int32_t* order, S* y, int64_t elements) {
  for (int64_t i = first_element(); i < elements; i += element_step())
    if (start[i + 1] > start[i]) y[i] = x[order[start[i + 1] - 1]];
}

void put_along(Stream& stream, View x, int axis, View index, View y) {
  const Along along = check_along("put_along", y, axis, index, x);
  if (along.count() == 0) return;
  const Destinations to(stream, "put_along", index, along, 0);
  for_bytes(size_of(x.dtype), [&]<class S>() {
    launch(stream, over("put_along", along.elements()), put_last<S>, x.as<S>(),
           to.start.as<int32_t>(), to.order.as<int32_t>(), y.as<S>(), along.elements());
  });
}

template <class T, class I>
__global__ void __launch_bounds__(block_threads)
    write_one_hot(const I* index, int64_t count, int64_t classes, T* y, Finding* finding,
                  int32_t call) {
  for (int64_t i = first_element(); i < count * classes; i += element_step()) {
    const int64_t k = i / classes, c = i % classes, at = index[k];
    if (c == 0 && (at < 0 || at >= classes)) report(finding, call, k, at, 0, classes);
    y[i] = narrow<T>(static_cast<compute_t<T>>(at == c));
  }
}

void one_hot(Stream& stream, View index, View y) {
  check_one_hot(index, y);
  const int64_t count = index.numel(), classes = y.shape[index.rank];
  if (y.numel() == 0) {
    TS_CHECK(count == 0, "one_hot: index 0 is outside [0, 0)");
    return;
  }
  Faults& faults = stream.resource<Faults>();
  for_computed(y.dtype, "one_hot", [&]<class T>() {
    for_index(index.dtype, "one_hot", [&]<class I>() {
      launch(stream, over("one_hot", y.numel()), write_one_hot<T, I>, index.as<I>(), count, classes,
             y.as<T>(), faults.finding(), faults.expect("one_hot: index"));
    });
  });
  faults.launched();
}

// ---------------------------------------------------------------- top k

/// An element of a row as what orders it: by key, equal keys by position.
struct alignas(16) Ranked {
  uint64_t key;
  int64_t index;
  TS_DEVICE bool before(const Ranked& other) const {
    return key != other.key ? key < other.key : index < other.index;
  }
};
constexpr uint64_t key_of_nothing = ~uint64_t{0};

/// Where item i lies: every other eight items, 128 bytes, are turned round, so that eight threads
/// that are one of two items `step` apart meet all banks, whatever the step.
TS_DEVICE int64_t ranked_place(int64_t i) { return i & 8 ? i ^ 7 : i; }

/// The key that is least for the element wanted first.
template <class T>
TS_DEVICE uint64_t rank_key(T x, bool largest) {
  const auto key = order_key(x);
  return static_cast<uint64_t>(largest ? static_cast<decltype(key)>(~key) : key);
}
template <>
TS_DEVICE uint64_t rank_key(bool x, bool largest) {
  return static_cast<uint64_t>(x != largest);
}

/// Sorts `size` (a power of two) items by the threads of the block, in shared or global memory:
/// Batcher's bitonic network.
TS_DEVICE void block_sort(Ranked* items, int64_t size) {
  for (int64_t run = 2; run <= size; run *= 2)
    for (int64_t step = run / 2; step > 0; step /= 2) {
      sync_block();
      for (int64_t i = thread_index().x; i < size / 2; i += block_threads) {
        const int64_t at = i / step * step * 2 + i % step;
        Ranked *const low = items + ranked_place(at), *const high = items + ranked_place(at + step);
        const Ranked a = load_vector(low), b = load_vector(high);
        const bool rising = (at & run) == 0;
        if (b.before(a) == rising && a.index != b.index) {
          store_vector(low, b);
          store_vector(high, a);
        }
      }
    }
  sync_block();
}

constexpr int64_t sorted_in_shared = 1024;
constexpr int digits = 256;

struct SelectShared {
  Ranked items[sorted_in_shared];
  int32_t histogram[digits];
  int32_t warp_counts[block_threads / warp_size];
  int32_t digit;
  int64_t taken, needed;
};

/// How many threads of the block before this one have `flag` set, and how many have in all.
TS_DEVICE int32_t rank_in_block(bool flag, SelectShared& s, int32_t& total) {
  const uint32_t votes = ballot(flag);
  if (lane_index() == 0) s.warp_counts[warp_index()] = population_count(votes);
  sync_block();
  int32_t before = population_count(votes & ((1u << lane_index()) - 1));
  total = 0;
  for (uint32_t w = 0; w < block_threads / warp_size; ++w) {
    if (w == warp_index()) before += total;
    total += s.warp_counts[w];
  }
  sync_block();
  return before;
}

/// A block per row. Rows that fit are sorted in shared memory. Of longer ones a radix selection
/// finds the key of the k-th element, eight bits at a time; elements before it and, in the order of
/// their positions, as many of its equals as are wanted are collected in `work` and sorted there.
/// What was chosen is then fetched from where it lies, up to a sector each: 1.2 to 1.4 of the ideal
/// sectors for 8 of 64.
/// ptxas (13.0, sm_90a) spills 8 bytes of the floating forms and 4 of those for i32 and i64, once
/// beside passes over whole rows.
template <class T>
__global__ void __launch_bounds__(block_threads)
    select_k(const T* x, int64_t n, int64_t k, bool largest, T* values, int64_t* index,
             Ranked* work, int64_t work_size) {
  SelectShared& s = dynamic_shared<SelectShared>();
  const int64_t row = block_index().x;
  const auto thread = static_cast<int64_t>(thread_index().x);
  x += row * n;
  Ranked* items = s.items;
  int64_t size = 1;
  if (n <= sorted_in_shared) {
    while (size < n) size *= 2;
    for (int64_t i = thread; i < size; i += block_threads)
      store_vector(items + ranked_place(i),
                   Ranked{i < n ? rank_key(x[i], largest) : key_of_nothing, i});
  } else {
    constexpr int key_bits = 8 * sizeof(order_key_t<T>);
    uint64_t prefix = 0;  // the digits found so far
    if (thread == 0) s.needed = k;
    for (int shift = key_bits - 8; shift >= 0; shift -= 8) {
      for (int64_t d = thread; d < digits; d += block_threads) s.histogram[d] = 0;
      sync_block();
      for (int64_t i = thread; i < n; i += block_threads) {
        const uint64_t key = rank_key(x[i], largest);
        const bool in_play = shift + 8 == key_bits || key >> (shift + 8) == prefix;
        if (in_play) atomic_add(&s.histogram[key >> shift & (digits - 1)], 1);
      }
      sync_block();
      if (thread == 0) {
        int32_t d = 0;
        while (s.histogram[d] < s.needed) s.needed -= s.histogram[d++];
        s.digit = d;
      }
      sync_block();
      prefix = prefix << 8 | static_cast<uint64_t>(s.digit);
    }
    items = work + row * work_size;
    size = work_size;
    if (thread == 0) s.taken = 0;
    sync_block();
    const int64_t equals_wanted = s.needed;
    int64_t equals_seen = 0;
    for (int64_t first = 0; first < n; first += block_threads) {
      const int64_t i = first + thread;
      const uint64_t key = i < n ? rank_key(x[i], largest) : key_of_nothing;
      const bool equal = i < n && key == prefix;
      int32_t equals = 0, chosen = 0;
      const int32_t equals_before = rank_in_block(equal, s, equals);
      const bool take =
          i < n && (key < prefix || (equal && equals_seen + equals_before < equals_wanted));
      const int32_t place = rank_in_block(take, s, chosen);
      if (take) items[ranked_place(s.taken + place)] = {key, i};
      equals_seen += equals;
      sync_block();
      if (thread == 0) s.taken += chosen;
      sync_block();
    }
    for (int64_t i = k + thread; i < size; i += block_threads)
      items[ranked_place(i)] = {key_of_nothing, n + i};
  }
  block_sort(items, size);
  for (int64_t j = thread; j < k; j += block_threads) {
    const int64_t from = items[ranked_place(j)].index;
    index[row * k + j] = from;
    values[row * k + j] = x[from];
  }
}

void top_k(Stream& stream, View x, bool largest, View values, View index) {
  check_top_k(x, values, index);
  const int64_t n = x.shape[x.rank - 1], k = values.shape[x.rank - 1];
  if (k == 0 || x.numel() == 0) return;
  const int64_t rows = x.numel() / n;
  int64_t work_size = 1;
  while (work_size < k) work_size *= 2;
  const bool needs_work = n > sorted_in_shared;
  const Scratch work =
      stream.scratch(needs_work ? static_cast<size_t>(rows * work_size) * sizeof(Ranked) : 0);
  for_computed(x.dtype, "top_k", [&]<class T>() {
    launch(stream, {"top_k", {static_cast<uint32_t>(rows)}, {block_threads}, sizeof(SelectShared)},
           select_k<T>, x.as<T>(), n, k, largest, values.as<T>(), index.as<int64_t>(),
           work.as<Ranked>(), work_size);
  });
}

// ---------------------------------------------------------------- nonzero

constexpr int64_t mask_tile = 16 * block_threads;

/// counts[b] = true elements of tile b.
__global__ void __launch_bounds__(block_threads)
    count_tile(const bool* mask, int64_t n, int64_t* counts) {
  SelectShared& s = dynamic_shared<SelectShared>();
  int64_t count = 0;
  const int64_t begin = block_index().x * mask_tile;
  for (int64_t at = begin; at < begin + mask_tile; at += block_threads) {
    int32_t total = 0;
    const int64_t i = at + thread_index().x;
    rank_in_block(i < n && mask[i], s, total);
    count += total;
  }
  if (thread_index().x == 0) counts[block_index().x] = count;
}

/// Counts of tiles to where their elements go; the total to `count`. One thread: a tile is 4096
/// elements, so there are few.
__global__ void sum_tiles(int64_t* counts, int64_t tiles, int64_t* count) {
  int64_t sum = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t here = counts[t];
    counts[t] = sum;
    sum += here;
  }
  *count = sum;
}

__global__ void __launch_bounds__(block_threads)
    write_tile(const bool* mask, int64_t n, const int64_t* starts, int64_t* index) {
  SelectShared& s = dynamic_shared<SelectShared>();
  int64_t to = starts[block_index().x];
  const int64_t begin = block_index().x * mask_tile;
  for (int64_t at = begin; at < begin + mask_tile; at += block_threads) {
    int32_t total = 0;
    const int64_t i = at + thread_index().x;
    const bool set = i < n && mask[i];
    const int32_t place = rank_in_block(set, s, total);
    if (set) index[to + place] = i;
    to += total;
  }
}

void nonzero(Stream& stream, View mask, View index, View count) {
  check_nonzero(mask, index, count);
  const int64_t n = mask.shape[0], tiles = ceil_divide(n, mask_tile);
  const Scratch starts = stream.scratch(static_cast<size_t>(tiles) * sizeof(int64_t));
  const LaunchShape shape{
      "nonzero count_tile", {static_cast<uint32_t>(tiles)}, {block_threads}, sizeof(SelectShared)};
  if (tiles > 0) launch(stream, shape, count_tile, mask.as<bool>(), n, starts.as<int64_t>());
  launch(stream, {"nonzero sum_tiles", {1}, {1}}, sum_tiles, starts.as<int64_t>(), tiles,
         count.as<int64_t>());
  if (tiles > 0)
    launch(stream, shape, write_tile, mask.as<bool>(), n, starts.as<int64_t>(),
           index.as<int64_t>());
}

}  // namespace

extern const IndexingKernels indexing_kernels{
    .gather = gather,
    .scatter_add = scatter_add,
    .take_along = take_along,
    .add_along = add_along,
    .put_along = put_along,
    .one_hot = one_hot,
    .top_k = top_k,
    .nonzero = nonzero,
};

}  // namespace tessera::kernels::cuda
