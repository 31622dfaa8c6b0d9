#include "tessera/algorithms/eigensr/experiment_pictures.hpp"

#include <algorithm>

#include "tessera/algorithms/eigensr/quality.hpp"
#include "tessera/algorithms/picture.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/png.hpp"

namespace tessera::algorithms::eigensr {
namespace {

constexpr int64_t picture_size = 300;  // at least, of the longer side of a panel

}  // namespace

void write_cube(const std::string& path, const Tensor& values, const models::Cube& about,
                const std::string& description) {
  EnviHeader header;
  header.wavelengths = about.wavelengths;
  header.good_bands = about.good_bands;
  header.other = {{"description", concat("{", description, "}")}};
  save_envi(path, values, header);
}

void write_pictures(const std::string& folder, const Scene& scene, const Tensor& interpolated,
                    const Tensor& estimate) {
  if (!png_available()) return;
  const int64_t rows = scene.reference.size(0), columns = scene.reference.size(1);
  const int64_t factor = std::max<int64_t>(1, picture_size / std::max(rows, columns));
  std::vector<Tensor> panels, errors;
  for (const Tensor& values : {interpolated, estimate, scene.reference}) {
    models::Cube cube = scene.about;
    cube.values = values;
    panels.push_back(enlarged(pseudo_rgb(cube), factor));
  }
  save_png(folder + "/panels.png", side_by_side(panels));
  std::vector<std::vector<double>> maps;
  std::vector<double> sorted;
  for (const Tensor& values : {interpolated, estimate}) {
    maps.push_back(error_map(scene.reference, values).values<double>());
    sorted.insert(sorted.end(), maps.back().begin(), maps.back().end());
  }
  std::sort(sorted.begin(), sorted.end());
  const double high = sorted[static_cast<size_t>(0.99 * static_cast<double>(sorted.size() - 1))];
  for (const auto& map : maps)
    errors.push_back(enlarged(colour_map(map, rows, columns, 0, high), factor));
  errors.push_back(colour_bar(errors[0].size(0), 12));
  save_png(folder + "/error.png", side_by_side(errors));
}

}  // namespace tessera::algorithms::eigensr
