// Positions grouped by key: the radix sort of radix_sort.cu, as many passes as the number of groups
// has digits, and the start of each group by bisection of the sorted keys, whose first steps lanes
// share and whose last ones touch a sector each: 4.9 to 5.9 of them for one that the words of
// neighbouring groups would fill, where groups have 8 to 160 positions, 1.3 to 1.8 where they have
// few. Floor: the sort's, and 12 bytes per position before it.
#include "tessera/kernels/cuda/sort.cuh"
#include "tessera/kernels/cuda/spmm.cuh"

namespace tessera::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads)
    find_starts(const uint32_t* sorted, int64_t count, int64_t groups, int32_t* start) {
  for (int64_t g = first_element(); g <= groups; g += element_step()) {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (int64_t{sorted[middle]} < g)
        low = middle + 1;
      else
        high = middle;
    }
    start[g] = static_cast<int32_t>(low);
  }
}

__global__ void __launch_bounds__(block_threads)
    number_keys(const int32_t* keys, int64_t count, Items<uint32_t> items) {
  for (int64_t i = first_element(); i < count; i += element_step()) {
    items.keys[i] = static_cast<uint32_t>(keys[i]);
    items.positions[i] = static_cast<uint32_t>(i);
  }
}

}  // namespace

void group_positions(Stream& stream, const int32_t* keys, int64_t count, int64_t groups,
                     int32_t* start, int32_t* order) {
  int bits = 0;
  while (int64_t{1} << bits < groups) ++bits;
  const ItemMemory<uint32_t> memory(stream, count);
  Items<uint32_t> items = memory.items, spare = memory.spare;
  (sort_passes(bits) % 2 ? spare : items).positions = reinterpret_cast<uint32_t*>(order);
  if (count > 0)
    launch(stream, {"number_keys", {blocks_for(count, block_threads)}, {block_threads}},
           number_keys, keys, count, items);
  items = radix_sort(stream, items, spare, count, bits);
  launch(stream, {"find_starts", {blocks_for(groups + 1, block_threads)}, {block_threads}},
         find_starts, items.keys, count, groups, start);
}

}  // namespace tessera::kernels::cuda
