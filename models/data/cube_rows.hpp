#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tessera/runtime/tensor.hpp"

namespace tessera::models {

/// The file of a hyperspectral image, read a few image rows at a time, so that it may be larger
/// than memory: ENVI rasters, and .npy files [rows, columns, bands] in C's order. Throws as
/// load_cube does.
class CubeRows {
 public:
  explicit CubeRows(const std::string& path);
  static bool can_read(const std::string& path);  // by the ending

  int64_t rows() const { return shape_[0]; }
  int64_t columns() const { return shape_[1]; }
  int64_t bands() const { return shape_[2]; }
  DType dtype() const { return dtype_; }

  /// [count, columns, bands], the file's numbers in the file's interleave.
  Tensor values(int64_t first, int64_t count) const { return read_(first, count); }
  /// bool [count, columns]: the pixels of such rows with data: valid_pixels by the header's
  /// `data ignore value`.
  Tensor valid(const Tensor& values) const;

 private:
  std::string path_;
  Shape shape_;
  DType dtype_ = DType::f32;
  std::optional<double> ignored_;
  std::function<Tensor(int64_t, int64_t)> read_;
};

}  // namespace tessera::models
