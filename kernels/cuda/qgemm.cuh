#pragma once

#include "tessera/kernels/qgemm.hpp"

/// What the files of the qgemm family share.
namespace tessera::kernels::cuda {

/// Numbers by a weight in low precision (qgemm_weight.cu), as QgemmKernels::weight_only.
void weight_only_gemm(Stream& stream, View x, QuantizedView w, View y, const QgemmParams& params);

}  // namespace tessera::kernels::cuda
