#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/models/data/cube.hpp"

/// Anomaly detection in hyperspectral images by separation training (BiGSeT), and what it is
/// compared with.
namespace tessera::algorithms::bigset {

enum class Normalisation : uint8_t {
  zscore_band,   // every band less its mean, over its deviation (n)
  minmax_image,  // one range for all bands, to [0, 1]
  minmax_band,
  none,
};
std::string_view to_string(Normalisation normalisation);
void parse(std::string_view text, Normalisation& normalisation);

/// An image as a table of spectra: what detectors and networks work on.
struct Scene {
  int64_t rows = 0, columns = 0;
  Tensor spectra;                 // f64 [rows * columns, bands]; rows of invalid pixels are 0
  std::vector<uint8_t> valid;     // of each pixel
  std::vector<uint8_t> truth;     // of each pixel, 1 = anomaly; empty: not known
  std::vector<int64_t> bands;     // numbers, in the file, of those kept
  int64_t constant = 0, bad = 0;  // bands left out: of one value; called bad by the file

  int64_t pixels() const { return rows * columns; }
  int64_t valid_pixels() const;
};

/// Where row or column i of an image of n lies when it is mirrored at its border, which is not
/// repeated: -1 is 1, n is n - 2. Steps of less than n beyond the border.
inline int64_t mirrored(int64_t i, int64_t n) {
  if (i < 0) return -i;
  return i < n ? i : 2 * n - 2 - i;
}

/// Leaves out constant bands and, with `drop_bad`, those that the file calls bad. Throws when no
/// band remains.
Scene make_scene(const models::Cube& cube, bool drop_bad);
/// The same scene with other numbers; statistics are those of valid pixels.
Scene normalised(const Scene& scene, Normalisation normalisation);
/// The same scene with only these of its bands, by position.
Scene with_bands(const Scene& scene, std::span<const int64_t> positions);

/// Orthogonal-projection band selection: the band of greatest variance, then again and again the
/// one that is longest after projection onto the complement of the last chosen; `count` positions,
/// ascending. Works on the bands' inner products, which is a Cholesky factorisation with pivoting
/// whose first pivot is given.
std::vector<int64_t> select_bands(const Scene& scene, int64_t count);

}  // namespace tessera::algorithms::bigset
