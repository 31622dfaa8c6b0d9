#pragma once

#include <cstdint>
#include <vector>

#include "tessera/runtime/tensor.hpp"

/// Information that numbers hold about classes, estimated from samples. Nothing here is
/// differentiable.
namespace tessera::autograd {

struct ClassInformationOptions {
  int64_t neighbors = 3;  // k
  double noise = 1e-10;   // of unit columns, to break ties; 0: none
  uint64_t seed = 0;      // of the noise
  int64_t first = 0;      // the number of column 0, for calls with a part of the columns
};

/// Mutual information, in nats, of each column of x [n, columns] (f32 or f64, finite) with the
/// class of its sample, labels [n] (i32 on the host, not negative), by nearest neighbours (Ross,
/// "Mutual information between discrete and continuous data sets", PLoS ONE 2014):
///
///   I = psi(n) + <psi(k_i)> - <psi(n_i)> - <psi(m_i)>, at least 0
///
/// n_i is the size of sample i's class, k_i = min(k, n_i - 1), and m_i the number of samples, i
/// among them, that are closer than the k_i-th nearest of the class. Classes of one sample are left
/// out. Columns are divided by their deviation and get noise * max(1, mean |x|) times a normal
/// number, which is a function of (seed, number of the column, row): the same in every call. A
/// column that does not vary holds 0, as does every column of fewer than two classes. O(n log n)
/// per column, in f64, on x's device; returns f64 [columns] there.
Tensor class_information(const Tensor& x, const Tensor& labels,
                         const ClassInformationOptions& options = {});

/// psi(0) (as 0), psi(1), .., psi(n): the derivative of ln gamma at whole numbers, psi(m + 1) =
/// psi(m) + 1 / m from minus Euler's constant on.
std::vector<double> digamma_of_integers(int64_t n);

}  // namespace tessera::autograd
