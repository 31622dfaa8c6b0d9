#pragma once

#include <cstdint>

#include "tessera/runtime/half.hpp"

/// What kernels/cuda/ptx_tensor.cuh calls in a build for the host: matrices in the registers of a
/// warp. Each function is a collective of the whole warp; the last lane to arrive does the work.
///
/// Products of halves and of tf32 are exact in float; their sums are rounded once per term, in the
/// order of k. The hardware adds several products at a time with a few bits more than float's and
/// truncates, so its last bits differ; integers and doubles are the same to the bit.
namespace tessera::simt {

/// `count` (1, 2 or 4) matrices of 8 x 8 halves from shared memory; lane i has the address of row
/// i % 8 of matrix i / 8.
void load_matrices(uint32_t* registers, const void* row, uint32_t count, bool transposed);
void store_matrices(void* row, const uint32_t* registers, uint32_t count, bool transposed);

/// d += a b with the operands where the PTX ISA puts them. Explicitly instantiated for what each
/// comment names.
template <class T, int k>
void mma_m16n8(float* d, const uint32_t* a, const uint32_t* b);  // f16, bf16: k = 8, 16
void mma_m16n8k8_tf32(float* d, const uint32_t* a, const uint32_t* b);
template <class A, class B>
void mma_m16n8k32(int32_t* d, const uint32_t* a, const uint32_t* b);  // int8_t, uint8_t
void mma_m8n8k4(double* d, double a, double b);
void mma_m16n8k16(double* d, const double* a, const double* b);

}  // namespace tessera::simt
