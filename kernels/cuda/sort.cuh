#pragma once

#include "tessera/kernels/cuda/faults.cuh"
#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/order_key.hpp"
#include "tessera/kernels/sort.hpp"

/// What the files of the sort family share. radix_sort.cu sorts keys, sort.cu holds what follows
/// from it and the table, counting.cu counts and sums per bin, neighbors.cu and
/// class_neighbors.cu find neighbours.
namespace tessera::kernels::cuda {

inline constexpr uint32_t sort_threads = 256;

inline LaunchShape shape_over(const char* name, int64_t n) {
  return {name, {blocks_for(n, sort_threads)}, {sort_threads}};
}

/// Keys with the positions that they came from.
template <class Key>
struct Items {
  Key* keys;
  uint32_t* positions;
};

/// Room for n items and as many again.
template <class Key>
struct ItemMemory {
  Scratch keys, positions;
  Items<Key> items, spare;

  ItemMemory(Stream& stream, int64_t n)
      : keys(stream.scratch(static_cast<size_t>(2 * n) * sizeof(Key))),
        positions(stream.scratch(static_cast<size_t>(2 * n) * sizeof(uint32_t))),
        items{keys.as<Key>(), positions.as<uint32_t>()},
        spare{items.keys + n, items.positions + n} {}
};

inline constexpr int digit_bits = 8;
/// How often radix_sort moves all items from one memory to the other.
constexpr int sort_passes(int bits) { return (bits + digit_bits - 1) / digit_bits; }

/// Sorts n < 2^31 items by the low `bits` of their keys, equal ones in the order in which they
/// stand; `spare` is room for n more. Returns which of the two holds the result: `spare` after an
/// odd number of passes. Key: uint32_t or uint64_t.
template <class Key>
Items<Key> radix_sort(Stream&, Items<Key> items, Items<Key> spare, int64_t n, int bits);

/// The key of radix_sort that orders as order_key does, in the low bits.
template <class T>
using sort_key_t = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <class T>
TS_DEVICE sort_key_t<T> sort_key(T x, bool descending) {
  const auto key = order_key(x);
  return descending ? static_cast<decltype(key)>(~key) : key;
}

/// Reports offsets (i32 or i64) that do not rise from 0 to n. Kernels after it must not trust them.
void check_rising_offsets(Stream&, const std::string& operation, const View& offsets, int64_t n);

void bincount(Stream&, View x, View weights, View y);
void histogram(Stream&, View x, double lower, double upper, View counts);
void nearest_neighbors(Stream&, View queries, View points, View distance, View index,
                       const NeighborParams&);
void class_neighbors(Stream&, View sorted, View grouped, View offsets, View counts,
                     const ClassNeighborParams&);

}  // namespace tessera::kernels::cuda
