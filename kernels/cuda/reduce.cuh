#pragma once

#include "tessera/kernels/reduce.hpp"

/// What the files of the reduce family share: reduce.cu holds reductions and the table,
/// cumulative_sum.cu running sums.
namespace tessera::kernels::cuda {

void cumulative_sum(Stream&, View x, int axis, View y);

}  // namespace tessera::kernels::cuda
