#pragma once

#include "tessera/algorithms/experiment.hpp"
#include "tessera/models/data/cube.hpp"
#include "tessera/models/spectral_svd.hpp"

namespace tessera::algorithms::svd {

/// Settings of the experiment; config.json holds the same defaults.
struct Config {
  models::SvdMethod method = models::SvdMethod::automatic;
  double rank = 0;
  bool centred = false, left = true;
  DType precision = DType::f32;
  int64_t oversampling = 10, power_steps = 2;
  int64_t images = 6, repeats = 1;
  int64_t slab = 0;
  std::string variable;
  int64_t rows = 0, columns = 0;
  models::SyntheticCubeOptions scene{.rows = 200, .columns = 150, .bands = 120};

  static void visit(auto& self, auto&& f) {
    f("method", self.method, "automatic, gram, cholesky_qr or randomized");
    f("rank", self.rank, "triples wanted: 0 all, a share of the bands below 1, or a number",
      Bounds::at_least(0));
    f("centred", self.centred, "take the mean spectrum off");
    f("left", self.left, "make U, and measure residual and orthogonality with it");
    f("precision", self.precision, "of U: f32 or f64");
    f("oversampling", self.oversampling, "randomized: extra vectors", Bounds::at_least(0));
    f("power_steps", self.power_steps, "randomized: passes beyond the first", Bounds::at_least(0));
    f("images", self.images, "leading eigenimages that are written", Bounds::at_least(0));
    f("repeats", self.repeats, "times it is done, for the time", Bounds::at_least(1));
    f("slab", self.slab,
      "image rows read at a time, for files larger than memory (ENVI, .npy); 0: the whole",
      Bounds::at_least(0));
    f("variable", self.variable, "of a .mat or .npz file that holds the image");
    f("rows", self.rows, "of an image stored as bands x pixels", Bounds::at_least(0));
    f("columns", self.columns, "of an image stored as bands x pixels", Bounds::at_least(0));
    f("scene", self.scene);
  }
};

/// Decomposes the image file `context.data`, or a built-in scene, A = U S V'. Metrics: pixels and
/// bands that were used, numerical rank, condition s_1 / s_rank, components within .97 of the sum
/// of singular values, passes over A, seconds, GB/s (bytes of A once over seconds), and with U
/// residual and orthogonality. The output folder gets basis.npz (v, sigma, mean), eigenimages.img
/// with its .hdr (ENVI, f32, one band per image), singular_values.png, panels.png.
Report run(const Config& config, Context& context);

}  // namespace tessera::algorithms::svd
