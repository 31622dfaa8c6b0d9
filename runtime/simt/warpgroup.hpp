#pragma once

#include <cstdint>

#include "tessera/runtime/simt/interpreter.hpp"

/// What kernels/cuda/ptx_warpgroup.cuh calls in a build for the host: products of four warps with
/// operands in shared memory, which go on while the threads do.
///
/// A lazy schedule reads shared memory no earlier than somebody waits for the product, and has NaN
/// in the results until then; an eager one does all as soon as the four warps have come. Arithmetic
/// as in tensor.hpp.
namespace tessera::simt {

enum class Element : uint8_t { f16, bf16, tf32, s8, u8 };

/// d (64 x n) += a (64 x k) b (k x n), k of 32 bytes; d = a b unless `accumulates`.
struct WarpgroupProduct {
  const char* name;
  Element a_element, b_element;
  uint32_t n;
  uint64_t a, b;                    // descriptors
  const uint32_t* a_registers;      // four words of the thread in place of `a`, or null
  bool a_transposed, b_transposed;  // memory runs along rows of a, columns of b
  bool accumulates;
};

/// Where a thread holds d: word 4 j + i of column group j, as in mma_m16n8.
void warpgroup_multiply(void* d, const WarpgroupProduct& product);
void warpgroup_fence();
void warpgroup_commit();
/// Until at most `groups` of the groups committed last may be unfinished.
void warpgroup_wait(uint32_t groups);

/// The descriptor of a matrix in the block's shared memory.
uint64_t matrix_descriptor(const void* shared, uint32_t leading_bytes, uint32_t stride_bytes,
                           uint32_t swizzle);

}  // namespace tessera::simt
