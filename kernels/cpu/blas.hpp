#pragma once

#if defined(TESSERA_HAVE_BLAS)

#include <cstdint>

/// The BLAS by its Fortran symbols, which every implementation exports, with 32-bit extents.
/// Declared here and nowhere else, so no vendor header is needed.
namespace tessera::kernels::cpu {

extern "C" {
void sgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n,
            const int* k, const float* alpha, const float* a, const int* lda, const float* b,
            const int* ldb, const float* beta, float* c, const int* ldc);
void dgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n,
            const int* k, const double* alpha, const double* a, const int* lda, const double* b,
            const int* ldb, const double* beta, double* c, const int* ldc);
}

/// Column-major C[m, n] = alpha op(A) op(B) + beta C; op is the transpose where the flag is 'T'.
inline void blas_gemm(char transpose_a, char transpose_b, int m, int n, int k, float alpha,
                      const float* a, int lda, const float* b, int ldb, float beta, float* c,
                      int ldc) {
  sgemm_(&transpose_a, &transpose_b, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
}
inline void blas_gemm(char transpose_a, char transpose_b, int m, int n, int k, double alpha,
                      const double* a, int lda, const double* b, int ldb, double beta, double* c,
                      int ldc) {
  dgemm_(&transpose_a, &transpose_b, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
}

}  // namespace tessera::kernels::cpu

#endif
