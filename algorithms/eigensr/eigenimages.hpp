#pragma once

#include <cstdint>
#include <vector>

#include "tessera/models/data/cube.hpp"

/// A hyperspectral image in its own spectral basis. With the cube's pixels as rows of A [pixels,
/// bands], not centred, A = U S V'; the eigenimages are the columns of A V, and a network that
/// knows pictures of one channel can work on each.
namespace tessera::algorithms::eigensr {

struct SpectralBasis {
  Tensor vectors;  // f64 [bands, bands]: columns of V, the largest singular value first; of each,
                   // the component of largest magnitude is positive
  std::vector<double> singular_values;  // [bands], falling; 0 where the cube has fewer dimensions
};
/// cube: f32 [rows, columns, bands] on the host.
SpectralBasis spectral_basis(const Tensor& cube);

/// How many eigenimages a setting means for a cube of `bands`: a share in (0, 1) rounds up, a
/// whole number counts, 0 is all.
int64_t rank_of(double rank, int64_t bands);
/// The number of leading components k with (s_1 + .. + s_k) / sum s <= share, at least 1.
int64_t components_within(const std::vector<double>& singular_values, double share);

/// The leading `count` eigenimages f32 [count, rows, columns] of a cube, and the cube of them;
/// products in f64.
Tensor eigenimages(const Tensor& cube, const SpectralBasis& basis, int64_t count);
Tensor from_eigenimages(const Tensor& planes, const SpectralBasis& basis);

/// What super-resolution works on: f32 [rows, columns, bands] on the host. Pixels that are not
/// valid have the mean spectrum of those that are; `filled` is their number.
struct Spectra {
  Tensor values;
  int64_t filled = 0;
};
Spectra spectra_of(const models::Cube& cube);

}  // namespace tessera::algorithms::eigensr
