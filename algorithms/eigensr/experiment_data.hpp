#pragma once

#include <string>
#include <vector>

#include "tessera/algorithms/eigensr/degradation.hpp"
#include "tessera/algorithms/eigensr/leaves.hpp"
#include "tessera/models/data/cube.hpp"

/// The data of a run, from files or made from a seed.
namespace tessera::algorithms::eigensr {

/// A cube to learn from or to be tested on.
struct Scene {
  std::string name;
  models::Cube about;  // wavelengths; no numbers
  Tensor reference;    // f32 [rows, columns, bands], extents divided by the scale
  Tensor small;        // of a test scene: what super-resolution is given
};

struct DataOptions {
  std::vector<std::string> test;        // scenes of a folder that are kept from training
  std::vector<std::string> validation;  // as well
  std::string variable;
  int64_t rows = 0, columns = 0;
  std::string rgb;       // folder of .png files to pre-train on; "": built-in pictures
  int64_t pictures = 8;  // built-in ones
  int64_t scenes = 4;    // built-in ones for training; one more is for the test
  LeavesOptions leaves;
  Degradation degradation;

  static void visit(auto& self, auto&& f) {
    f("test", self.test, "names of scenes that are not trained on; none: every fourth");
    f("validation", self.validation, "names of scenes that choose the best network");
    f("variable", self.variable, "of a .mat or .npz file that holds the image");
    f("rows", self.rows, "of an image stored as bands x pixels", Bounds::at_least(0));
    f("columns", self.columns, "of an image stored as bands x pixels", Bounds::at_least(0));
    f("rgb", self.rgb, "folder of .png files to pre-train on; none: built-in pictures");
    f("pictures", self.pictures, "built-in ones to pre-train on", Bounds::between(1, 10'000));
    f("scenes", self.scenes, "built-in ones to train on; another is for the test",
      Bounds::between(1, 1000));
    f("scene", self.leaves);
    f("degradation", self.degradation);
  }
};

/// Scenes with a part in the run.
struct Scenes {
  std::vector<Scene> train, validation, test;
  std::vector<std::string> notes;  // what was left out or filled
};
/// Of a folder: all cubes in it that can be read; of one file: its left half of columns to train
/// on, its right half for the test; "": built-in scenes. Throws where there is none for the test,
/// and on names in `test` and `validation` that no file has.
Scenes load_scenes(const std::string& data, const DataOptions& options, int64_t scale,
                   const Rng& rng);

/// One cube of a file.
Scene load_scene(const std::string& path, const DataOptions& options,
                 std::vector<std::string>& notes);

/// Pictures to pre-train on: f32 [channels, rows, columns] each.
std::vector<Tensor> load_pictures(const DataOptions& options, const Rng& rng);

}  // namespace tessera::algorithms::eigensr
