#pragma once

#include <span>

#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

/// How much numbers tell about classes, in nats; on the host, in double.
namespace tessera::models {

struct MutualInformationOptions {
  int64_t k = 3;         // neighbours
  double noise = 1e-10;  // of each coordinate, relative to max(1, mean |x|), so that none are equal

  static void visit(auto& self, auto&& f) {
    f("k", self.k, "neighbours of the estimator", Bounds::at_least(1));
    f("noise", self.noise, "that keeps coordinates apart", Bounds::at_least(0));
  }
};

/// I(x; y) of the rows of x [n, d] (floating, finite) and labels y (i32 [n]) by nearest neighbours
/// (Ross 2014, eq. 2) in the maximum norm over all d coordinates:
///
///   r_i  distance to the min(k, n_y - 1)-th nearest other row of the same class, less one bit
///   m_i  rows of any class within r_i, row i among them
///   I = psi(n) + mean psi(k_i) - mean psi(n_{y_i}) - mean psi(m_i), at least 0
///
/// Columns are divided by their deviation first and get normal noise that is a function of `rng`.
/// Rows of classes with one member are left out; 0 when fewer than two rows remain. Compares all
/// pairs: n^2 d steps.
double mutual_information(const Tensor& x, const Tensor& labels,
                          const MutualInformationOptions& options, const Rng& rng);

/// The mean over columns of what each alone tells, 0 for those that do not vary; n log n steps a
/// column (autograd::class_information). Labels not negative.
double mean_mutual_information(const Tensor& x, const Tensor& labels,
                               const MutualInformationOptions& options, const Rng& rng);

/// I(code; label) of the relative frequencies of pairs; spans of one length. Exact for what was
/// drawn, biased upwards for what it was drawn from.
double discrete_mutual_information(std::span<const int64_t> codes, std::span<const int32_t> labels);

/// Entropy of the relative frequencies of labels.
double label_entropy(std::span<const int32_t> labels);

/// The highest accuracy that `information` about one of `classes` classes of this entropy allows,
/// by Fano's inequality H(e) + e ln(classes - 1) >= entropy - information for the error e.
double fano_accuracy(double information, double entropy, int64_t classes);

}  // namespace tessera::models
