#include "tessera/algorithms/eigensr/experiment_data.hpp"

#include <algorithm>
#include <filesystem>

#include "tessera/algorithms/eigensr/eigenimages.hpp"
#include "tessera/algorithms/eigensr/samples.hpp"
#include "tessera/autograd/launch.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/io/png.hpp"

namespace tessera::algorithms::eigensr {
namespace {

namespace fs = std::filesystem;

constexpr size_t test_every = 4;  // of a folder's scenes when none is named

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Scene built_in(const DataOptions& options, const std::string& name, const Rng& rng) {
  Scene scene;
  scene.name = name;
  scene.reference = leaves_scene(options.leaves, rng);
  for (int64_t b = 0; b < options.leaves.bands; ++b)
    scene.about.wavelengths.push_back(400 + 600 * (static_cast<double>(b) + 0.5) /
                                                static_cast<double>(options.leaves.bands));
  return scene;
}

Scene half_of(const Scene& scene, bool right) {
  const int64_t columns = scene.reference.size(1), middle = columns / 2;
  Scene half{concat(scene.name, right ? "-right" : "-left"), scene.about, {}, {}};
  half.reference = autograd::contiguous(
      scene.reference.narrow(1, right ? middle : 0, right ? columns - middle : middle));
  return half;
}

/// Every scene in its part.
Scenes from_folder(const std::string& folder, const DataOptions& options) {
  Scenes scenes;
  std::vector<Scene> all;
  for (const std::string& path : models::cube_files(folder)) {
    try {
      all.push_back(load_scene(path, options, scenes.notes));
    } catch (const Error& error) {
      scenes.notes.push_back(concat("left out: ", error.what()));
    }
  }
  for (const auto* names : {&options.test, &options.validation})
    for (const std::string& name : *names)
      TS_CHECK(std::any_of(all.begin(), all.end(), [&](const Scene& s) { return s.name == name; }),
               "eigensr: no scene '", name, "' in ", folder);
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string& name = all[i].name;
    const bool test = options.test.empty() ? i % test_every == test_every - 1 || all.size() == 1
                                           : holds(options.test, name);
    auto& part = test                              ? scenes.test
                 : holds(options.validation, name) ? scenes.validation
                                                   : scenes.train;
    part.push_back(std::move(all[i]));
  }
  if (scenes.test.empty()) throw Error(ErrorKind::io, concat(folder, ": no image here to test on"));
  return scenes;
}

}  // namespace

Scene load_scene(const std::string& path, const DataOptions& options,
                 std::vector<std::string>& notes) {
  models::Cube cube = models::load_cube(path, {.variable = options.variable,
                                               .truth = {},
                                               .rows = options.rows,
                                               .columns = options.columns});
  Scene scene{cube.name, {}, {}, {}};
  const Spectra spectra = spectra_of(cube);
  if (spectra.filled > 0)
    notes.push_back(concat(cube.name, ": ", spectra.filled, " of ", cube.pixels(),
                           " pixels are not valid and have the mean spectrum"));
  if (const auto constant = models::constant_bands(cube); !constant.empty())
    notes.push_back(concat(cube.name, ": ", constant.size(), " of ", cube.bands(),
                           " bands are constant and not in the mean of the PSNR"));
  scene.reference = spectra.values;
  scene.about = std::move(cube);
  scene.about.values = scene.about.valid = scene.about.truth = Tensor();
  return scene;
}

Scenes load_scenes(const std::string& data, const DataOptions& options, int64_t scale,
                   const Rng& rng) {
  Scenes scenes;
  if (data.empty()) {
    for (int64_t i = 0; i < options.scenes; ++i)
      scenes.train.push_back(
          built_in(options, concat("leaves-", i + 1), rng.split(static_cast<uint64_t>(i + 1))));
    scenes.test.push_back(built_in(options, "leaves-0", rng.split(0)));
  } else if (fs::is_directory(data)) {
    scenes = from_folder(data, options);
  } else {
    const Scene whole = load_scene(data, options, scenes.notes);
    scenes.train.push_back(half_of(whole, false));
    scenes.test.push_back(half_of(whole, true));
  }
  uint64_t number = 1'000'000;
  for (auto* part : {&scenes.train, &scenes.validation, &scenes.test})
    for (Scene& scene : *part) {
      autograd::named(scene.name, [&] {
        scene.reference = cropped_to(scene.reference, scale);
        const auto numbers = scene.reference.host<float>();
        const auto [least, greatest] = std::minmax_element(numbers.begin(), numbers.end());
        TS_CHECK(*least < *greatest, "every number of the image is ", *least);
        if (part != &scenes.train)
          scene.small = degraded(scene.reference, scale, options.degradation, rng.split(number++));
      });
    }
  return scenes;
}

std::vector<Tensor> load_pictures(const DataOptions& options, const Rng& rng) {
  std::vector<Tensor> pictures;
  if (options.rgb.empty()) {
    LeavesOptions colours = options.leaves;
    colours.bands = 3;
    for (int64_t i = 0; i < options.pictures; ++i) {
      const Tensor scene = leaves_scene(colours, rng.split(static_cast<uint64_t>(i)));
      pictures.push_back(autograd::contiguous(scene.permute({2, 0, 1})));
    }
    return pictures;
  }
  if (!fs::is_directory(options.rgb))
    throw Error(ErrorKind::io, concat(options.rgb, ": no folder of .png files"));
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(options.rgb))
    if (entry.path().extension() == ".png") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  if (paths.empty()) throw Error(ErrorKind::io, concat(options.rgb, ": no .png file here"));
  for (const std::string& path : paths) pictures.push_back(channel_planes(load_png(path)));
  return pictures;
}

}  // namespace tessera::algorithms::eigensr
