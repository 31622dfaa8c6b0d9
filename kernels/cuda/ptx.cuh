#pragma once

#include <cstdint>
#include <type_traits>

#include "tessera/runtime/half.hpp"

/// The instructions of a GPU thread, as functions with two bodies: inline assembly or an intrinsic
/// for nvcc, a call into runtime/simt for the host's compiler. Kernels use these and nothing else
/// of the hardware, so that the same source runs on a GPU and on the interpreter. No other files
/// than this, ptx_tensor.cuh and ptx_async.cuh hold inline assembly, and they alone (with
/// launch.cuh) know which compiler reads them.
///
/// Masks name the lanes of a warp that take part; all of them must come to the same call.
#if defined(__CUDACC__)
#define TS_DEVICE __device__ __forceinline__
/// 1 where instructions of compute capability 9.0 (and 9.0a) may be compiled.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define TS_SM90A 1
#else
#define TS_SM90A 0
#endif
static_assert(__cplusplus >= 202002L, "device code is C++20");
#else
#include <atomic>
#include <cmath>
#include <cstring>

#include "tessera/runtime/simt/device.hpp"
#define TS_DEVICE inline __attribute__((always_inline))
#define __global__
#define __device__
#define __grid_constant__
#define __launch_bounds__(...)
#endif

namespace tessera::kernels::cuda {

inline constexpr uint32_t warp_size = 32;
inline constexpr uint32_t full_warp = 0xffffffffu;

#if defined(__CUDACC__)
namespace detail {
/// The 32-bit address of shared memory that instructions take.
TS_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}
/// Stands where the architecture that is compiled for lacks an instruction: the launcher never
/// chooses such a kernel there.
TS_DEVICE void missing_instruction() { __trap(); }
}  // namespace detail
#endif

struct Index3 {
  uint32_t x, y, z;
};

// ---------------------------------------------------------------- where a thread is

#if defined(__CUDACC__)
TS_DEVICE Index3 thread_index() { return {threadIdx.x, threadIdx.y, threadIdx.z}; }
TS_DEVICE Index3 block_index() { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
TS_DEVICE Index3 block_size() { return {blockDim.x, blockDim.y, blockDim.z}; }
TS_DEVICE Index3 grid_size() { return {gridDim.x, gridDim.y, gridDim.z}; }
TS_DEVICE uint32_t lane_index() {
  uint32_t lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}
#else
TS_DEVICE Index3 thread_index() {
  const simt::Dim3 i = simt::thread_index();
  return {i.x, i.y, i.z};
}
TS_DEVICE Index3 block_index() {
  const simt::Dim3 i = simt::block_index();
  return {i.x, i.y, i.z};
}
TS_DEVICE Index3 block_size() {
  const simt::Dim3 i = simt::block_size();
  return {i.x, i.y, i.z};
}
TS_DEVICE Index3 grid_size() {
  const simt::Dim3 i = simt::grid_size();
  return {i.x, i.y, i.z};
}
TS_DEVICE uint32_t lane_index() { return simt::lane_index(); }
#endif

/// Of one-dimensional blocks.
TS_DEVICE uint32_t warp_index() { return thread_index().x / warp_size; }

/// The element that this thread begins with, and the step to its next one, when all threads of a
/// one-dimensional grid share a range.
TS_DEVICE int64_t first_element() {
  return static_cast<int64_t>(block_index().x) * block_size().x + thread_index().x;
}
TS_DEVICE int64_t element_step() { return static_cast<int64_t>(grid_size().x) * block_size().x; }

// ---------------------------------------------------------------- shared memory

/// The block's dynamic shared memory as one T, 1024-byte aligned; the launch asks for sizeof(T) or
/// more.
template <class T>
TS_DEVICE T& dynamic_shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(1024) unsigned char tessera_dynamic_shared[];
  return *reinterpret_cast<T*>(tessera_dynamic_shared);
#else
  return *reinterpret_cast<T*>(simt::dynamic_shared());
#endif
}

/// A T in static shared memory: one per block and kernel for each `tag`. T needs no construction.
template <class T, int tag = 0>
TS_DEVICE T& static_shared() {
  static_assert(std::is_trivially_default_constructible_v<T>);
#if defined(__CUDACC__)
  __shared__ T storage;
  return storage;
#else
  static const char key = 0;
  return *reinterpret_cast<T*>(simt::static_shared(&key, sizeof(T), alignof(T)));
#endif
}

// ---------------------------------------------------------------- barriers

/// Waits for all threads of the block; what they wrote before is seen after.
TS_DEVICE void sync_block() {
#if defined(__CUDACC__)
  __syncthreads();
#else
  simt::sync_block();
#endif
}
/// Named barrier `id` (1 to 15; sync_block is 0) for `threads` threads, a multiple of 32.
TS_DEVICE void sync_barrier(uint32_t id, uint32_t threads) {
#if defined(__CUDACC__)
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  simt::sync_barrier(id, threads);
#endif
}
/// Counts as arrived at the named barrier without waiting.
TS_DEVICE void arrive_barrier(uint32_t id, uint32_t threads) {
#if defined(__CUDACC__)
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  simt::arrive_barrier(id, threads);
#endif
}
TS_DEVICE void sync_warp(uint32_t mask = full_warp) {
#if defined(__CUDACC__)
  __syncwarp(mask);
#else
  simt::sync_warp(mask);
#endif
}

/// Orders this thread's memory accesses as seen by its block, or by the whole device.
TS_DEVICE void fence_block() {
#if defined(__CUDACC__)
  __threadfence_block();
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}
TS_DEVICE void fence_device() {
#if defined(__CUDACC__)
  __threadfence();
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}
/// Belongs into every loop that polls memory for what another thread will write.
TS_DEVICE void relax() {
#if defined(__CUDACC__)
  __nanosleep(20);
#else
  simt::relax();
#endif
}

// ---------------------------------------------------------------- warp collectives

/// What lanes may exchange.
template <class T>
concept Exchangeable = std::is_trivially_copyable_v<T> && sizeof(T) <= 16;

#if defined(__CUDACC__)
namespace detail {
/// Exchanges a T in 32-bit words.
template <class T, class Exchange>
TS_DEVICE T by_words(T value, Exchange&& exchange) {
  constexpr int words = (sizeof(T) + 3) / 4;
  uint32_t w[words] = {};
  __builtin_memcpy(w, &value, sizeof(T));
#pragma unroll
  for (int i = 0; i < words; ++i) w[i] = exchange(w[i]);
  __builtin_memcpy(&value, w, sizeof(T));
  return value;
}
}  // namespace detail
#endif

/// The value of lane `lane` of the caller's segment of `width` lanes (a power of two up to 32).
template <Exchangeable T>
TS_DEVICE T shuffle(T value, uint32_t lane, uint32_t width = warp_size, uint32_t mask = full_warp) {
#if defined(__CUDACC__)
  return detail::by_words(value, [=](uint32_t w) { return __shfl_sync(mask, w, lane, width); });
#else
  simt::shuffle(mask, &value, sizeof(T), simt::Shuffle::index, lane, width);
  return value;
#endif
}
/// The value of the lane whose number differs in the bits of `bits`.
template <Exchangeable T>
TS_DEVICE T shuffle_xor(T value, uint32_t bits, uint32_t width = warp_size,
                        uint32_t mask = full_warp) {
#if defined(__CUDACC__)
  return detail::by_words(value, [=](uint32_t w) { return __shfl_xor_sync(mask, w, bits, width); });
#else
  simt::shuffle(mask, &value, sizeof(T), simt::Shuffle::exclusive_or, bits, width);
  return value;
#endif
}
/// The value of the lane `distance` below (above), or the caller's own where there is none.
template <Exchangeable T>
TS_DEVICE T shuffle_up(T value, uint32_t distance, uint32_t width = warp_size,
                       uint32_t mask = full_warp) {
#if defined(__CUDACC__)
  return detail::by_words(value,
                          [=](uint32_t w) { return __shfl_up_sync(mask, w, distance, width); });
#else
  simt::shuffle(mask, &value, sizeof(T), simt::Shuffle::up, distance, width);
  return value;
#endif
}
template <Exchangeable T>
TS_DEVICE T shuffle_down(T value, uint32_t distance, uint32_t width = warp_size,
                         uint32_t mask = full_warp) {
#if defined(__CUDACC__)
  return detail::by_words(value,
                          [=](uint32_t w) { return __shfl_down_sync(mask, w, distance, width); });
#else
  simt::shuffle(mask, &value, sizeof(T), simt::Shuffle::down, distance, width);
  return value;
#endif
}

/// The lanes of `mask` whose predicate holds, as a mask.
TS_DEVICE uint32_t ballot(bool predicate, uint32_t mask = full_warp) {
#if defined(__CUDACC__)
  return __ballot_sync(mask, predicate);
#else
  return simt::ballot(mask, predicate);
#endif
}
TS_DEVICE bool any(bool predicate, uint32_t mask = full_warp) {
  return ballot(predicate, mask) != 0;
}
TS_DEVICE bool all(bool predicate, uint32_t mask = full_warp) {
  return ballot(predicate, mask) == mask;
}
/// The lanes of `mask` that hold the caller's value, as a mask.
template <class T>
TS_DEVICE uint32_t match_any(T value, uint32_t mask = full_warp) {
  static_assert(std::is_integral_v<T>);
#if defined(__CUDACC__)
  return __match_any_sync(mask, value);
#else
  return simt::match_any(mask, static_cast<uint64_t>(value));
#endif
}

// ---------------------------------------------------------------- bits and halves

TS_DEVICE int population_count(uint32_t bits) {
#if defined(__CUDACC__)
  return __popc(bits);
#else
  return __builtin_popcount(bits);
#endif
}
/// The position of the lowest set bit; -1 where there is none.
TS_DEVICE int lowest_bit(uint32_t bits) {
#if defined(__CUDACC__)
  return __ffs(static_cast<int>(bits)) - 1;
#else
  return __builtin_ffs(static_cast<int>(bits)) - 1;
#endif
}
TS_DEVICE int leading_zeros(uint32_t bits) {
#if defined(__CUDACC__)
  return __clz(static_cast<int>(bits));
#else
  return bits ? __builtin_clz(bits) : 32;
#endif
}
template <class To, class From>
TS_DEVICE To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

/// The type that a stored T is computed in: float for halves, T itself otherwise.
template <class T>
struct Compute {
  using type = T;
};
template <>
struct Compute<f16> {
  using type = float;
};
template <>
struct Compute<bf16> {
  using type = float;
};
template <class T>
using compute_t = typename Compute<T>::type;

/// A stored number in its compute type.
template <class T>
TS_DEVICE compute_t<T> widen(T x) {
  return x;
}
template <>
TS_DEVICE float widen(f16 x) {
#if defined(__CUDA_ARCH__)
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
#else
  return x;
#endif
}
template <>
TS_DEVICE float widen(bf16 x) {
  return bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

/// A computed number as it is stored: halves round to nearest even.
template <class T>
TS_DEVICE T narrow(compute_t<T> x) {
  return static_cast<T>(x);
}
template <>
TS_DEVICE f16 narrow<f16>(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return f16::from_bits(bits);
#else
  return f16(x);
#endif
}
template <>
TS_DEVICE bf16 narrow<bf16>(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bf16::from_bits(bits);
#else
  return bf16(x);
#endif
}

// ---------------------------------------------------------------- atomics

/// Relaxed, at device scope; each returns the value before. `atomic_add` of floats makes the order
/// of a sum a matter of luck: deterministic kernels add integers only.
template <class T>
TS_DEVICE T atomic_add(T* address, T value) {
#if defined(__CUDACC__)
  if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, uint64_t>)
    return static_cast<T>(atomicAdd(reinterpret_cast<unsigned long long*>(address),
                                    static_cast<unsigned long long>(value)));
  else
    return atomicAdd(address, value);
#else
  if constexpr (std::is_integral_v<T>) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
  } else {
    T seen = std::atomic_ref<T>(*address).load(std::memory_order_relaxed), sum;
    do sum = seen + value;
    while (!std::atomic_ref<T>(*address).compare_exchange_weak(seen, sum));
    return seen;
  }
#endif
}
template <class T>
TS_DEVICE T atomic_max(T* address, T value) {
  static_assert(std::is_integral_v<T>);
#if defined(__CUDACC__)
  if constexpr (sizeof(T) == 8)
    return static_cast<T>(atomicMax(
        reinterpret_cast<std::conditional_t<std::is_signed_v<T>, long long, unsigned long long>*>(
            address),
        static_cast<std::conditional_t<std::is_signed_v<T>, long long, unsigned long long>>(
            value)));
  else
    return atomicMax(address, value);
#else
  T seen = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (seen < value && !std::atomic_ref<T>(*address).compare_exchange_weak(seen, value)) {
  }
  return seen;
#endif
}
template <class T>
TS_DEVICE T atomic_min(T* address, T value) {
  static_assert(std::is_integral_v<T>);
#if defined(__CUDACC__)
  if constexpr (sizeof(T) == 8)
    return static_cast<T>(atomicMin(
        reinterpret_cast<std::conditional_t<std::is_signed_v<T>, long long, unsigned long long>*>(
            address),
        static_cast<std::conditional_t<std::is_signed_v<T>, long long, unsigned long long>>(
            value)));
  else
    return atomicMin(address, value);
#else
  T seen = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (value < seen && !std::atomic_ref<T>(*address).compare_exchange_weak(seen, value)) {
  }
  return seen;
#endif
}
template <class T>
TS_DEVICE T atomic_or(T* address, T value) {
#if defined(__CUDACC__)
  return atomicOr(address, value);
#else
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
#endif
}
/// Stores `value` where `expected` stands.
template <class T>
TS_DEVICE T atomic_compare_exchange(T* address, T expected, T value) {
#if defined(__CUDACC__)
  if constexpr (sizeof(T) == 8)
    return bit_cast<T>(atomicCAS(reinterpret_cast<unsigned long long*>(address),
                                 bit_cast<unsigned long long>(expected),
                                 bit_cast<unsigned long long>(value)));
  else
    return atomicCAS(address, expected, value);
#else
  std::atomic_ref<T>(*address).compare_exchange_strong(expected, value);
  return expected;
#endif
}

// ---------------------------------------------------------------- memory

/// A struct of elements as one access of its size, up to 16 bytes, to which it is aligned. The
/// host's compiler would otherwise see to it element by element, and so would the tracer.
template <class V>
TS_DEVICE V load_vector(const V* address) {
  static_assert(sizeof(V) <= 16);
  V value = *address;
#if !defined(__CUDACC__)
  asm("" : "+m"(value));
#endif
  return value;
}
template <class V>
TS_DEVICE void store_vector(V* address, V value) {
  static_assert(sizeof(V) <= 16);
#if !defined(__CUDACC__)
  asm("" : "+m"(value));
#endif
  *address = value;
}

/// Reads that this kernel makes once, and of memory that it does not write: past the first-level
/// cache.
template <class T>
TS_DEVICE T load_streaming(const T* address) {
#if defined(__CUDA_ARCH__)
  T value;
  if constexpr (sizeof(T) == 16) {
    uint4 w;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(w.x), "=r"(w.y), "=r"(w.z), "=r"(w.w)
                 : "l"(address));
    __builtin_memcpy(&value, &w, 16);
  } else if constexpr (sizeof(T) == 8) {
    uint2 w;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(w.x), "=r"(w.y)
                 : "l"(address));
    __builtin_memcpy(&value, &w, 8);
  } else if constexpr (sizeof(T) == 4) {
    uint32_t w;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(w) : "l"(address));
    __builtin_memcpy(&value, &w, 4);
  } else {
    value = *address;
  }
  return value;
#else
  return *address;
#endif
}
/// Writes that this kernel does not read again.
template <class T>
TS_DEVICE void store_streaming(T* address, T value) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == 16) {
    uint4 w;
    __builtin_memcpy(&w, &value, 16);
    __stcs(reinterpret_cast<uint4*>(address), w);
  } else if constexpr (sizeof(T) == 8) {
    uint2 w;
    __builtin_memcpy(&w, &value, 8);
    __stcs(reinterpret_cast<uint2*>(address), w);
  } else if constexpr (sizeof(T) == 4) {
    uint32_t w;
    __builtin_memcpy(&w, &value, 4);
    __stcs(reinterpret_cast<uint32_t*>(address), w);
  } else {
    *address = value;
  }
#else
  *address = value;
#endif
}

}  // namespace tessera::kernels::cuda
