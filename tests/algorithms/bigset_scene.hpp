#pragma once

#include <cstdint>

#include "tessera/algorithms/bigset/scene.hpp"
#include "tessera/tests/support/values.hpp"

namespace tessera::algorithms::bigset {

/// Random spectra; a few pixels not valid where asked for.
inline Scene random_scene(int64_t rows, int64_t columns, int64_t bands, uint64_t seed,
                          int64_t invalid = 0) {
  Scene scene{
      .rows = rows, .columns = columns, .spectra = {}, .valid = {}, .truth = {}, .bands = {}};
  scene.spectra = test::uniform({rows * columns, bands}, DType::f64, seed);
  scene.valid.assign(static_cast<size_t>(rows * columns), 1);
  Rng rng(seed);
  for (int64_t i = 0; i < invalid; ++i)
    scene.valid[rng.below(static_cast<uint64_t>(rows * columns))] = 0;
  const auto values = scene.spectra.host_mutable<double>();
  for (size_t p = 0; p < scene.valid.size(); ++p)
    if (!scene.valid[p])
      std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(p) * bands, bands, 0.0);
  for (int64_t b = 0; b < bands; ++b) scene.bands.push_back(b);
  return scene;
}

/// Where a step over the border leads in the mirrored image.
inline int64_t reflected(int64_t i, int64_t n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; }

}  // namespace tessera::algorithms::bigset
