#pragma once

#include <span>
#include <vector>

#include "tessera/runtime/csr.hpp"

/// The spectrum of a graph, and systems of equations in its adjacency matrix; on the host, in
/// double. Matrices are square, symmetric, without values (every entry is 1).
namespace tessera::models {

/// The largest absolute eigenvalue, by Lanczos's method from a fixed start to a relative change of
/// 1e-12 or 300 steps; 0 without entries.
double spectral_radius(const CsrMatrix& adjacency);

/// x with (I - weight A) x = b, by conjugate gradients to a residual of 1e-12 |b|; the matrix must
/// be positive definite: |weight| times the spectral radius below 1. Throws when that is not
/// reached in 10 n + 100 steps.
std::vector<double> solve_shifted(const CsrMatrix& adjacency, double weight,
                                  std::span<const double> b);

}  // namespace tessera::models
