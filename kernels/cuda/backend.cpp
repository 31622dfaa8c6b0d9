#include "tessera/kernels/cuda/backend.hpp"

namespace tessera::kernels::cuda {

const Backend cuda_backend{
    .name = TESSERA_DEVICE_NAME,
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

}  // namespace tessera::kernels::cuda
