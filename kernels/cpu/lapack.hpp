#pragma once

#if defined(TESSERA_HAVE_BLAS)

#include <cstddef>

/// LAPACK by its Fortran symbols, which every implementation exports: column-major, 32-bit extents,
/// the lengths of option strings last, as Fortran passes them. Declared here and nowhere else. The
/// functions `lapack_...` are the same for both dtypes, take square or compact matrices, and return
/// LAPACK's info; with work_size = -1 those that have it only write the best size to work[0].
namespace tessera::kernels::cpu {

extern "C" {
void spotrf_(const char* uplo, const int* n, float* a, const int* lda, int* info, size_t);
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info, size_t);
void strsm_(const char* side, const char* uplo, const char* transpose, const char* diagonal,
            const int* m, const int* n, const float* alpha, const float* a, const int* lda,
            float* b, const int* ldb, size_t, size_t, size_t, size_t);
void dtrsm_(const char* side, const char* uplo, const char* transpose, const char* diagonal,
            const int* m, const int* n, const double* alpha, const double* a, const int* lda,
            double* b, const int* ldb, size_t, size_t, size_t, size_t);
void sgetrf_(const int* m, const int* n, float* a, const int* lda, int* pivot, int* info);
void dgetrf_(const int* m, const int* n, double* a, const int* lda, int* pivot, int* info);
void sgetrs_(const char* transpose, const int* n, const int* columns, const float* a,
             const int* lda, const int* pivot, float* b, const int* ldb, int* info, size_t);
void dgetrs_(const char* transpose, const int* n, const int* columns, const double* a,
             const int* lda, const int* pivot, double* b, const int* ldb, int* info, size_t);
void sgeqrf_(const int* m, const int* n, float* a, const int* lda, float* tau, float* work,
             const int* work_size, int* info);
void dgeqrf_(const int* m, const int* n, double* a, const int* lda, double* tau, double* work,
             const int* work_size, int* info);
void sorgqr_(const int* m, const int* n, const int* k, float* a, const int* lda, const float* tau,
             float* work, const int* work_size, int* info);
void dorgqr_(const int* m, const int* n, const int* k, double* a, const int* lda, const double* tau,
             double* work, const int* work_size, int* info);
void ssyevd_(const char* job, const char* uplo, const int* n, float* a, const int* lda, float* w,
             float* work, const int* work_size, int* integer_work, const int* integer_work_size,
             int* info, size_t, size_t);
void dsyevd_(const char* job, const char* uplo, const int* n, double* a, const int* lda, double* w,
             double* work, const int* work_size, int* integer_work, const int* integer_work_size,
             int* info, size_t, size_t);
void sgesdd_(const char* job, const int* m, const int* n, float* a, const int* lda, float* s,
             float* u, const int* ldu, float* vt, const int* ldvt, float* work,
             const int* work_size, int* integer_work, int* info, size_t);
void dgesdd_(const char* job, const int* m, const int* n, double* a, const int* lda, double* s,
             double* u, const int* ldu, double* vt, const int* ldvt, double* work,
             const int* work_size, int* integer_work, int* info, size_t);
}

inline int lapack_potrf(char uplo, int n, float* a) {
  int info = 0;
  spotrf_(&uplo, &n, a, &n, &info, 1);
  return info;
}
inline int lapack_potrf(char uplo, int n, double* a) {
  int info = 0;
  dpotrf_(&uplo, &n, a, &n, &info, 1);
  return info;
}

/// b = b op(a)^-1 (side 'R') or op(a)^-1 b ('L'); b is compact.
inline void lapack_trsm(char side, char uplo, char transpose, char diagonal, int m, int n,
                        const float* a, int lda, float* b) {
  const float one = 1;
  strsm_(&side, &uplo, &transpose, &diagonal, &m, &n, &one, a, &lda, b, &m, 1, 1, 1, 1);
}
inline void lapack_trsm(char side, char uplo, char transpose, char diagonal, int m, int n,
                        const double* a, int lda, double* b) {
  const double one = 1;
  dtrsm_(&side, &uplo, &transpose, &diagonal, &m, &n, &one, a, &lda, b, &m, 1, 1, 1, 1);
}

inline int lapack_getrf(int n, float* a, int* pivot) {
  int info = 0;
  sgetrf_(&n, &n, a, &n, pivot, &info);
  return info;
}
inline int lapack_getrf(int n, double* a, int* pivot) {
  int info = 0;
  dgetrf_(&n, &n, a, &n, pivot, &info);
  return info;
}

inline int lapack_getrs(char transpose, int n, int columns, const float* a, const int* pivot,
                        float* b) {
  int info = 0;
  sgetrs_(&transpose, &n, &columns, a, &n, pivot, b, &n, &info, 1);
  return info;
}
inline int lapack_getrs(char transpose, int n, int columns, const double* a, const int* pivot,
                        double* b) {
  int info = 0;
  dgetrs_(&transpose, &n, &columns, a, &n, pivot, b, &n, &info, 1);
  return info;
}

inline int lapack_geqrf(int m, int n, float* a, float* tau, float* work, int work_size) {
  int info = 0;
  sgeqrf_(&m, &n, a, &m, tau, work, &work_size, &info);
  return info;
}
inline int lapack_geqrf(int m, int n, double* a, double* tau, double* work, int work_size) {
  int info = 0;
  dgeqrf_(&m, &n, a, &m, tau, work, &work_size, &info);
  return info;
}

inline int lapack_orgqr(int m, int n, int k, float* a, const float* tau, float* work,
                        int work_size) {
  int info = 0;
  sorgqr_(&m, &n, &k, a, &m, tau, work, &work_size, &info);
  return info;
}
inline int lapack_orgqr(int m, int n, int k, double* a, const double* tau, double* work,
                        int work_size) {
  int info = 0;
  dorgqr_(&m, &n, &k, a, &m, tau, work, &work_size, &info);
  return info;
}

inline int lapack_syevd(char uplo, int n, float* a, float* w, float* work, int work_size,
                        int* integer_work, int integer_work_size) {
  const char job = 'V';
  int info = 0;
  ssyevd_(&job, &uplo, &n, a, &n, w, work, &work_size, integer_work, &integer_work_size, &info, 1,
          1);
  return info;
}
inline int lapack_syevd(char uplo, int n, double* a, double* w, double* work, int work_size,
                        int* integer_work, int integer_work_size) {
  const char job = 'V';
  int info = 0;
  dsyevd_(&job, &uplo, &n, a, &n, w, work, &work_size, integer_work, &integer_work_size, &info, 1,
          1);
  return info;
}

inline int lapack_gesdd(int m, int n, float* a, float* s, float* u, float* vt, float* work,
                        int work_size, int* integer_work) {
  const char job = 'S';
  const int k = m < n ? m : n;
  int info = 0;
  sgesdd_(&job, &m, &n, a, &m, s, u, &m, vt, &k, work, &work_size, integer_work, &info, 1);
  return info;
}
inline int lapack_gesdd(int m, int n, double* a, double* s, double* u, double* vt, double* work,
                        int work_size, int* integer_work) {
  const char job = 'S';
  const int k = m < n ? m : n;
  int info = 0;
  dgesdd_(&job, &m, &n, a, &m, s, u, &m, vt, &k, work, &work_size, integer_work, &info, 1);
  return info;
}

}  // namespace tessera::kernels::cpu

#endif
