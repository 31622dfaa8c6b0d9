#include "tessera/kernels/cpu/backend.hpp"

#ifndef TESSERA_CPU_LEVEL
#define TESSERA_CPU_LEVEL "baseline"
#endif

namespace tessera::kernels::cpu {

const Backend cpu_backend{
    .name = "cpu " TESSERA_CPU_LEVEL,
    .elementwise = &elementwise_kernels,
    .copy = &copy_kernels,
    .reduce = &reduce_kernels,
    .rowwise = &rowwise_kernels,
    .indexing = &indexing_kernels,
    .gemm = &gemm_kernels,
    .quantize = &quantize_kernels,
    .qgemm = &qgemm_kernels,
    .spmm = &spmm_kernels,
    .linalg = &linalg_kernels,
    .conv = &conv_kernels,
    .pool = &pool_kernels,
    .attention = &attention_kernels,
    .sort = &sort_kernels,
    .random = &random_kernels,
    .optimizer = &optimizer_kernels,
};

}  // namespace tessera::kernels::cpu
