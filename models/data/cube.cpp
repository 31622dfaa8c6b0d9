#include "tessera/models/data/cube.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>

#include "tessera/models/init.hpp"
#include "tessera/runtime/io/bmp.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/mat.hpp"
#include "tessera/runtime/io/npy.hpp"

namespace tessera::models {
namespace {

namespace fs = std::filesystem;

constexpr const char* truth_names[] = {"map", "gt", "groundtruth", "mask"};
constexpr const char* valid_names[] = {"mask_sub", "valid"};
constexpr const char* wavelength_names[] = {"wavelengths", "wavelength"};

std::string lower_ending(const std::string& path) {
  std::string ending = fs::path(path).extension().string();
  for (char& c : ending)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return ending;
}

template <class... Parts>
[[noreturn]] void fail(const std::string& path, const Parts&... parts) {
  throw Error(ErrorKind::io, concat(path, ": ", parts...));
}

/// The arrays of a file by name.
struct Arrays {
  std::string path;
  struct Entry {
    std::string name;
    Shape shape;
    std::function<Tensor()> load;
  };
  std::vector<Entry> entries;

  const Entry* find(std::string_view name) const {
    for (const Entry& e : entries)
      if (e.name == name) return &e;
    return nullptr;
  }
  std::string list() const {
    std::string names;
    for (const Entry& e : entries) names += concat(names.empty() ? "" : ", ", e.name, " ", e.shape);
    return names.empty() ? "no arrays of numbers" : names;
  }
};

Arrays arrays_of(const std::string& path) {
  Arrays arrays{path, {}};
  const std::string ending = lower_ending(path);
  if (ending == ".mat") {
    const auto mat = std::make_shared<MatFile>(path);
    for (const MatFile::Variable& v : mat->variables())
      if (v.numeric)
        arrays.entries.push_back(
            {v.name, v.shape, [mat, name = v.name] { return mat->load(name); }});
  } else if (ending == ".npz") {
    const auto npz = std::make_shared<Npz>(path);
    for (const std::string& name : npz->names()) {
      Tensor t = npz->load(name);
      arrays.entries.push_back({name, t.shape(), [t] { return t; }});
    }
  } else {
    Tensor t = load_npy(path);
    arrays.entries.push_back({"data", t.shape(), [t] { return t; }});
  }
  return arrays;
}

/// Calls body with the elements of t, whatever numbers they are.
template <class Body>
void for_numbers(const Tensor& t, const std::string& path, Body&& body) {
  switch (t.dtype()) {
    case DType::f64:
      return body(t.host<double>());
    case DType::f32:
      return body(t.host<float>());
    case DType::f16:
      return body(t.host<f16>());
    case DType::i64:
      return body(t.host<int64_t>());
    case DType::i32:
      return body(t.host<int32_t>());
    case DType::i16:
      return body(t.host<int16_t>());
    case DType::i8:
      return body(t.host<int8_t>());
    case DType::u16:
      return body(t.host<uint16_t>());
    case DType::u8:
      return body(t.host<uint8_t>());
    default:
      fail(path, "an array of ", t.dtype(), "; expected numbers");
  }
}

/// As the types that a cube has.
Tensor as_values(const Tensor& t, const std::string& path) {
  const DType dtype = t.dtype();
  if (dtype == DType::f64 || dtype == DType::f32 || dtype == DType::i32 || dtype == DType::i16 ||
      dtype == DType::u16)
    return t;
  Tensor out = Tensor::empty(t.shape(), DType::f64, Device::cpu());
  const auto to = out.host_mutable<double>();
  for_numbers(t, path, [&](const auto& from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<double>(from[i]);
  });
  return out;
}

std::vector<double> doubles(const Tensor& t, const std::string& path) {
  std::vector<double> values(static_cast<size_t>(t.numel()));
  for_numbers(t, path, [&](const auto& from) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(from[i]);
  });
  return values;
}

/// In nanometres. Where no unit is told, wavelengths below 100 are micrometres.
std::vector<double> nanometres(std::vector<double> wavelengths, std::string unit) {
  for (char& c : unit)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const bool told = !unit.empty() && unit != "unknown";
  const bool micrometres =
      told ? unit.starts_with("micro") || unit == "um"
           : std::all_of(wavelengths.begin(), wavelengths.end(), [](double w) { return w < 100; });
  for (double& w : wavelengths) w *= micrometres ? 1000 : 1;
  return wavelengths;
}

/// Where `map` is not 0, [rows, columns].
Tensor not_zero(const Tensor& map, const Cube& cube, const std::string& path,
                const std::string& what) {
  if (map.shape() != (Shape{cube.rows(), cube.columns()}))
    fail(path, what, " has shape ", map.shape(), ", the image has ", cube.rows(), " rows and ",
         cube.columns(), " columns");
  if (map.dtype() == DType::bool_) return map;
  Tensor mask = Tensor::empty(map.shape(), DType::bool_, Device::cpu());
  auto* const out = static_cast<uint8_t*>(mask.data());
  for_numbers(map, path, [&](const auto& values) {
    for (size_t i = 0; i < values.size(); ++i) out[i] = static_cast<double>(values[i]) != 0;
  });
  return mask;
}

Tensor load_map(const std::string& path) {
  const std::string ending = lower_ending(path);
  if (ending == ".bmp") {
    Tensor picture = load_bmp(path);
    if (picture.rank() == 2) return picture;
    Tensor brightest = picture.select(2, 0).clone();  // of red, green and blue
    const auto to = brightest.host_mutable<uint8_t>();
    const auto colours = picture.host<uint8_t>();
    for (size_t i = 0; i < colours.size(); ++i) to[i / 3] = std::max(to[i / 3], colours[i]);
    return brightest;
  }
  if (ending == ".mat" || ending == ".npy" || ending == ".npz") {
    const Arrays arrays = arrays_of(path);
    for (const Arrays::Entry& e : arrays.entries)
      if (e.shape.rank() == 2 && e.shape[0] > 1 && e.shape[1] > 1) return e.load();
    fail(path, "no array of two dimensions; there are: ", arrays.list());
  }
  const Tensor image = load_envi(path).values;
  if (image.size(2) != 1) fail(path, "a map has one band, this has ", image.size(2));
  return image.select(2, 0).clone();
}

Tensor image_of(const Arrays& arrays, const CubeFile& file) {
  const Arrays::Entry* chosen = nullptr;
  if (!file.variable.empty()) {
    chosen = arrays.find(file.variable);
    if (!chosen) fail(arrays.path, "no array '", file.variable, "'; there are: ", arrays.list());
  } else {
    for (const Arrays::Entry& e : arrays.entries) {
      if (e.shape.rank() != 3) continue;
      if (chosen)
        fail(arrays.path, "several arrays of three dimensions, name one: ", arrays.list());
      chosen = &e;
    }
    if (!chosen && file.rows > 0)
      for (const Arrays::Entry& e : arrays.entries)
        if (e.shape.rank() == 2 && e.shape[1] == file.rows * file.columns) chosen = &e;
    if (!chosen)
      fail(arrays.path,
           "no array of three dimensions [rows, columns, bands]; there are: ", arrays.list(),
           " (an image of bands x pixels needs its rows and columns)");
  }
  Tensor image = as_values(chosen->load(), arrays.path);
  if (image.rank() == 3) return image;
  if (image.rank() != 2 || file.rows * file.columns != image.size(1) || file.rows < 1)
    fail(arrays.path, "'", chosen->name, "' has shape ", image.shape(),
         ", expected [rows, columns, bands], or [bands, pixels] and rows x columns = pixels; rows ",
         file.rows, ", columns ", file.columns);
  // pixel = row + rows * column
  return image.reshape({image.size(0), file.columns, file.rows}).permute({2, 1, 0}).clone();
}

void take_arrays(const Arrays& arrays, const CubeFile& file, Cube& cube) {
  const Shape picture{cube.rows(), cube.columns()};
  const auto first = [&](auto& names, const auto& fits) -> const Arrays::Entry* {
    for (const char* name : names)
      if (const Arrays::Entry* e = arrays.find(name); e && fits(e->shape)) return e;
    return nullptr;
  };
  const auto is_picture = [&](const Shape& s) { return s == picture; };
  if (!file.truth.empty()) {
    if (const Arrays::Entry* e = arrays.find(file.truth))
      cube.truth = not_zero(e->load(), cube, arrays.path, concat("'", e->name, "'"));
  } else if (const Arrays::Entry* e = first(truth_names, is_picture)) {
    cube.truth = not_zero(e->load(), cube, arrays.path, concat("'", e->name, "'"));
  }
  if (const Arrays::Entry* e = first(valid_names, is_picture))
    cube.valid = not_zero(e->load(), cube, arrays.path, concat("'", e->name, "'"));
  const auto per_band = [&](const Shape& s) { return s.numel() == cube.bands(); };
  if (const Arrays::Entry* e = first(wavelength_names, per_band))
    cube.wavelengths = nanometres(doubles(e->load(), arrays.path), "");
}

/// Leaves out pixels that hold no data.
void find_invalid(Cube& cube, std::optional<double> ignored, const std::string& path) {
  const Tensor found = valid_pixels(cube.values, ignored, path);
  if (!found.defined()) return;
  if (!cube.valid.defined()) {
    cube.valid = found;
    return;
  }
  const auto* const with_data = static_cast<const uint8_t*>(found.data());
  auto* const valid = static_cast<uint8_t*>(cube.valid.data());
  for (int64_t p = 0; p < cube.pixels(); ++p) valid[p] = valid[p] && with_data[p];
}

}  // namespace

bool Cube::is_valid(int64_t pixel) const {
  return !valid.defined() || static_cast<const uint8_t*>(valid.data())[pixel] != 0;
}

Tensor valid_pixels(const Tensor& values, std::optional<double> ignored, const std::string& path) {
  if (!is_float(values.dtype()) && !ignored) return {};
  const auto bands = static_cast<size_t>(values.size(2));
  const Tensor valid = Tensor::empty({values.size(0), values.size(1)}, DType::bool_, Device::cpu());
  auto* const out = static_cast<uint8_t*>(valid.data());
  bool all = true;
  for_numbers(values, path, [&](const auto& numbers) {
    for (size_t p = 0; p < static_cast<size_t>(valid.numel()); ++p) {
      const auto each = [&](auto&& holds) {
        const auto spectrum = numbers.subspan(p * bands, bands);
        return std::all_of(spectrum.begin(), spectrum.end(),
                           [&](auto v) { return holds(static_cast<double>(v)); });
      };
      out[p] = each([](double v) { return std::isfinite(v); }) &&
               !(ignored && each([&](double v) { return v == *ignored; }));
      all = all && out[p] != 0;
    }
  });
  return all ? Tensor() : valid;
}

Cube load_cube(const std::string& path, const CubeFile& file) {
  Cube cube;
  cube.name = fs::path(path).stem().string();
  std::optional<double> ignored;
  const std::string ending = lower_ending(path);
  std::string map_file;
  if (ending == ".mat" || ending == ".npy" || ending == ".npz") {
    const Arrays arrays = arrays_of(path);
    cube.values = image_of(arrays, file);
    take_arrays(arrays, file, cube);
    if (!file.truth.empty() && !cube.truth.defined()) {
      if (!fs::exists(file.truth))
        fail(path, "the truth '", file.truth,
             "' is neither an array of it nor a file; there are: ", arrays.list());
      map_file = file.truth;
    }
  } else {
    EnviImage image = load_envi(path);
    cube.values = as_values(image.values, path);
    cube.wavelengths =
        nanometres(std::move(image.header.wavelengths), image.header.wavelength_units);
    cube.good_bands = std::move(image.header.good_bands);
    ignored = image.header.ignore_value;
    map_file = file.truth;
    if (map_file.empty()) {
      const fs::path beside = fs::path(path).replace_extension();
      if (const std::string picture = beside.string() + "Gt.bmp"; fs::exists(picture))
        map_file = picture;
    }
  }
  if (cube.values.numel() == 0) fail(path, "an image of shape ", cube.values.shape());
  if (!map_file.empty()) cube.truth = not_zero(load_map(map_file), cube, map_file, "the map");
  find_invalid(cube, ignored, path);
  bool any = false;
  for (int64_t p = 0; p < cube.pixels() && !any; ++p) any = cube.is_valid(p);
  if (!any) fail(path, "no pixel of this image is valid");
  return cube;
}

std::vector<std::string> cube_files(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().string(), ending = lower_ending(path);
    if (ending == ".mat" || ending == ".npy" || ending == ".npz" || ending == ".hdr")
      files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  if (files.empty())
    throw Error(ErrorKind::io, concat(folder, ": no .mat, .npy, .npz or ENVI .hdr file here"));
  return files;
}

Cube synthetic_cube(const SyntheticCubeOptions& o, const Rng& rng) {
  Rng numbers = rng;
  const auto spectrum = [&] {  // positive and smooth: a few broad humps on a slope
    std::vector<double> s(static_cast<size_t>(o.bands), 0.4 + 0.4 * numbers.uniform());
    for (int hump = 0; hump < 4; ++hump) {
      const double centre = numbers.uniform(), width = 0.05 + 0.2 * numbers.uniform(),
                   height = numbers.uniform() - 0.4;
      for (size_t b = 0; b < s.size(); ++b) {
        const double t = (static_cast<double>(b) / static_cast<double>(o.bands) - centre) / width;
        s[b] += height * std::exp(-t * t);
      }
    }
    for (double& v : s) v = std::max(v, 0.02);
    return s;
  };
  std::vector<std::vector<double>> materials;
  materials.reserve(static_cast<size_t>(o.materials));
  for (int64_t m = 0; m < o.materials; ++m) materials.push_back(spectrum());
  const std::vector<double> target = spectrum();
  // softmax of one smooth wave per material says how much of it a pixel has
  struct Wave {
    double down, across, phase;
  };
  std::vector<Wave> waves;
  waves.reserve(static_cast<size_t>(o.materials));
  for (int64_t m = 0; m < o.materials; ++m)
    waves.push_back({6 * numbers.uniform(), 6 * numbers.uniform(), 6.3 * numbers.uniform()});

  Cube cube;
  cube.name = "synthetic scene";
  cube.values = Tensor::empty({o.rows, o.columns, o.bands}, DType::f32, Device::cpu());
  cube.truth = Tensor::zeros({o.rows, o.columns}, DType::bool_, Device::cpu());
  auto* const truth = static_cast<uint8_t*>(cube.truth.data());
  for (int64_t t = 0; t < o.targets; ++t) {
    const auto size = 1 + static_cast<int64_t>(numbers.below(3));
    const auto row = static_cast<int64_t>(numbers.below(static_cast<uint64_t>(o.rows - size))),
               column =
                   static_cast<int64_t>(numbers.below(static_cast<uint64_t>(o.columns - size)));
    for (int64_t r = row; r < row + size; ++r)
      std::fill_n(truth + r * o.columns + column, size, uint8_t{1});
  }
  const auto values = cube.values.host_mutable<float>();
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t c = 0; c < o.columns; ++c) {
      std::vector<double> share;
      double sum = 0;
      for (const Wave& w : waves) {
        share.push_back(std::exp(
            3 * std::sin(w.down * static_cast<double>(r) / static_cast<double>(o.rows) +
                         w.across * static_cast<double>(c) / static_cast<double>(o.columns) +
                         w.phase)));
        sum += share.back();
      }
      const double light = 0.9 + 0.2 * numbers.uniform();
      const bool anomaly = truth[r * o.columns + c] != 0;
      for (int64_t b = 0; b < o.bands; ++b) {
        const auto at = static_cast<size_t>(b);
        double v = 0;
        for (size_t m = 0; m < materials.size(); ++m) v += share[m] / sum * materials[m][at];
        if (anomaly) v += o.contrast * (target[at] - v);
        v *= light;
        values[static_cast<size_t>((r * o.columns + c) * o.bands + b)] =
            static_cast<float>(v + o.noise * std::sqrt(v) * normal(numbers));
      }
    }
  for (int64_t b = 0; b < o.bands; ++b)
    cube.wavelengths.push_back(400 + 2000 * static_cast<double>(b) / static_cast<double>(o.bands));
  return cube;
}

std::vector<int64_t> constant_bands(const Cube& cube) {
  const auto bands = static_cast<size_t>(cube.bands());
  std::vector<double> least(bands, std::numeric_limits<double>::infinity()),
      greatest(bands, -std::numeric_limits<double>::infinity());
  for_numbers(cube.values, cube.name, [&](const auto& values) {
    for (int64_t p = 0; p < cube.pixels(); ++p) {
      if (!cube.is_valid(p)) continue;
      for (size_t b = 0; b < bands; ++b) {
        const auto v = static_cast<double>(values[static_cast<size_t>(p) * bands + b]);
        least[b] = std::min(least[b], v);
        greatest[b] = std::max(greatest[b], v);
      }
    }
  });
  std::vector<int64_t> constant;
  for (size_t b = 0; b < bands; ++b)
    if (!(greatest[b] > least[b])) constant.push_back(static_cast<int64_t>(b));
  return constant;
}

}  // namespace tessera::models
