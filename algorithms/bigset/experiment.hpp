#pragma once

#include "tessera/algorithms/bigset/bigset.hpp"
#include "tessera/algorithms/experiment.hpp"

namespace tessera::algorithms::bigset {

/// Settings of the experiment; config.json holds the same defaults.
struct Config : Options {
  int64_t runs = 1;  // trainings from different seeds
  std::string variable, truth;
  int64_t rows = 0, columns = 0;
  models::SyntheticCubeOptions scene;

  static void visit(auto& self, auto&& f) {
    Options::visit(self, f);
    f("runs", self.runs, "trainings with different seeds", Bounds::at_least(1));
    f("variable", self.variable, "of a .mat or .npz file that holds the image");
    f("truth", self.truth, "variable or file with the map of anomalies");
    f("rows", self.rows, "of an image stored as bands x pixels", Bounds::between(0, 1 << 20));
    f("columns", self.columns, "of an image stored as bands x pixels", Bounds::between(0, 1 << 20));
    f("scene", self.scene);
  }
};

/// Scores the image file `context.data`, all those of a folder, or a built-in scene. Where the
/// truth is known the report has the metrics of `Evaluation`, the ROC curves against global RX and,
/// of networks, the AUC after each period; a folder has a table with a row for each scene, and a
/// note for each file that cannot be read or judged. The
/// output folder gets scores.img with its .hdr (ENVI, f32) and pictures of each scene.
Report run(const Config& config, Context& context);

}  // namespace tessera::algorithms::bigset
