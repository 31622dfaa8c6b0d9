// Positions grouped by key: a stable radix sort by CUB, which the interpreter's build replaces by
// counting on the host, and the start of each group by bisection of the sorted keys.
#include "tessera/kernels/cuda/spmm.cuh"

#if defined(__CUDACC__)
#include <cub/device/device_radix_sort.cuh>
#endif

namespace tessera::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads)
    find_starts(const int32_t* sorted, int64_t count, int64_t groups, int32_t* start) {
  for (int64_t g = first_element(); g <= groups; g += element_step()) {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (sorted[middle] < g)
        low = middle + 1;
      else
        high = middle;
    }
    start[g] = static_cast<int32_t>(low);
  }
}

#if defined(__CUDACC__)

__global__ void __launch_bounds__(block_threads) count_up(int32_t* positions, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_step())
    positions[i] = static_cast<int32_t>(i);
}

void sort_positions(Stream& stream, const int32_t* keys, int64_t count, int64_t groups,
                    int32_t* sorted, int32_t* order) {
  int bits = 1;
  while (bits < 31 && (int64_t{1} << bits) < groups) ++bits;
  const auto native = static_cast<cudaStream_t>(stream.native());
  const Scratch positions = stream.scratch(static_cast<size_t>(count) * sizeof(int32_t));
  launch(stream, {"count_up", {blocks_for(count, block_threads)}, {block_threads}}, count_up,
         positions.as<int32_t>(), count);
  const auto sort = [&](void* work, size_t& bytes) {
    TS_CUDA(cub::DeviceRadixSort::SortPairs(work, bytes, keys, sorted, positions.as<int32_t>(),
                                            order, count, 0, bits, native));
  };
  size_t bytes = 0;
  sort(nullptr, bytes);
  const Scratch work = stream.scratch(bytes);
  sort(work.as<void>(), bytes);
}

#else

void sort_positions(Stream& stream, const int32_t* keys, int64_t count, int64_t groups,
                    int32_t* sorted, int32_t* order) {
  const Scratch counters = stream.scratch(static_cast<size_t>(groups + 1) * sizeof(int32_t));
  auto* next = counters.as<int32_t>();
  std::fill_n(next, groups + 1, 0);
  for (int64_t k = 0; k < count; ++k) ++next[keys[k] + 1];
  for (int64_t g = 0; g < groups; ++g) next[g + 1] += next[g];
  for (int64_t k = 0; k < count; ++k) {
    const int32_t to = next[keys[k]]++;
    sorted[to] = keys[k];
    order[to] = static_cast<int32_t>(k);
  }
}

#endif

}  // namespace

void group_positions(Stream& stream, const int32_t* keys, int64_t count, int64_t groups,
                     int32_t* start, int32_t* order) {
  const Scratch sorted = stream.scratch(static_cast<size_t>(count) * sizeof(int32_t));
  if (count > 0) sort_positions(stream, keys, count, groups, sorted.as<int32_t>(), order);
  launch(stream, {"find_starts", {blocks_for(groups + 1, block_threads)}, {block_threads}},
         find_starts, sorted.as<int32_t>(), count, groups, start);
}

}  // namespace tessera::kernels::cuda
