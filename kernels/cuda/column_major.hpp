#pragma once

#include "tessera/kernels/linalg_operands.hpp"
#include "tessera/runtime/stream.hpp"

/// What stands between the linalg family's contract and a library of LAPACK's kind, which knows
/// matrices by columns, vectors of either sign, and leaves alone what it does not compute. Kernels
/// of our own; T is float or double.
namespace tessera::kernels::cuda {

/// Matrices of one shape side by side, row-major.
template <class T>
struct DenseMatrices {
  T* data;
  int64_t count, rows, cols;

  View view(bool transposed = false) const {
    View v{data, dtype_of<T>, 3, {count, rows, cols}, {rows * cols, cols, 1}};
    if (transposed) {
      v.shape[1] = cols, v.stride[1] = 1;
      v.shape[2] = rows, v.stride[2] = cols;
    }
    return v;
  }
};

/// to = a, or a' where the shapes say so. A matrix that is not finite becomes the identity and its
/// status -1. With `factors`, one per matrix, each is multiplied by a power of two that brings its
/// largest magnitude near 1, and a matrix of zeros becomes the identity with an infinite factor:
/// eigenvalues and singular values divided by the factors are the matrix's own. `lower`: only the
/// lower triangle of a is looked at (both triangles are copied).
template <class T>
struct Copying {
  DenseMatrices<T> a, to;
  bool transposed = false, lower = false;
  T* factors = nullptr;
};
template <class T>
void copy_finite(Stream&, const Copying<T>&, int32_t* status);

/// Component j of vector i of matrix b is data[b * step + i * between + j * along].
template <class T>
struct Vectors {
  T* data;
  int64_t step, between, along;
};
/// `vectors` of each matrix in `left`, of `length` components, go to `to_left` with the sign that
/// makes the component of largest magnitude positive. right (optional: data null) goes to to_right
/// with the same signs. A result may be its source.
template <class T>
struct Signing {
  int64_t count, vectors, length, right_length;
  Vectors<const T> left;
  Vectors<T> to_left;
  Vectors<const T> right;
  Vectors<T> to_right;
};
template <class T>
void sign_vectors(Stream&, const Signing<T>&);

/// r [count, k, n] = the upper triangle of at' with rows so signed that the diagonal is >= 0; at
/// [count, .., m] holds a factored m x n matrix by columns, n of them. signs [count, columns]: of
/// r's rows, and 1 behind them.
template <class T>
void take_upper(Stream&, const DenseMatrices<T>& at, const DenseMatrices<T>& r, int64_t columns,
                T* signs);

/// Clears l above its diagonals; a status becomes `info`, or where that is 0 the number 1 + row of
/// the first diagonal element that is not a positive number.
template <class T>
void finish_cholesky(Stream&, const DenseMatrices<T>& l, const int32_t* info, int32_t* status);

/// Statuses that are 0 become `info`, or -1 where `spectral` and info is not 0.
void merge_info(Stream&, const int32_t* info, int64_t count, bool spectral, int32_t* status);

/// to[b] = data + b * step.
template <class T>
void list_pointers(Stream&, T* data, int64_t step, int64_t count, T** to);

}  // namespace tessera::kernels::cuda
