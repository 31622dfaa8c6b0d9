#pragma once

#include <algorithm>
#include <tuple>

#include "tessera/kernels/cuda/ptx.cuh"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/stream.hpp"
#if defined(__CUDACC__)
#include "tessera/runtime/cuda/check.hpp"
#else
#include "tessera/runtime/simt/queue.hpp"
#endif

/// Launches: the second and last place that knows which compiler reads the kernels.
namespace tessera::kernels::cuda {

struct Extent3 {
  uint32_t x = 1, y = 1, z = 1;
};

/// `name` is what messages and profiles call the kernel.
struct LaunchShape {
  const char* name;
  Extent3 grid, block;
  size_t shared_bytes = 0;  // dynamic shared memory
  Extent3 cluster = {};
  bool cooperative = false;
};

constexpr int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Blocks for a loop of `step` over n elements with `per_block` of them per turn: enough to fill
/// any GPU of today twice, never none.
inline uint32_t blocks_for(int64_t n, int64_t per_block) {
  return static_cast<uint32_t>(std::clamp<int64_t>(ceil_divide(n, per_block), 1, 132 * 16));
}

/// Whether the stream's device has what compute capability 9.0a adds: copies of boxes of tensors,
/// clusters, products of warp groups.
inline bool has_warpgroups([[maybe_unused]] const Stream& stream) {
#if defined(__CUDACC__)
  return TESSERA_CUDA_90A && ::tessera::cuda::compute_capability(stream.device().index) == 90;
#else
  return true;
#endif
}

/// Queues kernel(arguments...) on the stream. Throws a `device` Error that names the kernel and its
/// sizes when it cannot be launched.
template <class... Parameters, class... Arguments>
void launch(Stream& stream, const LaunchShape& shape, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
#if defined(__CUDACC__)
  std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
  std::apply(
      [&](auto&... value) {
        void* pointers[] = {static_cast<void*>(&value)..., nullptr};
        ::tessera::cuda::launch_kernel(
            reinterpret_cast<const void*>(kernel),
            {.name = shape.name,
             .grid = {shape.grid.x, shape.grid.y, shape.grid.z},
             .block = {shape.block.x, shape.block.y, shape.block.z},
             .cluster = {shape.cluster.x, shape.cluster.y, shape.cluster.z},
             .shared_bytes = shape.shared_bytes,
             .cooperative = shape.cooperative},
            pointers, stream.native());
      },
      values);
#else
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> values;
  };
  simt::enqueue(stream.native(),
                [call = Call{kernel, {static_cast<Parameters>(arguments)...}}, shape] {
                  simt::launch({.name = shape.name,
                                .grid = {shape.grid.x, shape.grid.y, shape.grid.z},
                                .block = {shape.block.x, shape.block.y, shape.block.z},
                                .cluster = {shape.cluster.x, shape.cluster.y, shape.cluster.z},
                                .shared_bytes = shape.shared_bytes,
                                .cooperative = shape.cooperative,
                                .body =
                                    [](const void* argument) {
                                      const Call& c = *static_cast<const Call*>(argument);
                                      std::apply(c.kernel, c.values);
                                    },
                                .argument = &call,
                                .argument_bytes = sizeof call});
                });
#endif
}

}  // namespace tessera::kernels::cuda
