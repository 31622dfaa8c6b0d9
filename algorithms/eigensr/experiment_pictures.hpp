#pragma once

#include <string>

#include "tessera/algorithms/eigensr/experiment_data.hpp"

/// The files of one scene.
namespace tessera::algorithms::eigensr {

/// A cube f32 [rows, columns, bands] as ENVI raster `path` with the scene's wavelengths.
void write_cube(const std::string& path, const Tensor& values, const models::Cube& about,
                const std::string& description);

/// folder/panels.png: interpolation, estimate and reference in pseudo-colours. folder/error.png:
/// mean absolute differences of the first two on one scale, with its bar. Nothing where this build
/// writes no PNG files.
void write_pictures(const std::string& folder, const Scene& scene, const Tensor& interpolated,
                    const Tensor& estimate);

}  // namespace tessera::algorithms::eigensr
