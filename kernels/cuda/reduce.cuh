#pragma once

#include "tessera/kernels/reduce.hpp"

/// What the files of the reduce family share: reduce.cu holds reductions and the table, scan.cu
/// running sums.
namespace tessera::kernels::cuda {

void cumulative_sum(Stream&, View x, int axis, View y);

}  // namespace tessera::kernels::cuda
