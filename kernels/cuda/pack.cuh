#pragma once

#include "tessera/kernels/cuda/ptx.cuh"

/// Several elements in one memory access.
namespace tessera::kernels::cuda {

template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T lane[n];
};
/// As many T as one 128-bit access moves.
template <class T>
inline constexpr int vector_length = 16 / static_cast<int>(sizeof(T));

inline bool aligned(const void* data, size_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % bytes == 0;
}

}  // namespace tessera::kernels::cuda
