#pragma once

#include "tessera/kernels/cuda/ptx.cuh"
#include "tessera/kernels/cuda/tensor_map.cuh"
#if !defined(__CUDACC__)
#include "tessera/runtime/simt/async.hpp"
#endif

/// Copies that go on while the thread does, and what waits for them. copy_async and mbarriers need
/// compute capability 8.0; clusters, bulk and tensor copies 9.0a.
///
/// Two ways to know the end of a copy. Groups: what a thread has started since the last commit is
/// one, and the same thread waits until all but the latest n have ended. Mbarriers: a phase is over
/// when its arrivals have come and the bytes that it expects have been copied; any thread of the
/// block waits, by the parity of the phase (the first is 0; parity 1 then counts as over already).
///
/// Threads and asynchronous copies see shared memory through different proxies. After writing to it
/// and before others let a bulk store or product read it, each thread calls fence_async_proxy.
namespace tessera::kernels::cuda {

// ---------------------------------------------------------------- copies of one thread

/// `bytes` (4, 8 or 16, the alignment of both) from global to shared memory: the first
/// `source_bytes` of them, and zeros behind.
template <uint32_t bytes>
TS_DEVICE void copy_async(void* shared, const void* global, uint32_t source_bytes = bytes) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
#if defined(__CUDACC__)
  const uint32_t to = detail::shared_address(shared);
  if constexpr (bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global),
                 "r"(source_bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global), "n"(bytes),
                 "r"(source_bytes)
                 : "memory");
#else
  simt::copy_async(shared, global, bytes, source_bytes);
#endif
}
TS_DEVICE void commit_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  simt::commit_copies();
#endif
}
/// Until all but the last `groups` groups of this thread have ended; they are visible to it then,
/// and to others after a barrier.
template <uint32_t groups>
TS_DEVICE void wait_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
#else
  simt::wait_copies(groups);
#endif
}
/// Until all copies of this thread have ended, committed or not.
TS_DEVICE void wait_all_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_all;" ::: "memory");
#else
  simt::wait_copies(~0u);
#endif
}

// ---------------------------------------------------------------- mbarriers

/// In shared memory; not to be read or written but by the functions below.
struct alignas(8) Mbarrier {
  uint64_t word;
};

/// `arrivals` per phase. By one thread, before a barrier that lets others use it.
TS_DEVICE void init_mbarrier(Mbarrier& barrier, uint32_t arrivals) {
#if defined(__CUDACC__)
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(detail::shared_address(&barrier)),
               "r"(arrivals)
               : "memory");
#else
  simt::init_mbarrier(&barrier, arrivals);
#endif
}
/// Before its memory is used for something else.
TS_DEVICE void invalidate_mbarrier(Mbarrier& barrier) {
#if defined(__CUDACC__)
  asm volatile("mbarrier.inval.shared.b64 [%0];" ::"r"(detail::shared_address(&barrier))
               : "memory");
#else
  simt::invalidate_mbarrier(&barrier);
#endif
}
/// Makes mbarriers that this thread has initialised known to copies and to the cluster.
TS_DEVICE void fence_mbarrier_init() {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::fence_mbarrier_init();
#endif
}
TS_DEVICE void arrive_mbarrier(Mbarrier& barrier) {
#if defined(__CUDACC__)
  [[maybe_unused]] uint64_t state;
  asm volatile("mbarrier.arrive.shared.b64 %0, [%1];"
               : "=l"(state)
               : "r"(detail::shared_address(&barrier))
               : "memory");
#else
  simt::arrive_mbarrier(&barrier, 1);
#endif
}
/// Arrives, and has the phase wait for `bytes` more of copies.
TS_DEVICE void arrive_and_expect(Mbarrier& barrier, uint32_t bytes) {
#if defined(__CUDACC__)
#if TS_SM90A
  [[maybe_unused]] uint64_t state;
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 %0, [%1], %2;"
               : "=l"(state)
               : "r"(detail::shared_address(&barrier)), "r"(bytes)
               : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::expect_bytes(&barrier, bytes, 1);
#endif
}
/// The arrival comes when all copies of this thread so far (copy_async) have ended; it counts as
/// one of the phase's arrivals.
TS_DEVICE void arrive_after_copies(Mbarrier& barrier) {
#if defined(__CUDACC__)
  asm volatile(
      "cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(detail::shared_address(&barrier))
      : "memory");
#else
  simt::arrive_after_copies(&barrier);
#endif
}
/// Whether the phase of that parity is over; the hardware may wait a little before it says no.
TS_DEVICE bool test_mbarrier(Mbarrier& barrier, uint32_t parity) {
#if defined(__CUDACC__)
  uint32_t over;
#if TS_SM90A
  asm volatile(
      "{\n\t.reg .pred p;\n\t"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
      "selp.u32 %0, 1, 0, p;\n\t}"
      : "=r"(over)
      : "r"(detail::shared_address(&barrier)), "r"(parity)
      : "memory");
#else
  asm volatile(
      "{\n\t.reg .pred p;\n\t"
      "mbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n\t"
      "selp.u32 %0, 1, 0, p;\n\t}"
      : "=r"(over)
      : "r"(detail::shared_address(&barrier)), "r"(parity)
      : "memory");
#endif
  return over != 0;
#else
  return simt::test_mbarrier(&barrier, parity);
#endif
}
/// Until the phase of that parity is over; what was written before its arrivals is seen then.
TS_DEVICE void wait_mbarrier(Mbarrier& barrier, uint32_t parity) {
#if defined(__CUDACC__)
  while (!test_mbarrier(barrier, parity)) {
  }
#else
  simt::wait_mbarrier(&barrier, parity);
#endif
}
/// This thread's writes to shared memory become visible to bulk stores and warp-group products.
TS_DEVICE void fence_async_proxy() {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::fence_async_proxy();
#endif
}

// ---------------------------------------------------------------- clusters

/// The block's number in its cluster, and their count.
TS_DEVICE uint32_t cluster_rank() {
#if defined(__CUDACC__)
#if TS_SM90A
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  return 0;
#endif
#else
  return simt::cluster_rank();
#endif
}
TS_DEVICE uint32_t cluster_size() {
#if defined(__CUDACC__)
#if TS_SM90A
  uint32_t size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
#else
  return 1;
#endif
#else
  return simt::cluster_size();
#endif
}
/// Waits for all threads of the cluster; what they wrote before is seen after. Must come once more
/// after the last access to another block's shared memory: a block that has ended has none.
TS_DEVICE void sync_cluster() {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::sync_cluster(true, true);
#endif
}
/// The same place in the shared memory of block `block` of the cluster.
template <class T>
TS_DEVICE T* map_shared(T* own, uint32_t block) {
#if defined(__CUDACC__)
#if TS_SM90A
  uint64_t address;
  asm("mapa.u64 %0, %1, %2;" : "=l"(address) : "l"(own), "r"(block));
  return reinterpret_cast<T*>(address);
#else
  detail::missing_instruction();
  return own;
#endif
#else
  return reinterpret_cast<T*>(
      simt::map_shared(const_cast<void*>(static_cast<const void*>(own)), block));
#endif
}
/// Arrives at the barrier that block `block` of the cluster has at the same place.
TS_DEVICE void arrive_mbarrier(Mbarrier& own, uint32_t block) {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile(
      "{\n\t.reg .b32 remote;\n\t"
      "mapa.shared::cluster.u32 remote, %0, %1;\n\t"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n\t}" ::"r"(
          detail::shared_address(&own)),
      "r"(block)
      : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::arrive_mbarrier(simt::map_shared(&own, block), 1);
#endif
}

// ---------------------------------------------------------------- bulk copies

/// `bytes` (a multiple of 16, as both addresses) from global to shared memory; the barrier receives
/// the bytes. By one thread.
TS_DEVICE void bulk_load(void* shared, const void* global, uint32_t bytes, Mbarrier& barrier) {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(detail::shared_address(shared)),
      "l"(global), "r"(bytes), "r"(detail::shared_address(&barrier))
      : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::bulk_load(shared, global, bytes, &barrier, 0);
#endif
}
/// The same into each block of the cluster that `blocks` names by its bit, at the same places; the
/// barrier of each receives the bytes.
TS_DEVICE void bulk_load(void* shared, const void* global, uint32_t bytes, Mbarrier& barrier,
                         uint16_t blocks) {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1], %2, [%3], %4;" ::"r"(detail::shared_address(shared)),
      "l"(global), "r"(bytes), "r"(detail::shared_address(&barrier)), "h"(blocks)
      : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::bulk_load(shared, global, bytes, &barrier, blocks);
#endif
}
/// From the block's shared memory to the place that `shared` has in block `block` of the cluster,
/// whose barrier receives the bytes.
TS_DEVICE void bulk_send(void* shared, const void* own_shared, uint32_t bytes, Mbarrier& barrier,
                         uint32_t block) {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile(
      "{\n\t.reg .b32 to, signal;\n\t"
      "mapa.shared::cluster.u32 to, %0, %4;\n\t"
      "mapa.shared::cluster.u32 signal, %3, %4;\n\t"
      "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
      "[to], [%1], %2, [signal];\n\t}" ::"r"(detail::shared_address(shared)),
      "r"(detail::shared_address(own_shared)), "r"(bytes), "r"(detail::shared_address(&barrier)),
      "r"(block)
      : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::bulk_send(simt::map_shared(shared, block), own_shared, bytes,
                  simt::map_shared(&barrier, block));
#endif
}

/// From shared to global memory, in a group of this thread.
TS_DEVICE void bulk_store(void* global, const void* shared, uint32_t bytes) {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global),
               "r"(detail::shared_address(shared)), "r"(bytes)
               : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::bulk_store(global, shared, bytes, simt::BulkWrite::copy);
#endif
}
/// Adds Ts (float, int32_t, f16, bf16) of shared memory to those of global memory, each atomically.
template <class T>
TS_DEVICE void bulk_add(T* global, const T* shared, uint32_t bytes) {
#if defined(__CUDACC__)
#if TS_SM90A
  const uint32_t from = detail::shared_address(shared);
  if constexpr (std::is_same_v<T, float>)
    asm volatile(
        "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(global),
        "r"(from), "r"(bytes)
        : "memory");
  else if constexpr (std::is_same_v<T, f16>)
    asm volatile(
        "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.noftz.f16 [%0], [%1], %2;" ::"l"(
            global),
        "r"(from), "r"(bytes)
        : "memory");
  else if constexpr (std::is_same_v<T, bf16>)
    asm volatile(
        "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.noftz.bf16 [%0], [%1], %2;" ::"l"(
            global),
        "r"(from), "r"(bytes)
        : "memory");
  else
    asm volatile(
        "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.s32 [%0], [%1], %2;" ::"l"(global),
        "r"(from), "r"(bytes)
        : "memory");
#else
  detail::missing_instruction();
#endif
#else
  constexpr simt::BulkWrite write = std::is_same_v<T, float>  ? simt::BulkWrite::add_f32
                                    : std::is_same_v<T, f16>  ? simt::BulkWrite::add_f16
                                    : std::is_same_v<T, bf16> ? simt::BulkWrite::add_bf16
                                                              : simt::BulkWrite::add_i32;
  simt::bulk_store(global, shared, bytes, write);
#endif
}
TS_DEVICE void commit_bulk() {
#if defined(__CUDACC__)
#if TS_SM90A
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::commit_bulk();
#endif
}
/// Until all but the last `groups` groups of stores have been read from shared memory, which may be
/// written to again then (`read`), or have reached global memory.
template <uint32_t groups, bool read = true>
TS_DEVICE void wait_bulk() {
#if defined(__CUDACC__)
#if TS_SM90A
  if constexpr (read)
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(groups) : "memory");
  else
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(groups) : "memory");
#else
  detail::missing_instruction();
#endif
#else
  simt::wait_bulk(groups);
#endif
}

// ---------------------------------------------------------------- boxes of tensors

#if defined(__CUDACC__) && TS_SM90A
namespace detail {
#define TS_TENSOR_LOAD(dims, suffix, places, last, ...)                      \
  asm volatile("cp.async.bulk.tensor." dims                                  \
               ".shared::cluster.global.mbarrier::complete_tx::bytes" suffix \
               " [%0], [%1, {" places "}], [%2]" last ";" ::"r"(to),         \
               "l"(&map), "r"(signal), "h"(blocks), __VA_ARGS__              \
               : "memory")
#define TS_TENSOR_STORE(dims, places, ...)                                                 \
  asm volatile("cp.async.bulk.tensor." dims ".global.shared::cta.bulk_group [%0, {" places \
               "}], [%1];" ::"l"(&map),                                                    \
               "r"(from), __VA_ARGS__                                                      \
               : "memory")
template <bool multicast, int rank>
TS_DEVICE void tensor_load(uint32_t to, const TensorMap& map, const int32_t (&c)[rank],
                           uint32_t signal, uint16_t blocks) {
  if constexpr (multicast) {
    if constexpr (rank == 2)
      TS_TENSOR_LOAD("2d", ".multicast::cluster", "%4, %5", ", %3", "r"(c[0]), "r"(c[1]));
    else if constexpr (rank == 3)
      TS_TENSOR_LOAD("3d", ".multicast::cluster", "%4, %5, %6", ", %3", "r"(c[0]), "r"(c[1]),
                     "r"(c[2]));
    else
      TS_TENSOR_LOAD("4d", ".multicast::cluster", "%4, %5, %6, %7", ", %3", "r"(c[0]), "r"(c[1]),
                     "r"(c[2]), "r"(c[3]));
  } else {
    if constexpr (rank == 2)
      TS_TENSOR_LOAD("2d", "", "%4, %5", "", "r"(c[0]), "r"(c[1]));
    else if constexpr (rank == 3)
      TS_TENSOR_LOAD("3d", "", "%4, %5, %6", "", "r"(c[0]), "r"(c[1]), "r"(c[2]));
    else
      TS_TENSOR_LOAD("4d", "", "%4, %5, %6, %7", "", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
  }
}
#undef TS_TENSOR_LOAD
}  // namespace detail
#endif

/// The box of a tensor (its map: a __grid_constant__ parameter of the kernel) that begins at
/// `start`, innermost dimension first, to shared memory (a multiple of 128 bytes; of 1024 with a
/// swizzle of 128). Elements outside of the tensor are zeros. The barrier receives the bytes of the
/// whole box.
template <int rank>
TS_DEVICE void tensor_load(void* shared, const TensorMap& map, const int32_t (&start)[rank],
                           Mbarrier& barrier) {
  static_assert(rank >= 2 && rank <= 4);
#if defined(__CUDACC__)
#if TS_SM90A
  detail::tensor_load<false>(detail::shared_address(shared), map, start,
                             detail::shared_address(&barrier), 0);
#else
  detail::missing_instruction();
#endif
#else
  simt::tensor_load(shared, &map, start, &barrier, 0);
#endif
}
/// The same into each block of the cluster that `blocks` names by its bit.
template <int rank>
TS_DEVICE void tensor_load(void* shared, const TensorMap& map, const int32_t (&start)[rank],
                           Mbarrier& barrier, uint16_t blocks) {
  static_assert(rank >= 2 && rank <= 4);
#if defined(__CUDACC__)
#if TS_SM90A
  detail::tensor_load<true>(detail::shared_address(shared), map, start,
                            detail::shared_address(&barrier), blocks);
#else
  detail::missing_instruction();
#endif
#else
  simt::tensor_load(shared, &map, start, &barrier, blocks);
#endif
}
/// A box of shared memory to the tensor, in a group of this thread; elements outside of the tensor
/// are left out.
template <int rank>
TS_DEVICE void tensor_store(const TensorMap& map, const int32_t (&start)[rank],
                            const void* shared) {
  static_assert(rank >= 2 && rank <= 4);
#if defined(__CUDACC__)
#if TS_SM90A
  const uint32_t from = detail::shared_address(shared);
  if constexpr (rank == 2)
    TS_TENSOR_STORE("2d", "%2, %3", "r"(start[0]), "r"(start[1]));
  else if constexpr (rank == 3)
    TS_TENSOR_STORE("3d", "%2, %3, %4", "r"(start[0]), "r"(start[1]), "r"(start[2]));
  else
    TS_TENSOR_STORE("4d", "%2, %3, %4, %5", "r"(start[0]), "r"(start[1]), "r"(start[2]),
                    "r"(start[3]));
#else
  detail::missing_instruction();
#endif
#else
  simt::tensor_store(&map, start, shared, simt::BulkWrite::copy);
#endif
}
#undef TS_TENSOR_STORE

}  // namespace tessera::kernels::cuda
