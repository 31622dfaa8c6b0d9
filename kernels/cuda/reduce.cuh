#pragma once

#include "tessera/kernels/reduce.hpp"

/// What the files of the reduce family share: reduce.cu holds reductions and the table,
/// cumulative_sum.cu running sums.
namespace tessera::kernels::cuda {

void cumulative_sum(Stream&, View x, int axis, View y);
/// The same of operands that are known to fit; with `exclusive`, y[i] is the sum of what stands
/// before i.
void running_sums(Stream&, const View& x, int axis, const View& y, bool exclusive);

}  // namespace tessera::kernels::cuda
