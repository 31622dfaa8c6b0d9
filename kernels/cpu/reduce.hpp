#pragma once

#include <algorithm>
#include <type_traits>

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/reduce.hpp"

/// What the files of the reduce family share. reduce.cpp holds reductions over any axes and the
/// table, reduce_axis.cpp what goes along one axis, reduce_dot.cpp the inner product.
namespace tessera::kernels::cpu {

void argmax(Stream&, View x, int axis, View y);
void argmin(Stream&, View x, int axis, View y);
void cumulative_sum(Stream&, View x, int axis, View y);
void dot(Stream&, View x0, View x1, View y);

/// Elements that are put together in the compute type before they enter a wider sum.
inline constexpr int64_t run_elements = 4096;
/// Elements per thread below which a second thread costs more than it brings.
inline constexpr int64_t reduce_grain = 32768;

/// The type in which runs are put together.
template <class S>
using Wide = std::conditional_t<std::is_floating_point_v<compute_t<S>>, double, int64_t>;

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Calls body(task) for every task, of about `elements` elements each, on all threads.
template <class Body>
void for_tasks(int64_t tasks, int64_t elements, Body&& body) {
  parallel_for(tasks, std::max<int64_t>(1, reduce_grain / std::max<int64_t>(elements, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) body(t);
               });
}

}  // namespace tessera::kernels::cpu
