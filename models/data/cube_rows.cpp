#include "tessera/models/data/cube_rows.hpp"

#include <filesystem>
#include <memory>

#include "tessera/autograd/launch.hpp"
#include "tessera/models/data/cube.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/npy.hpp"

namespace tessera::models {
namespace {

bool ends_with(const std::string& path, std::string_view ending) {
  return std::filesystem::path(path).extension() == ending;
}

template <class... Parts>
[[noreturn]] void fail(const std::string& path, const Parts&... parts) {
  throw Error(ErrorKind::io, concat(path, ": ", parts...));
}

}  // namespace

bool CubeRows::can_read(const std::string& path) {
  return !ends_with(path, ".mat") && !ends_with(path, ".npz");
}

CubeRows::CubeRows(const std::string& path) : path_(path) {
  if (!can_read(path))
    fail(path, "is read as a whole only; ENVI rasters and .npy files are read in parts");
  if (ends_with(path, ".npy")) {
    const auto file = std::make_shared<const NpyFile>(path);
    shape_ = file->shape();
    dtype_ = file->dtype();
    if (shape_.rank() != 3)
      fail(path, "has shape ", shape_, ", expected [rows, columns, bands] to read it in parts");
    read_ = [file](int64_t first, int64_t count) { return file->rows(first, count); };
  } else {
    const auto file = std::make_shared<const EnviFile>(path);
    const EnviHeader& header = file->header();
    shape_ = {header.lines, header.samples, header.bands};
    dtype_ = dtype_of_stored(header.type);
    ignored_ = header.ignore_value;
    read_ = [file](int64_t first, int64_t count) { return file->lines(first, count); };
  }
  if (shape_.numel() == 0) fail(path, "an image of shape ", shape_);
}

Tensor CubeRows::valid(const Tensor& values) const {
  return valid_pixels(autograd::contiguous(values), ignored_, path_);
}

}  // namespace tessera::models
