#pragma once

#include <cstddef>
#include <cstdint>

/// What kernels/cuda/ptx_async.cuh calls in a build for the host: copies that go on while the
/// thread does, and the barriers in shared memory that count them.
///
/// A lazy schedule moves nothing before somebody has to wait for it, and fills destinations with
/// NaN until then; an eager one moves everything at once. Both are legal on the hardware, and
/// between them they show most missing waits. With a seed, copies that nobody orders end in another
/// order.
namespace tessera::simt {

// ---- copies of one thread, in groups (cp.async)

/// `bytes` (4, 8, 16) to shared memory, the first `source_bytes` of them from global memory and
/// zeros behind.
void copy_async(void* shared, const void* global, uint32_t bytes, uint32_t source_bytes);
void commit_copies();
/// Until at most `groups` of the groups committed last may be unfinished; ~0u: until all copies are
/// done, committed or not.
void wait_copies(uint32_t groups);
/// One arrival at the barrier when the thread's copies so far are done.
void arrive_after_copies(void* barrier);

// ---- mbarriers

void init_mbarrier(void* barrier, uint32_t arrivals);
void invalidate_mbarrier(void* barrier);
void fence_mbarrier_init();
/// Arrives `count` times, in the caller's block or another of its cluster.
void arrive_mbarrier(void* barrier, uint32_t count);
/// Adds bytes that the current phase waits for, then arrives `count` times (0 or 1).
void expect_bytes(void* barrier, uint32_t bytes, uint32_t count);
bool test_mbarrier(void* barrier, uint32_t parity);
void wait_mbarrier(void* barrier, uint32_t parity);
/// Makes this thread's writes visible to copies and products that read shared memory.
void fence_async_proxy();

// ---- bulk copies

/// To shared memory; `barrier` gets the bytes. `blocks`: the blocks of the cluster that receive
/// them, at the same offsets, or 0 for the one that the addresses lie in.
void bulk_load(void* shared, const void* global, uint32_t bytes, void* barrier, uint32_t blocks);
/// From the block's shared memory to another block of its cluster.
void bulk_send(void* shared, const void* own_shared, uint32_t bytes, void* barrier);

enum class BulkWrite : uint8_t { copy, add_f32, add_f16, add_bf16, add_i32 };
void bulk_store(void* global, const void* shared, uint32_t bytes, BulkWrite write);
void commit_bulk();
/// Until at most `groups` of the groups committed last may be unfinished.
void wait_bulk(uint32_t groups);

// ---- boxes of tensors

/// How the interpreter fills the 128 opaque bytes of a tensor map.
struct TensorBox {
  std::byte* base;
  uint32_t rank, element_bytes, swizzle;  // log2 of the span / 16 bytes: 0 (none), 1, 2, 3
  uint32_t extent[5], box[5];             // innermost first
  uint64_t stride[4];                     // in bytes, of dimensions 1, 2, ...
};
static_assert(sizeof(TensorBox) <= 128);

void tensor_load(void* shared, const void* map, const int32_t* start, void* barrier,
                 uint32_t blocks);
void tensor_store(const void* map, const int32_t* start, const void* shared, BulkWrite write);

}  // namespace tessera::simt
