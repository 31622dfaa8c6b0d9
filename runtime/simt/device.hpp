#pragma once

#include <cstddef>
#include <cstdint>

#include "tessera/runtime/simt/interpreter.hpp"

/// What kernels/cuda/ptx.cuh calls in a build for the host: the instructions of a thread. Each
/// function learns from its return address where the kernel called it.
namespace tessera::simt {

[[gnu::const]] Dim3 thread_index();
[[gnu::const]] Dim3 block_index();
[[gnu::const]] Dim3 block_size();
[[gnu::const]] Dim3 grid_size();
[[gnu::const]] uint32_t lane_index();
[[gnu::const]] uint32_t cluster_rank();
[[gnu::const]] uint32_t cluster_size();

void sync_block();
void sync_barrier(uint32_t id, uint32_t threads);
void arrive_barrier(uint32_t id, uint32_t threads);
void sync_warp(uint32_t mask);
void sync_cluster(bool arrive, bool wait);
void sync_grid();
/// In a loop that waits for another thread: lets it run.
void relax();

enum class Shuffle : uint8_t { index, up, down, exclusive_or };
/// Exchanges `bytes` (at most 16) at `value` within segments of `width` lanes. A lane whose source
/// is not in the mask gets all bits set: NaN, where the hardware gives anything.
void shuffle(uint32_t mask, void* value, uint32_t bytes, Shuffle kind, uint32_t operand,
             uint32_t width);
uint32_t ballot(uint32_t mask, bool predicate);
uint32_t match_any(uint32_t mask, uint64_t value);
enum class WarpReduce : uint8_t { add, minimum, maximum, bit_and, bit_or, bit_xor };
uint32_t reduce_u32(uint32_t mask, uint32_t value, WarpReduce operation);
int32_t reduce_i32(uint32_t mask, int32_t value, WarpReduce operation);

/// The block's dynamic shared memory, 1024-byte aligned.
[[gnu::const]] std::byte* dynamic_shared();
/// The same place in the shared memory of block `rank` of the cluster.
void* map_shared(void* own, uint32_t rank);

}  // namespace tessera::simt
