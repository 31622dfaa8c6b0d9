#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/runtime/csr.hpp"

/// Which pairs of nodes are joined, judged from several noisy observations of a graph (Wang et al.
/// 2021, GEN, section 4; after Newman 2018).
namespace tessera::algorithms::gsl {

struct BlockPosterior {
  double true_positive = 0;   // chance that an observation shows an edge
  double false_positive = 0;  // chance that it shows one where there is none
  std::vector<double> prior;  // [class * classes + class]: chance of an edge
  int64_t rounds = 0;
  CsrMatrix graph;  // pairs seen at least once whose probability is above the threshold, which are
                    // the values (f32); symmetric
};

/// Expectation maximisation over all pairs i < j of nodes of `labels` (below `classes`). A pair
/// seen in E of the M observations (symmetric, without self-loops, values ignored) has an edge with
/// probability
///
///   Q = w a^E (1-a)^(M-E) / (w a^E (1-a)^(M-E) + (1-w) b^E (1-b)^(M-E)),   w the prior of its
///   classes
///
/// and a = sum Q E / (M sum Q), b = sum (1-Q) E / (M sum (1-Q)), w = the mean of Q over the
/// classes' pairs. Q depends on E and the two classes alone, so that a round takes M classes^2
/// steps whatever the number of pairs. Starts from a = 0.7, b = the share of pairs seen, w likewise
/// by classes, and ends when no Q changes by more than `tolerance`, or after 1000 rounds.
BlockPosterior block_posterior(std::span<const CsrMatrix> observations,
                               std::span<const int32_t> labels, int64_t classes, double threshold,
                               double tolerance);

}  // namespace tessera::algorithms::gsl
