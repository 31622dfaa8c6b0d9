#pragma once

#include <bit>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tessera/runtime/io/elements.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// How an ENVI data file orders its numbers, slowest first.
enum class Interleave : uint8_t {
  bsq,  // band, line, sample
  bil,  // line, band, sample
  bip,  // line, sample, band
};
std::string_view to_string(Interleave interleave);

/// The text header of an ENVI raster. Wavelengths and bad bands are empty where the header has
/// none.
struct EnviHeader {
  int64_t lines = 0, samples = 0, bands = 0;
  StoredType type = StoredType::f32;
  Interleave interleave = Interleave::bsq;
  std::endian byte_order = std::endian::little;
  uint64_t header_offset = 0;  // bytes of the data file before the numbers

  std::vector<double> wavelengths{};  // [bands]
  std::string wavelength_units{};
  std::vector<double> fwhm{};            // [bands], in the units of wavelengths
  std::vector<bool> good_bands{};        // [bands], `bbl`
  std::vector<int64_t> default_bands{};  // for red, green, blue; counted from 1
  std::optional<double> ignore_value{};  // `data ignore value`: what stands for no data
  std::optional<double> scale_factor{};  // `reflectance scale factor`
  /// Every other key with its value as it stands there, braces included, in the order of the file.
  std::vector<std::pair<std::string, std::string>> other{};
};

/// Throws an `io` Error naming `name`, the line and the key.
EnviHeader parse_envi_header(std::string_view text, std::string_view name);
/// The header as a file holds it.
std::string to_string(const EnviHeader& header);

struct EnviImage {
  EnviHeader header;
  Tensor
      values;  // [lines, samples, bands], contiguous, on the CPU; types widen as StoredType tells
};

/// The numbers of a data file that the header describes.
Tensor parse_envi_values(const EnviHeader& header, std::span<const std::byte> bytes,
                         std::string_view name);

/// `path` is the header (NAME.hdr, whose data file is NAME without an ending, with one of .img,
/// .dat, .raw, .sli, .hyspex, .bsq, .bil, .bip, or, of NAME.img.hdr, NAME.img) or the data file
/// (whose header is PATH.hdr or has .hdr in place of the ending). Throws an `io` Error naming the
/// files that were looked for, and the file and field that are wrong.
EnviImage load_envi(const std::string& path);

/// Writes PATH.hdr and the data file PATH, each all or nothing, the data first. values [lines,
/// samples, bands] of any strides and device. Of `header`, sizes are those of `values`; `type` must
/// hold every value, of floating values a floating type. PATH may not end in .hdr.
void save_envi(const std::string& path, const Tensor& values, EnviHeader header);

}  // namespace tessera
