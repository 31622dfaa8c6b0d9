#pragma once

#include "tessera/kernels/backend.hpp"

namespace tessera::kernels::cuda {

/// The tables that the files of this folder define, one per family.
extern const AttentionKernels attention_kernels;
extern const ConvKernels conv_kernels;
extern const CopyKernels copy_kernels;
extern const ElementwiseKernels elementwise_kernels;
extern const GemmKernels gemm_kernels;
extern const IndexingKernels indexing_kernels;
extern const LinalgKernels linalg_kernels;
extern const OptimizerKernels optimizer_kernels;
extern const PoolKernels pool_kernels;
extern const QgemmKernels qgemm_kernels;
extern const QuantizeKernels quantize_kernels;
extern const RandomKernels random_kernels;
extern const ReduceKernels reduce_kernels;
extern const RowwiseKernels rowwise_kernels;
extern const SortKernels sort_kernels;
extern const SpmmKernels spmm_kernels;

extern const Backend cuda_backend;

}  // namespace tessera::kernels::cuda
