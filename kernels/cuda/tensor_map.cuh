#pragma once

#include <cstdint>
#include <initializer_list>

#include "tessera/runtime/dtype.hpp"

/// What a tensor copy (ptx_async.cuh) needs to know of a tensor in global memory.
namespace tessera::kernels::cuda {

/// How a copy exchanges the 16-byte units of lines of shared memory, so that threads and tensor
/// cores that read a column meet all banks: within spans of so many bytes, unit u of the 128-byte
/// line n lies at u XOR n, of which as many bits count as the span has units.
enum class Swizzle : uint32_t { none, span32, span64, span128 };

/// Opaque; passed to kernels as `const __grid_constant__ TensorMap`.
struct alignas(64) TensorMap {
  uint64_t words[16];
};

/// A tensor of up to five dimensions, innermost first. `stride`: bytes between neighbours in
/// dimensions 1, 2, ...; multiples of 16, as is the address. `box`: what one copy moves, at most
/// 256 per dimension; its rows are multiples of 16 bytes, and at most the swizzle's span.
struct TensorShape {
  DType dtype;
  const void* data;
  int rank;
  int64_t extent[5];
  int64_t stride[4];
  uint32_t box[5];
  Swizzle swizzle = Swizzle::none;
};

/// Throws an Error that names `operation` when the hardware could not copy such boxes.
TensorMap make_tensor_map(const char* operation, const TensorShape& shape);

}  // namespace tessera::kernels::cuda
