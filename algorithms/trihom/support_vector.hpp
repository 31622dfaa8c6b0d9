#pragma once

#include <cstdint>
#include <span>
#include <vector>

/// Support vector machines on given kernel matrices, by sequential minimal optimisation with
/// second-order choice of the pair (Fan, Chen, Lin 2005).
namespace tessera::algorithms::trihom {

/// f(x) = sum_i coefficient[i] k(x_i, x) + bias; coefficient = alpha_i y_i.
struct SupportVectors {
  std::vector<double> coefficient;
  double bias = 0;
};

/// Minimises alpha' Q alpha / 2 - sum alpha, Q_ij = y_i y_j K_ij, over 0 <= alpha <= cost with
/// y' alpha = 0, until the optimality conditions hold to `tolerance`. kernel [n, n] symmetric, y
/// of +1 and -1, both there.
SupportVectors train_support_vectors(std::span<const double> kernel, std::span<const int8_t> y,
                                     double cost, double tolerance = 1e-3);

/// Classes by one machine for every two of them and a vote, the lowest of equals. kernel and label
/// are of all n examples, `train` and `predict` are numbers of examples; the result is the class of
/// each of `predict`. Classes without a training example are never predicted.
std::vector<int32_t> predict_support_vectors(std::span<const double> kernel, int64_t n,
                                             std::span<const int32_t> label, int64_t classes,
                                             std::span<const int64_t> train,
                                             std::span<const int64_t> predict, double cost);

}  // namespace tessera::algorithms::trihom
