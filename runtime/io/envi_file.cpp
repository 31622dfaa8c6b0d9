// The data files of ENVI rasters, whole and in parts; envi.cpp has their headers.
#include <filesystem>

#include "tessera/runtime/io/envi.hpp"

namespace tessera {
namespace {

namespace fs = std::filesystem;

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string first_file(const std::vector<std::string>& candidates, std::string_view what,
                       const std::string& of) {
  std::string names;
  for (const std::string& path : candidates) {
    if (is_file(path)) return path;
    names += (names.empty() ? "" : ", ") + path;
  }
  throw Error(ErrorKind::io, concat(of, ": no ", what, "; looked for ", names));
}

std::string without_ending(const std::string& path) {
  return fs::path(path).replace_extension().string();
}

/// How the numbers of some lines lie in the file, and how axes go back to lines, samples, bands.
struct StoredLines {
  Shape shape;
  Axes back{0, 0, 0};
  StoredLines(const EnviHeader& h, int64_t lines) {
    const Shape image{lines, h.samples, h.bands};
    const Axes order = file_order(h.interleave);
    for (int i = 0; i < 3; ++i) {
      shape.push_back(image[order[i]]);
      back[order[i]] = i;
    }
  }
};

/// The data file from its first number on; throws when the header promises more than there is.
std::span<const std::byte> numbers_of(const EnviHeader& h, std::span<const std::byte> bytes,
                                      std::string_view name) {
  MemorySource source(bytes, std::string(name));
  source.skip(h.header_offset, "the header offset");
  const uint64_t needed = byte_count(source, StoredLines(h, h.lines).shape, h.type);
  if (source.remaining_at_most() < needed)
    source.fail("the header says ", h.lines, " lines x ", h.samples, " samples x ", h.bands,
                " bands of ", h.type, ", ", needed, " bytes; there are ",
                source.remaining_at_most());
  return bytes.subspan(h.header_offset, needed);
}

}  // namespace

Tensor parse_envi_values(const EnviHeader& h, std::span<const std::byte> bytes,
                         std::string_view name) {
  MemorySource source(numbers_of(h, bytes, name), std::string(name), h.header_offset);
  const StoredLines stored(h, h.lines);
  return read_elements(source, stored.shape, h.type, h.byte_order, "the image")
      .permute(stored.back)
      .clone();
}

EnviFile::EnviFile(const std::string& path) {
  const std::string ending = fs::path(path).extension().string();
  std::string header_path;
  if (ending == ".hdr" || ending == ".HDR") {
    header_path = path;
    const std::string stem = without_ending(path);
    std::vector<std::string> candidates{stem};
    for (const char* known : {".img", ".dat", ".raw", ".sli", ".hyspex", ".bsq", ".bil", ".bip"})
      candidates.push_back(stem + known);
    data_path_ = first_file(candidates, "data file of this header", path);
  } else {
    data_path_ = path;
    header_path = first_file({path + ".hdr", without_ending(path) + ".hdr"},
                             "ENVI header of this file", path);
  }
  const auto text = MappedFile::open(header_path);
  const std::span<const std::byte> content = text->bytes();
  header_ = parse_envi_header({reinterpret_cast<const char*>(content.data()), content.size()},
                              header_path);
  data_ = MappedFile::open(data_path_);
  numbers_of(header_, data_->bytes(), data_path_);
}

Tensor EnviFile::lines(int64_t first, int64_t count) const {
  const EnviHeader& h = header_;
  TS_CHECK(first >= 0 && count >= 0 && count <= h.lines - first, data_path_, ": no lines ", first,
           " to ", first + count, " among ", h.lines);
  const std::span<const std::byte> numbers = numbers_of(h, data_->bytes(), data_path_);
  const auto read = [&](int64_t element, const Shape& shape) {
    const uint64_t at = static_cast<uint64_t>(element) * size_of(h.type);
    MemorySource source(numbers.subspan(at), data_path_, h.header_offset + at);
    return read_elements(source, shape, h.type, h.byte_order, "the lines");
  };
  const StoredLines stored(h, count);
  if (h.interleave != Interleave::bsq)
    return read(first * h.samples * h.bands, stored.shape).permute(stored.back);
  Tensor bands = Tensor::empty(stored.shape, dtype_of_stored(h.type), Device::cpu());
  for (int64_t b = 0; b < h.bands; ++b)
    bands.select(0, b).copy_from(read((b * h.lines + first) * h.samples, {count, h.samples}));
  return bands.permute(stored.back);
}

Tensor EnviFile::all() const { return parse_envi_values(header_, data_->bytes(), data_path_); }

EnviImage load_envi(const std::string& path) {
  const EnviFile file(path);
  return {file.header(), file.all()};
}

}  // namespace tessera
