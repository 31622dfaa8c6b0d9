#pragma once

#include "tessera/kernels/cuda/faults.cuh"
#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/linalg_operands.hpp"

/// What the files of the linalg family share. linalg.cu holds statuses and the table; factor.cu
/// Cholesky, LU and triangular solves; qr.cu Householder's QR; jacobi.cu and jacobi_cluster.cu
/// eigenvalues and singular values; spectral.cu what cubes of pixels and bands need (spectral.cuh);
/// vendor_linalg.cpp cuSOLVER's ways, with the kernels of column_major.cu. A block works on one
/// matrix of a batch, in shared memory where what it changes fits there.
namespace tessera::kernels::cuda {

inline constexpr uint32_t linalg_threads = 256, linalg_warps = linalg_threads / warp_size;

/// A row-major matrix, perhaps a part of a larger one.
template <class T>
struct Matrix {
  T* data;
  int64_t rows, cols, stride;

  TS_HD T* operator[](int64_t i) const { return data + i * stride; }
  TS_HD Matrix block(int64_t i, int64_t j, int64_t m, int64_t n) const {
    return {data + i * stride + j, m, n, stride};
  }
};

/// Matrices of one shape, `step` elements apart.
template <class T>
struct Matrices {
  Matrix<T> first;
  int64_t step, count;

  TS_HD Matrix<T> operator[](int64_t b) const {
    Matrix<T> m = first;
    m.data += b * step;
    return m;
  }
  Matrices block(int64_t i, int64_t j, int64_t m, int64_t n) const {
    return {first.block(i, j, m, n), step, count};
  }
  View view(bool transposed = false) const {
    View v{first.data, dtype_of<T>, 3, {count, first.rows, first.cols}, {step, first.stride, 1}};
    if (transposed) {
      std::swap(v.shape[1], v.shape[2]);
      std::swap(v.stride[1], v.stride[2]);
    }
    return v;
  }
};

template <class T>
Matrices<T> dense_matrices(T* data, int64_t count, int64_t rows, int64_t cols) {
  return {{data, rows, cols, cols}, rows * cols, count};
}
template <class T>
Matrices<T> matrices_of(const MatrixBatch& batch, const View& v) {
  return dense_matrices(v.as<T>(), batch.count(), v.shape[v.rank - 2], v.shape[v.rank - 1]);
}

/// Calls body(i, j) for the elements of m x n, warps along rows, by all threads of the block.
template <class Body>
TS_DEVICE void for_elements(int64_t m, int64_t n, Body&& body) {
  for (int64_t i = warp_index(); i < m; i += linalg_warps)
    for (int64_t j = lane_index(); j < n; j += warp_size) body(i, j);
}
template <class T>
TS_DEVICE void copy_elements(const Matrix<T>& from, const Matrix<T>& to) {
  for_elements(from.rows, from.cols, [&](int64_t i, int64_t j) { to[i][j] = from[i][j]; });
}

/// Between rows in shared memory of a matrix whose columns are read too: odd, so that they meet all
/// banks.
constexpr int64_t odd_stride(int64_t cols) { return cols | 1; }

/// Shared memory for `elements` of T, or 0 where a block cannot have as much on every GPU of
/// compute capability 8.0.
template <class T>
size_t held_bytes(int64_t elements) {
  const auto bytes = static_cast<size_t>(elements) * sizeof(T);
  return bytes <= 96 * 1024 ? bytes : 0;
}

/// Whether a pivot can be divided by.
template <class T>
TS_DEVICE bool positive_and_finite(T x) {
  return x > 0 && x <= std::numeric_limits<T>::max();
}

/// A power of two that brings the largest magnitude near 1; 0 where that is not finite.
template <class T>
TS_DEVICE T near_one(T largest) {
  using Limits = std::numeric_limits<T>;
  if (!(largest <= Limits::max())) return 0;
  if (largest == 0) return 1;
  int exponent = std::ilogb(largest);
  if (exponent < Limits::min_exponent + 1) exponent = Limits::min_exponent + 1;
  if (exponent > Limits::max_exponent - 2) exponent = Limits::max_exponent - 2;
  return std::ldexp(T{1}, -exponent);
}

template <class T>
struct Largest {
  T magnitude;
  int32_t at;
};
/// NaN before all, then the largest; of equal ones the first.
struct TakeLargest {
  template <class T>
  TS_DEVICE Largest<T> operator()(Largest<T> a, Largest<T> b) const {
    const bool first = a.magnitude != a.magnitude || a.magnitude > b.magnitude ||
                       (a.magnitude == b.magnitude && a.at < b.at);
    return first ? a : b;
  }
};

/// The sign that makes the component of largest magnitude of a vector positive, by a warp;
/// components lie `along` elements apart.
template <class T>
TS_DEVICE T sign_of(const T* vector, int64_t n, int64_t along = 1) {
  Largest<T> largest{T{-1}, 0};
  for (int64_t j = lane_index(); j < n; j += warp_size)
    largest = TakeLargest{}(
        largest, {static_cast<T>(std::fabs(vector[j * along])), static_cast<int32_t>(j)});
  largest = warp_reduce(largest, TakeLargest{});
  return vector[largest.at * along] < 0 ? T{-1} : T{1};
}

/// One status per matrix, 0 at first: the caller's, or our own.
class Statuses {
 public:
  Statuses(Stream&, const MatrixBatch&, const LinalgParams&);
  int32_t* data() const { return data_; }
  /// To be called after all launches: an Error will name the first matrix that failed, unless the
  /// caller has the statuses.
  void finish(Complaint);

 private:
  Stream& stream_;
  std::string operation_;
  int64_t count_;
  Scratch own_;
  int32_t* data_;
  bool reports_;
};

/// q [m, k] and r [k, n] of each a [m, n]; k = n or m.
template <class T>
void own_qr(Stream&, const Matrices<T>& a, const Matrices<T>& q, const Matrices<T>& r);

/// Our own methods for batches that are not empty, statuses 0 before.
void own_cholesky(Stream&, const MatrixBatch&, const View& a, const View& l, int32_t* status);
void own_triangular_solve(Stream&, const MatrixBatch&, const View& a, const View& b, const View& x,
                          const TriangularParams&);
void own_solve(Stream&, const MatrixBatch&, const View& a, const View& b, const View& x,
               int32_t* status);
void own_eigh(Stream&, const MatrixBatch&, const View& a, const View& w, const View& v,
              int32_t* status);
void own_svd(Stream&, const MatrixBatch&, const View& a, const View& u, const View& s,
             const View& vt, int32_t* status);

/// The table's entries of the spectral kernels.
void own_gram(Stream&, View x, View g, View sums, const SpectralParams&);
void own_project(Stream&, View x, View basis, View y, const SpectralParams&);

}  // namespace tessera::kernels::cuda
