// Stable sort of keys with positions, eight bits of the key at a time, the lowest first. A pass
// counts the digits of each tile, sums the counts up over tiles, and moves each item to its place:
// it reads keys twice, positions once and writes both, 20 bytes per item with keys of 32 bits.
// Within a tile items are ranked by warps (lanes that hold equal digits find each other), then put
// in order in shared memory, from where runs of equal digits go to neighbouring addresses. Nothing
// depends on which block is faster.
//
// Over the ideal, by the order of the keys: sectors 1.4 where items move, as runs begin anywhere,
// and 1.4 where a tile's counts go to their digits; banks 2.7 where digits are counted and 1.8
// where items find their places, which are random to the lanes of a warp. Keys that count up (their
// digits lie 16 items apart in the tile) meet in no bank, as the tile skips a word every 32.
#include "tessera/kernels/cuda/sort.cuh"
#include "tessera/kernels/cuda/warp.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t digits = 1 << digit_bits, warps = sort_threads / warp_size;
static_assert(digits == sort_threads, "threads of a block take a digit each");

template <class Key>
constexpr uint32_t items_per_thread = 64 / sizeof(Key);
template <class Key>
constexpr uint32_t tile = items_per_thread<Key>* sort_threads;

template <class Key>
TS_DEVICE uint32_t digit_of(Key key, int shift) {
  return static_cast<uint32_t>(key >> shift) & (digits - 1);
}

/// Each thread gets the sum of the values of the threads before it, and `total`. `scratch` is
/// shared memory for 32 values, free again when the next barrier has passed.
template <class T>
TS_DEVICE T block_sum_before(T value, T* scratch, T& total) {
  const T in_warp = warp_scan(value, Sum{});
  if (lane_index() == warp_size - 1) scratch[warp_index()] = in_warp;
  sync_block();
  T before = in_warp - value;
  total = 0;
  for (uint32_t w = 0; w < block_size().x / warp_size; ++w) {
    if (w < warp_index()) before += scratch[w];
    total += scratch[w];
  }
  sync_block();
  return before;
}

/// counts [digits, tiles]
template <class Key>
__global__ void __launch_bounds__(sort_threads)
    count_digits(const Key* keys, uint32_t n, int shift, uint32_t* counts) {
  struct Shared {
    uint32_t count[digits];
  };
  Shared& shared = static_shared<Shared>();
  const uint32_t thread = thread_index().x, first = block_index().x * tile<Key>;
  shared.count[thread] = 0;
  sync_block();
#pragma unroll
  for (uint32_t j = 0; j < items_per_thread<Key>; ++j) {
    const uint32_t i = first + j * sort_threads + thread;
    if (i < n) atomic_add(&shared.count[digit_of(keys[i], shift)], 1u);
  }
  sync_block();
  counts[thread * grid_size().x + block_index().x] = shared.count[thread];
}

/// A block per digit: its counts become sums over the tiles before, totals[digit] the sum of all.
__global__ void __launch_bounds__(sort_threads)
    sum_counts(uint32_t* counts, uint32_t tiles, uint32_t* totals) {
  struct Shared {
    uint32_t warps[warp_size];
  };
  Shared& shared = static_shared<Shared>();
  counts += block_index().x * tiles;
  uint32_t sum = 0;
  for (uint32_t first = 0; first < tiles; first += sort_threads) {
    const uint32_t i = first + thread_index().x;
    uint32_t total = 0;
    const uint32_t before = block_sum_before(i < tiles ? counts[i] : 0u, shared.warps, total);
    if (i < tiles) counts[i] = sum + before;
    sum += total;
  }
  if (thread_index().x == 0) totals[block_index().x] = sum;
}

/// Where item i of a tile lies: an item is left out after every 128 bytes.
template <class T>
TS_DEVICE constexpr uint32_t padded(uint32_t i) {
  return i + i / (128 / sizeof(T));
}

template <class Key>
struct Tile {
  uint32_t places[warps]
                 [digits];  // how often a digit was seen by a warp, then where its first goes
  uint32_t shift[digits];   // from places in the tile to places among all items
  uint32_t warp_sums[warp_size];
  Key keys[padded<Key>(tile<Key>)];
  uint32_t positions[padded<uint32_t>(tile<Key>)];
};

template <class Key>
__global__ void __launch_bounds__(sort_threads)
    move_items(Items<Key> from, Items<Key> to, uint32_t n, int shift, const uint32_t* counts,
               const uint32_t* totals) {
  constexpr uint32_t each = items_per_thread<Key>;
  Tile<Key>& t = static_shared<Tile<Key>>();
  const uint32_t thread = thread_index().x, lane = lane_index(), warp = warp_index();
  const uint32_t first = block_index().x * tile<Key>;
  const uint32_t count = n - first < tile<Key> ? n - first : tile<Key>;

  // What is behind the last item has the highest key, and so the last places of the tile.
  Key keys[each];
  uint32_t rank[each];
  const uint32_t own = warp * warp_size * each + lane;
#pragma unroll
  for (uint32_t j = 0; j < each; ++j) {
    const uint32_t i = own + j * warp_size;
    keys[j] = i < count ? from.keys[first + i] : static_cast<Key>(~Key{0});
  }
  for (uint32_t d = lane; d < digits; d += warp_size) t.places[warp][d] = 0;
  sync_warp();
#pragma unroll
  for (uint32_t j = 0; j < each; ++j) {
    const uint32_t digit = digit_of(keys[j], shift), equals = match_any(digit);
    const auto leader = static_cast<uint32_t>(lowest_bit(equals));
    uint32_t before = 0;
    if (lane == leader)
      before = atomic_add(&t.places[warp][digit], static_cast<uint32_t>(population_count(equals)));
    rank[j] = shuffle(before, leader) +
              static_cast<uint32_t>(population_count(equals & ((1u << lane) - 1)));
  }
  sync_block();

  uint32_t in_tile = 0, all = 0;
  for (uint32_t w = 0; w < warps; ++w) {
    const uint32_t seen = t.places[w][thread];
    t.places[w][thread] = in_tile;
    in_tile += seen;
  }
  const uint32_t start = block_sum_before(in_tile, t.warp_sums, all),
                 start_of_all = block_sum_before(totals[thread], t.warp_sums, all);
  for (uint32_t w = 0; w < warps; ++w) t.places[w][thread] += start;
  t.shift[thread] = start_of_all + counts[thread * grid_size().x + block_index().x] - start;
  sync_block();

#pragma unroll
  for (uint32_t j = 0; j < each; ++j) {
    const uint32_t i = own + j * warp_size,
                   place = t.places[warp][digit_of(keys[j], shift)] + rank[j];
    t.keys[padded<Key>(place)] = keys[j];
    if (i < count) t.positions[padded<uint32_t>(place)] = from.positions[first + i];
  }
  sync_block();
  for (uint32_t i = thread; i < count; i += sort_threads) {
    const Key key = t.keys[padded<Key>(i)];
    const uint32_t place = t.shift[digit_of(key, shift)] + i;
    to.keys[place] = key;
    to.positions[place] = t.positions[padded<uint32_t>(i)];
  }
}

}  // namespace

template <class Key>
Items<Key> radix_sort(Stream& stream, Items<Key> items, Items<Key> spare, int64_t n, int bits) {
  if (n == 0) return items;
  const auto tiles = static_cast<uint32_t>(ceil_divide(n, tile<Key>));
  const Scratch scratch = stream.scratch((size_t{digits} * tiles + digits) * sizeof(uint32_t));
  auto *counts = scratch.as<uint32_t>(), *totals = counts + size_t{digits} * tiles;
  for (int shift = 0; shift < bits; shift += digit_bits) {
    launch(stream, {"sort count_digits", {tiles}, {sort_threads}}, count_digits<Key>, items.keys, n,
           shift, counts);
    launch(stream, {"sort sum_counts", {digits}, {sort_threads}}, sum_counts, counts, tiles,
           totals);
    launch(stream, {"sort move_items", {tiles}, {sort_threads}}, move_items<Key>, items, spare, n,
           shift, counts, totals);
    std::swap(items, spare);
  }
  return items;
}

template Items<uint32_t> radix_sort(Stream&, Items<uint32_t>, Items<uint32_t>, int64_t, int);
template Items<uint64_t> radix_sort(Stream&, Items<uint64_t>, Items<uint64_t>, int64_t, int);

}  // namespace tessera::kernels::cuda
