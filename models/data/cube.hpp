#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::models {

/// A hyperspectral image, on the host. Rows and columns are the picture's: pixel (r, c) is number r
/// * columns + c.
struct Cube {
  std::string name;
  Tensor values;                    // [rows, columns, bands]: f64 f32 i32 i16 u16
  std::vector<double> wavelengths;  // [bands], in nanometres (or what else the file has), or empty
  std::vector<bool> good_bands;     // [bands], or empty: the file says nothing about bad ones
  Tensor valid;                     // bool [rows, columns]; undefined: every pixel
  Tensor truth;                     // bool [rows, columns], true = anomaly; undefined: not known

  int64_t rows() const { return values.size(0); }
  int64_t columns() const { return values.size(1); }
  int64_t bands() const { return values.size(2); }
  int64_t pixels() const { return rows() * columns(); }
  bool is_valid(int64_t pixel) const;
};

/// Which variable of a file is the image, and what it looks like. Empty and 0: found as below.
struct CubeFile {
  std::string variable{};  // of the image
  std::string truth{};     // a variable of the same file, or a file: .bmp, .npy, .mat or ENVI
  int64_t rows = 0, columns = 0;  // of an image stored as bands x pixels
};

/// Reads .mat, .npy and .npz files and ENVI rasters (`path` is the data or its .hdr).
///
/// The image is the named variable, else the only array of three dimensions. An array of two,
/// [bands, pixels] with pixels going down the columns as MATLAB stores them, needs `rows` and
/// `columns`. Truth is the named variable or file, else the array [rows, columns] called map, gt,
/// groundtruth or mask, else, beside an ENVI raster NAME, the picture NAMEGt.bmp; where it is not 0
/// there is an anomaly. A variable mask_sub or valid of that size says which pixels count; a pixel
/// with a number that is not finite, or with the header's `data ignore value` in every band, does
/// not count either. A vector called wavelengths or wavelength of one number per band is taken;
/// micrometres, by a header's unit or, without one, because all are below 100, become nanometres.
/// Throws an `io` Error that names the file and the variable.
Cube load_cube(const std::string& path, const CubeFile& file = {});

/// bool [rows, columns]: the pixels of `values` [rows, columns, bands] (host, contiguous, numbers a
/// Cube or an ENVI raster has) that are all finite and not `ignored` in every band; undefined where
/// these are all. An Error names `path` where the numbers are of another dtype.
Tensor valid_pixels(const Tensor& values, std::optional<double> ignored, const std::string& path);

/// The .mat, .npy and .npz files and ENVI headers of a folder, sorted by name.
std::vector<std::string> cube_files(const std::string& folder);

/// A scene made from a seed: a few materials with smooth spectra in a smooth mixture, noise that
/// grows with the signal, and small targets of another material.
struct SyntheticCubeOptions {
  int64_t rows = 64, columns = 48, bands = 60;
  int64_t materials = 5, targets = 6;  // targets are squares of 1 to 3 pixels
  double noise = 0.01;                 // standard deviation, of signals about 1
  double contrast = 0.25;              // how much of a target pixel is the target's material

  static void visit(auto& self, auto&& f);
};
Cube synthetic_cube(const SyntheticCubeOptions& options, const Rng& rng);

/// Numbers of the bands with one value in all valid pixels.
std::vector<int64_t> constant_bands(const Cube& cube);

void SyntheticCubeOptions::visit(auto& self, auto&& f) {
  f("rows", self.rows, "of the built-in scene", Bounds::between(8, 4096));
  f("columns", self.columns, "", Bounds::between(8, 4096));
  f("bands", self.bands, "", Bounds::between(2, 1000));
  f("materials", self.materials, "in its background", Bounds::between(1, 100));
  f("targets", self.targets, "anomalies, squares of 1 to 3 pixels", Bounds::between(1, 1000));
  f("noise", self.noise, "standard deviation, of signals about 1", Bounds::at_least(0));
  f("contrast", self.contrast, "share of the target's material in its pixels",
    Bounds::between(0, 1));
}

}  // namespace tessera::models
