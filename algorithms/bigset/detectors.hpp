#pragma once

#include <vector>

#include "tessera/algorithms/bigset/scene.hpp"

/// Detectors that need no training. Scores are those of each pixel, greater where it is less like
/// its surroundings; NaN for pixels that are not valid. Everything is f64.
namespace tessera::algorithms::bigset {

/// Global RX (Reed and Yu 1990): (x - m)' S^-1 (x - m) with the mean m and the covariance S (n - 1)
/// of all valid pixels, by a Cholesky factor of S. Where S has none, 1e-10 of its mean diagonal,
/// and if need be more, is added to the diagonal.
std::vector<double> global_rx(const Scene& scene);

/// Pixels of the square of `outer` pixels a side about a pixel that are not in the one of `inner`;
/// both odd, inner < outer. Beyond the border the image is mirrored, the border itself not
/// repeated.
struct Windows {
  int64_t inner = 7, outer = 15;
};

/// Local RX: the same with the statistics of each pixel's ring and S + shrinkage * trace(S) / bands
/// * I, by the ring's inner products (Woodbury). The trace counts as 1e-8 of the scene's where it
/// is less, so that a ring of one spectrum gives finite scores: 0 to that spectrum.
std::vector<double> local_rx(const Scene& scene, const Windows& windows, double shrinkage = 1e-3);

/// Collaborative representation (Li and Du 2015): |y - A w|, w = (A'A + lambda G^2 + jitter *
/// mean(diag A'A) I)^-1 A'y for the ring A of y and G the distances of y to the ring's pixels.
std::vector<double> collaborative(const Scene& scene, const Windows& windows, double lambda = 1e-6,
                                  double jitter = 1e-10);

}  // namespace tessera::algorithms::bigset
