#include "tessera/runtime/simt/device.hpp"

#include <bit>
#include <cstring>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::simt {
namespace {

template <class Body>
void for_lanes(uint32_t mask, Body&& body) {
  for (; mask; mask &= mask - 1) body(static_cast<uint32_t>(std::countr_zero(mask)));
}

/// The slots are the threads.
void finish_sync(void** slots, uint32_t mask) {
  if (!tracing().meet) return;
  Thread* threads[warp_size];
  uint32_t count = 0;
  for_lanes(mask, [&](uint32_t lane) { threads[count++] = static_cast<Thread*>(slots[lane]); });
  tracing().meet(threads, count);
}

struct ShuffleSlot {
  void* value;
  uint32_t bytes, operand, width;
  Shuffle kind;
};

void finish_shuffle(void** slots, uint32_t mask) {
  unsigned char copies[warp_size][16];
  for_lanes(mask, [&](uint32_t lane) {
    const auto& s = *static_cast<ShuffleSlot*>(slots[lane]);
    std::memcpy(copies[lane], s.value, s.bytes);
  });
  for_lanes(mask, [&](uint32_t lane) {
    const auto& s = *static_cast<ShuffleSlot*>(slots[lane]);
    const uint32_t base = lane & ~(s.width - 1), last = base + s.width - 1;
    uint32_t source = lane;
    switch (s.kind) {
      case Shuffle::index:
        source = base + (s.operand & (s.width - 1));
        break;
      case Shuffle::up:
        source = lane - base >= s.operand ? lane - s.operand : lane;
        break;
      case Shuffle::down:
        source = lane + s.operand <= last ? lane + s.operand : lane;
        break;
      case Shuffle::exclusive_or:
        source = (lane ^ s.operand) <= last ? lane ^ s.operand : lane;
        break;
    }
    if (source < warp_size && mask >> source & 1)
      std::memcpy(s.value, copies[source], s.bytes);
    else
      std::memset(s.value, 0xff, s.bytes);
  });
}

struct VoteSlot {
  uint64_t value;
  uint32_t result;
};

void finish_ballot(void** slots, uint32_t mask) {
  uint32_t bits = 0;
  for_lanes(mask, [&](uint32_t lane) {
    if (static_cast<VoteSlot*>(slots[lane])->value) bits |= 1u << lane;
  });
  for_lanes(mask, [&](uint32_t lane) { static_cast<VoteSlot*>(slots[lane])->result = bits; });
}

void finish_match(void** slots, uint32_t mask) {
  for_lanes(mask, [&](uint32_t lane) {
    auto& own = *static_cast<VoteSlot*>(slots[lane]);
    own.result = 0;
    for_lanes(mask, [&](uint32_t other) {
      if (static_cast<VoteSlot*>(slots[other])->value == own.value) own.result |= 1u << other;
    });
  });
}

struct ReduceSlot {
  int64_t value;
  WarpReduce operation;
};

void finish_reduce(void** slots, uint32_t mask) {
  const auto slot = [&](uint32_t lane) -> ReduceSlot& {
    return *static_cast<ReduceSlot*>(slots[lane]);
  };
  const auto first = static_cast<uint32_t>(std::countr_zero(mask));
  int64_t total = slot(first).value;
  for_lanes(mask & (mask - 1), [&](uint32_t lane) {
    const int64_t x = slot(lane).value;
    switch (slot(first).operation) {
      case WarpReduce::add:
        total += x;
        break;
      case WarpReduce::minimum:
        total = x < total ? x : total;
        break;
      case WarpReduce::maximum:
        total = x > total ? x : total;
        break;
      case WarpReduce::bit_and:
        total &= x;
        break;
      case WarpReduce::bit_or:
        total |= x;
        break;
      case WarpReduce::bit_xor:
        total ^= x;
        break;
    }
  });
  for_lanes(mask, [&](uint32_t lane) { slot(lane).value = total; });
}

}  // namespace

Dim3 thread_index() { return current().index; }
Dim3 block_index() { return current().block->index; }
Dim3 block_size() { return current().block->launch->block; }
Dim3 grid_size() { return current().block->launch->grid; }
uint32_t lane_index() { return current().lane; }
uint32_t cluster_rank() { return current().block->cluster_rank; }
uint32_t cluster_size() { return current().block->cluster_blocks; }

void sync_block() {
  current().block->interpreter->block_barrier(0, 0, true, "sync_block",
                                              __builtin_return_address(0));
}
void sync_barrier(uint32_t id, uint32_t threads) {
  current().block->interpreter->block_barrier(id, threads, true, "sync_barrier",
                                              __builtin_return_address(0));
}
void arrive_barrier(uint32_t id, uint32_t threads) {
  current().block->interpreter->block_barrier(id, threads, false, "arrive_barrier",
                                              __builtin_return_address(0));
}
void sync_warp(uint32_t mask) {
  collective(mask, "sync_warp", &current(), &finish_sync, __builtin_return_address(0));
}
void sync_cluster(bool arrive, bool wait) {
  current().block->interpreter->cluster_barrier(arrive, wait, __builtin_return_address(0));
}
void sync_grid() { current().block->interpreter->grid_barrier(__builtin_return_address(0)); }
void relax() { current().block->interpreter->yield(); }

void shuffle(uint32_t mask, void* value, uint32_t bytes, Shuffle kind, uint32_t operand,
             uint32_t width) {
  const void* site = __builtin_return_address(0);
  if (!std::has_single_bit(width) || width > warp_size)
    fault(concat("shuffle: width ", width, " is not a power of two up to 32"), site);
  ShuffleSlot slot{value, bytes, operand, width, kind};
  collective(mask, "shuffle", &slot, &finish_shuffle, site);
}
uint32_t ballot(uint32_t mask, bool predicate) {
  VoteSlot slot{predicate, 0};
  collective(mask, "ballot", &slot, &finish_ballot, __builtin_return_address(0));
  return slot.result;
}
uint32_t match_any(uint32_t mask, uint64_t value) {
  VoteSlot slot{value, 0};
  collective(mask, "match_any", &slot, &finish_match, __builtin_return_address(0));
  return slot.result;
}
uint32_t reduce_u32(uint32_t mask, uint32_t value, WarpReduce operation) {
  ReduceSlot slot{value, operation};
  collective(mask, "warp reduce", &slot, &finish_reduce, __builtin_return_address(0));
  return static_cast<uint32_t>(slot.value);
}
int32_t reduce_i32(uint32_t mask, int32_t value, WarpReduce operation) {
  ReduceSlot slot{value, operation};
  collective(mask, "warp reduce", &slot, &finish_reduce, __builtin_return_address(0));
  return static_cast<int32_t>(slot.value);
}

std::byte* dynamic_shared() { return current().block->shared; }

void* map_shared(void* own, uint32_t rank) {
  const Block& block = *current().block;
  const auto offset = static_cast<std::byte*>(own) - block.shared;
  if (offset < 0 || static_cast<size_t>(offset) >= block.shared_bytes)
    fault("map_shared: an address that is not in the block's shared memory",
          __builtin_return_address(0));
  if (rank >= block.cluster_blocks)
    fault(concat("map_shared: block ", rank, " of a cluster of ", block.cluster_blocks),
          __builtin_return_address(0));
  for (const auto& other : block.interpreter->blocks())
    if (other->cluster_first == block.cluster_first && other->cluster_rank == rank)
      return other->shared + offset;
  return own;
}

}  // namespace tessera::simt
