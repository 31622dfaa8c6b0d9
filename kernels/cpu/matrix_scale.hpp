#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/kernels/cpu/linalg.hpp"

/// Eigenvalues and singular values are found for a matrix scaled to magnitudes about 1.
namespace tessera::kernels::cpu {

template <class T>
T largest_magnitude(Matrix<T> a) {
  T largest = 0;
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.cols; ++j) {
      const T magnitude = std::abs(a[i][j]);
      if (!(magnitude <= largest)) largest = magnitude;  // NaN stays
      if (std::isnan(largest)) return largest;
    }
  return largest;
}

/// A power of two that brings the largest magnitude near 1; 0 for a matrix that is not finite.
template <class T>
T scale_of(T largest) {
  if (!(largest <= std::numeric_limits<T>::max())) return 0;
  if (largest == 0) return 1;
  return std::ldexp(T{1}, -std::clamp(std::ilogb(largest), std::numeric_limits<T>::min_exponent + 1,
                                      std::numeric_limits<T>::max_exponent - 2));
}

template <class T>
void scale(Matrix<T> a, T factor) {
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.cols; ++j) a[i][j] *= factor;
}

}  // namespace tessera::kernels::cpu
