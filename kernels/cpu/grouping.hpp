#pragma once

#include <algorithm>
#include <cstdint>

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::kernels::cpu {

/// Groups positions by key (0 <= key < groups) by counting: order[start[g] .. start[g + 1]) are the
/// positions of key g, rising. start [groups + 1], order [count].
template <class Key>
void group_positions(Stream& stream, const Key* keys, int64_t count, int64_t groups, int32_t* start,
                     int32_t* order) {
  // Each block of positions counts on its own, as long as the counters are fewer than the
  // positions.
  const int64_t blocks = std::clamp<int64_t>(count / std::max<int64_t>(groups, 1 << 15), 1,
                                             std::min(max_threads(), 8));
  const Scratch scratch = stream.scratch(static_cast<size_t>(blocks * groups) * sizeof(int32_t));
  int32_t* next = scratch.as<int32_t>();
  parallel_blocks(blocks, [&](int64_t b) {
    int32_t* counts = next + b * groups;
    std::fill_n(counts, groups, 0);
    for (int64_t k = count * b / blocks; k < count * (b + 1) / blocks; ++k) ++counts[keys[k]];
  });
  int32_t sum = 0;
  for (int64_t g = 0; g < groups; ++g) {
    start[g] = sum;
    for (int64_t b = 0; b < blocks; ++b) {
      const int32_t size = next[b * groups + g];
      next[b * groups + g] = sum;
      sum += size;
    }
  }
  start[groups] = sum;
  parallel_blocks(blocks, [&](int64_t b) {
    int32_t* to = next + b * groups;
    for (int64_t k = count * b / blocks; k < count * (b + 1) / blocks; ++k)
      order[to[keys[k]]++] = static_cast<int32_t>(k);
  });
}

}  // namespace tessera::kernels::cpu
