#pragma once

#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::algorithms::eigensr {

/// Built-in scenes with sharp edges at every size, "dead leaves" (Matheron 1968; Lee, Mumford and
/// Huang 2001): opaque discs and rectangles on top of one another, radii with density r^-3, each of
/// one material with a brightness and a fine texture of its own.
struct LeavesOptions {
  int64_t rows = 64, columns = 64, bands = 32;
  int64_t materials = 6, leaves = 400;
  double noise = 0.003;  // deviation, of signals about 1

  static void visit(auto& self, auto&& f) {
    f("rows", self.rows, "of a built-in scene", Bounds::between(8, 4096));
    f("columns", self.columns, "", Bounds::between(8, 4096));
    f("bands", self.bands, "", Bounds::between(1, 1000));
    f("materials", self.materials, "smooth spectra", Bounds::between(1, 100));
    f("leaves", self.leaves, "discs and rectangles on top of one another",
      Bounds::between(1, 100'000));
    f("noise", self.noise, "deviation, of signals about 1", Bounds::at_least(0));
  }
};

/// f32 [rows, columns, bands]; a pixel is the mean of 3 x 3 points.
Tensor leaves_scene(const LeavesOptions& options, const Rng& rng);

}  // namespace tessera::algorithms::eigensr
