#pragma once

#include <algorithm>
#include <cstdint>

#include "tessera/kernels/linalg.hpp"
#include "tessera/runtime/stream.hpp"

/// What the files of the linalg family share. Each function here works on one row-major matrix and
/// returns a status as LinalgParams has it. linalg.cpp checks operands, walks through batches and
/// holds the table; factor.cpp has Cholesky, triangular solves, LU and QR, eigh.cpp eigenvalues,
/// svd.cpp singular values, gram.cpp the passes over pixels, lapack.hpp the vendor's.
namespace tessera::kernels::cpu {

/// A row-major matrix, perhaps a part of a larger one.
template <class T>
struct Matrix {
  T* data;
  int64_t rows, cols, stride;

  Matrix(T* from, int64_t m, int64_t n) : Matrix(from, m, n, n) {}
  Matrix(T* from, int64_t m, int64_t n, int64_t row_stride)
      : data(from), rows(m), cols(n), stride(row_stride) {}
  T* operator[](int64_t i) const { return data + i * stride; }
  Matrix block(int64_t i, int64_t j, int64_t m, int64_t n) const {
    return {data + i * stride + j, m, n, stride};
  }
};

/// Large matrices are worked on in blocks by matrix products, with all threads on one matrix; of a
/// batch of smaller ones each thread takes some. Never a matter of the thread count, since it
/// decides the bits.
inline bool is_large(int64_t rows, int64_t cols) {
  return rows * cols >= 128 * 128 && std::min(rows, cols) >= 32;
}

/// c += alpha op(a) op(b), by the gemm family: for large matrices only.
template <class T>
void multiply_add(Stream&, T alpha, Matrix<T> a, bool transpose_a, Matrix<T> b, bool transpose_b,
                  Matrix<T> c);

/// a's lower triangle becomes L, its strict upper triangle 0.
template <class T>
int32_t own_cholesky(Stream&, Matrix<T> a);
/// x = op(triangle of a)^-1 x.
template <class T>
void own_triangular_solve(Matrix<T> a, Matrix<T> x, const TriangularParams&);
/// a becomes L (unit diagonal, not stored) and U; row i was exchanged with row pivot[i] >= i, in
/// order of i.
template <class T>
int32_t own_lu(Stream&, Matrix<T> a, int32_t* pivot);
/// x = a^-1 x from the LU of a.
template <class T>
void own_lu_solve(Matrix<T> lu, const int32_t* pivot, Matrix<T> x);

/// Householder reflectors H_j = I - tau[j] v_j v_j^T, v_j in column j of a below the diagonal,
/// v_j[j] = 1 not stored; R takes the place of a's upper triangle. tau [min(m, n)], work [n].
template <class T>
void own_reflectors(Stream&, Matrix<T> a, T* tau, T* work);
/// q [m, k] = the first k columns of H_0 H_1 .. H_(count - 1), from reflectors as above. work [k].
template <class T>
void own_product_of_reflectors(Stream&, Matrix<T> reflectors, int64_t count, const T* tau,
                               Matrix<T> q, T* work);
/// a is used up. q [m, p], r [p, n]; the diagonal of r is >= 0. work [qr_work(m, n)].
template <class T>
void own_qr(Stream&, Matrix<T> a, Matrix<T> q, Matrix<T> r, T* work);
constexpr int64_t qr_work(int64_t m, int64_t n) { return 2 * m + n; }

/// a, of which the lower triangle is read, is used up. Rows of vt are the eigenvectors; w rises.
/// work [eigh_work(n)].
template <class T>
int32_t own_eigh(Stream&, Matrix<T> a, T* w, Matrix<T> vt, double* work);
constexpr int64_t eigh_work(int64_t n) { return n * n + 71 * n; }
/// a [m, n], m >= n, is used up. ut [n, m] and vt [n, n] get the singular vectors as rows, s falls.
/// work [svd_work(m, n)].
template <class T>
int32_t own_svd(Stream&, Matrix<T> a, Matrix<T> ut, T* s, Matrix<T> vt, T* work);
constexpr int64_t svd_work(int64_t m, int64_t n) { return m * n + 2 * n * n + qr_work(m, n) + n; }

/// Makes the component of largest magnitude of each row positive, turning the same row of `other`
/// along.
template <class T>
void fix_signs(Matrix<T> rows, const Matrix<T>* other);

/// The passes over pixels, as LinalgKernels has them (gram.cpp).
void gram(Stream&, View x, View g, View sums, const SpectralParams&);
void project(Stream&, View x, View basis, View y, const SpectralParams&);

}  // namespace tessera::kernels::cpu
