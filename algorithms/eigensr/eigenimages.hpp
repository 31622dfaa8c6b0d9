#pragma once

#include <cstdint>

#include "tessera/models/data/cube.hpp"
#include "tessera/models/spectral_basis.hpp"

/// A hyperspectral image in its own spectral basis: with the cube's pixels as rows of A [pixels,
/// bands], not centred, A = U S V', the eigenimages are the columns of A V (models::eigenimages),
/// and a network that knows pictures of one channel can work on each.
namespace tessera::algorithms::eigensr {

/// The cube f32 [rows, columns, bands] of its leading eigenimages f32 [count, rows, columns]; sums
/// in f64.
Tensor from_eigenimages(const Tensor& planes, const models::SpectralBasis& basis);

/// What super-resolution works on: f32 [rows, columns, bands] on the host. Pixels that are not
/// valid have the mean spectrum of those that are; `filled` is their number.
struct Spectra {
  Tensor values;
  int64_t filled = 0;
};
Spectra spectra_of(const models::Cube& cube);

}  // namespace tessera::algorithms::eigensr
