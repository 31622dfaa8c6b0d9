#include "tessera/runtime/io/envi.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <unordered_set>

#include "tessera/runtime/io/atomic_file.hpp"
#include "tessera/runtime/io/mapped_file.hpp"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view interleave_names[] = {"bsq", "bil", "bip"};

struct TypeCode {
  int code;
  StoredType type;
};
constexpr TypeCode type_codes[] = {
    {1, StoredType::u8},   {2, StoredType::i16},  {3, StoredType::i32},
    {4, StoredType::f32},  {5, StoredType::f64},  {12, StoredType::u16},
    {13, StoredType::u32}, {14, StoredType::i64}, {15, StoredType::u64}};

int code_of(StoredType type) {
  for (const TypeCode& t : type_codes)
    if (t.type == type) return t.code;
  throw Error(ErrorKind::unsupported, concat("save_envi: ENVI has no type for ", type));
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const size_t begin = text.find_first_not_of(space);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// The fields of a header, one after another: "key = value", where a value in braces may go on over
/// lines, and lines that begin with ';' are remarks.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view name) : rest_(text), name_(name) {}

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw Error(ErrorKind::io, concat(name_, ", line ", line_, ": ", parts...));
  }

  void expect_magic() {
    const std::string_view first = trimmed(next_line());
    if (!first.starts_with("ENVI"))
      fail("this is no ENVI header: its first line is not 'ENVI'",
           first.find('=') == first.npos && first.find(' ') != first.npos
               ? "; an ESRI header (BIL) has this form, which is not read"
               : "");
  }

  /// False at the end.
  bool next(std::string& key, std::string& value) {
    while (!rest_.empty()) {
      const std::string_view line = next_line();
      const std::string_view text = trimmed(line);
      if (text.empty() || text.starts_with(';')) continue;
      const size_t sign = text.find('=');
      if (sign == text.npos) fail("expected 'key = value', found '", text.substr(0, 40), "'");
      key = lower(trimmed(text.substr(0, sign)));
      if (key.empty()) fail("no key before '='");
      value = trimmed(text.substr(sign + 1));
      const int64_t first_line = line_;
      if (value.starts_with('{'))
        for (bool open = value.find('}') == value.npos; open;) {
          if (rest_.empty()) {
            line_ = first_line;
            fail("the braces of '", key, "' do not close");
          }
          const std::string_view more = next_line();
          open = more.find('}') == more.npos;
          value.append("\n").append(more);
        }
      value = trimmed(value);
      return true;
    }
    return false;
  }

  int64_t whole(std::string_view key, std::string_view text, int64_t low, int64_t high) const {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low || value > high)
      fail("'", key, "' is '", text.substr(0, 40), "', expected a whole number from ", low, " to ",
           high);
    return value;
  }
  double number(std::string_view key, std::string_view text) const {
    double value = 0;
    if (text.starts_with('+')) text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      fail("'", key, "' holds '", text.substr(0, 40), "', expected a number");
    return value;
  }
  std::vector<std::string> list(std::string_view key, std::string_view text) const {
    if (!text.starts_with('{') || !text.ends_with('}'))
      fail("'", key, "' must be a list in braces, is '", text.substr(0, 40), "'");
    text = text.substr(1, text.size() - 2);
    std::vector<std::string> items;
    while (true) {
      const size_t comma = std::min(text.find(','), text.size());
      items.emplace_back(trimmed(text.substr(0, comma)));
      if (comma == text.size()) break;
      text.remove_prefix(comma + 1);
    }
    if (items.back().empty()) items.pop_back();  // a comma at the end
    return items;
  }
  std::vector<double> numbers(std::string_view key, std::string_view text) const {
    std::vector<double> values;
    for (const std::string& item : list(key, text)) values.push_back(number(key, item));
    return values;
  }

 private:
  std::string_view next_line() {
    ++line_;
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    return line;
  }

  std::string_view rest_, name_;
  int64_t line_ = 0;
};

StoredType type_of_code(const HeaderParser& parser, int64_t code) {
  if (code == 6 || code == 9) parser.fail("data type ", code, " (complex) is not supported");
  for (const TypeCode& t : type_codes)
    if (t.code == code) return t.type;
  parser.fail("data type ", code, " is none of 1, 2, 3, 4, 5, 12, 13, 14, 15");
}

/// [lines, samples, bands] as the file orders them.
Axes file_order(Interleave interleave) {
  switch (interleave) {
    case Interleave::bsq:
      return {2, 0, 1};
    case Interleave::bil:
      return {0, 2, 1};
    case Interleave::bip:
      return {0, 1, 2};
  }
  return {0, 1, 2};
}

std::string shortest(double value) {
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

template <class T, class Text>
std::string braces(const std::vector<T>& values, Text&& text) {
  std::string out = "{";
  for (size_t i = 0; i < values.size(); ++i)
    out += (i == 0 ? "" : i % 8 == 0 ? ",\n " : ", ") + text(values[i]);
  return out + "}";
}

/// `values` as elements of `type`, appended to `out` in the given byte order.
template <class From, class To>
void encode(const Tensor& values, std::endian order, std::string& out) {
  for (const From value : values.host<From>()) {
    To element;
    if constexpr (std::is_floating_point_v<To>) {
      element = static_cast<To>(value);
    } else {
      if constexpr (std::is_floating_point_v<From>) {
        throw Error(ErrorKind::invalid_argument,
                    concat("save_envi: values of ", values.dtype(), " as whole numbers"));
      } else {
        if (!std::in_range<To>(value))
          throw Error(ErrorKind::invalid_argument, concat("save_envi: the value ", +value,
                                                          " does not fit the type of the file"));
        element = static_cast<To>(value);
      }
    }
    std::array<char, sizeof(To)> bytes;
    std::memcpy(bytes.data(), &element, sizeof element);
    if (order != std::endian::native) std::reverse(bytes.begin(), bytes.end());
    out.append(bytes.data(), bytes.size());
  }
}

template <class Body>
void for_values(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f64:
      return body.template operator()<double>();
    case DType::f32:
      return body.template operator()<float>();
    case DType::i64:
      return body.template operator()<int64_t>();
    case DType::i32:
      return body.template operator()<int32_t>();
    case DType::u8:
      return body.template operator()<uint8_t>();
    case DType::i16:
      return body.template operator()<int16_t>();
    case DType::u16:
      return body.template operator()<uint16_t>();
    default:
      unsupported_dtype("save_envi", dtype);
  }
}
template <class Body>
void for_stored(StoredType type, Body&& body) {
  switch (type) {
    case StoredType::u8:
      return body.template operator()<uint8_t>();
    case StoredType::i16:
      return body.template operator()<int16_t>();
    case StoredType::i32:
      return body.template operator()<int32_t>();
    case StoredType::f32:
      return body.template operator()<float>();
    case StoredType::f64:
      return body.template operator()<double>();
    case StoredType::u16:
      return body.template operator()<uint16_t>();
    case StoredType::u32:
      return body.template operator()<uint32_t>();
    case StoredType::i64:
      return body.template operator()<int64_t>();
    case StoredType::u64:
      return body.template operator()<uint64_t>();
    default:
      code_of(type);
  }
}

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

}  // namespace

std::string_view to_string(Interleave interleave) {
  return interleave_names[static_cast<size_t>(interleave)];
}

EnviHeader parse_envi_header(std::string_view text, std::string_view name) {
  HeaderParser parser(text, name);
  parser.expect_magic();
  EnviHeader header;
  bool has_type = false, has_interleave = false, has_order = false;
  constexpr int64_t most = int64_t{1} << 40;
  std::string key, value;
  std::unordered_set<std::string> seen;
  while (parser.next(key, value)) {
    if (!seen.insert(key).second) parser.fail("the key '", key, "' comes twice");
    if (key == "lines") {
      header.lines = parser.whole(key, value, 1, most);
    } else if (key == "samples") {
      header.samples = parser.whole(key, value, 1, most);
    } else if (key == "bands") {
      header.bands = parser.whole(key, value, 1, most);
    } else if (key == "header offset") {
      header.header_offset = static_cast<uint64_t>(parser.whole(key, value, 0, most));
    } else if (key == "data type") {
      header.type = type_of_code(parser, parser.whole(key, value, 1, 99));
      has_type = true;
    } else if (key == "interleave") {
      const auto* found =
          std::find(std::begin(interleave_names), std::end(interleave_names), lower(value));
      if (found == std::end(interleave_names))
        parser.fail("interleave '", value.substr(0, 40), "' is none of bsq, bil, bip");
      header.interleave = static_cast<Interleave>(found - std::begin(interleave_names));
      has_interleave = true;
    } else if (key == "byte order") {
      header.byte_order =
          parser.whole(key, value, 0, 1) == 0 ? std::endian::little : std::endian::big;
      has_order = true;
    } else if (key == "major frame offsets" || key == "minor frame offsets") {
      for (const double offset : parser.numbers(key, value))
        if (offset != 0) parser.fail("'", key, "' other than 0 are not supported");
    } else if (key == "wavelength") {
      header.wavelengths = parser.numbers(key, value);
    } else if (key == "wavelength units") {
      header.wavelength_units = value;
    } else if (key == "fwhm") {
      header.fwhm = parser.numbers(key, value);
    } else if (key == "bbl") {
      for (const double good : parser.numbers(key, value)) header.good_bands.push_back(good != 0);
    } else if (key == "default bands") {
      for (const double band : parser.numbers(key, value)) {
        if (!(band >= 0 && band <= 1e12)) parser.fail("'default bands' holds ", band);
        header.default_bands.push_back(static_cast<int64_t>(band));
      }
    } else if (key == "data ignore value") {
      header.ignore_value = parser.number(key, value);
    } else if (key == "reflectance scale factor") {
      header.scale_factor = parser.number(key, value);
    } else {
      header.other.emplace_back(key, value);
    }
  }
  const auto need = [&](bool there, std::string_view field) {
    if (!there) throw Error(ErrorKind::io, concat(name, ": no '", field, "' in this ENVI header"));
  };
  need(header.samples > 0, "samples");
  need(header.lines > 0, "lines");
  need(header.bands > 0, "bands");
  need(has_type, "data type");
  need(has_interleave || header.bands == 1, "interleave");
  need(has_order || size_of(header.type) == 1, "byte order");
  const auto fits = [&](size_t count, std::string_view field) {
    if (count != 0 && count != static_cast<size_t>(header.bands))
      throw Error(ErrorKind::io, concat(name, ": '", field, "' has ", count, " entries for ",
                                        header.bands, " bands"));
  };
  fits(header.wavelengths.size(), "wavelength");
  fits(header.fwhm.size(), "fwhm");
  fits(header.good_bands.size(), "bbl");
  return header;
}

std::string to_string(const EnviHeader& h) {
  std::string out = concat("ENVI\nsamples = ", h.samples, "\nlines = ", h.lines,
                           "\nbands = ", h.bands, "\nheader offset = ", h.header_offset,
                           "\nfile type = ENVI Standard\ndata type = ", code_of(h.type),
                           "\ninterleave = ", h.interleave,
                           "\nbyte order = ", h.byte_order == std::endian::big ? 1 : 0, "\n");
  const auto add = [&](std::string_view key, const std::string& value) {
    out += concat(key, " = ", value, "\n");
  };
  if (!h.wavelength_units.empty()) add("wavelength units", h.wavelength_units);
  if (!h.wavelengths.empty()) add("wavelength", braces(h.wavelengths, shortest));
  if (!h.fwhm.empty()) add("fwhm", braces(h.fwhm, shortest));
  if (!h.good_bands.empty())
    add("bbl", braces(h.good_bands, [](bool good) { return std::string(good ? "1" : "0"); }));
  if (!h.default_bands.empty())
    add("default bands", braces(h.default_bands, [](int64_t b) { return std::to_string(b); }));
  if (h.ignore_value) add("data ignore value", shortest(*h.ignore_value));
  if (h.scale_factor) add("reflectance scale factor", shortest(*h.scale_factor));
  for (const auto& [key, value] : h.other)
    if (key != "file type") add(key, value);
  return out;
}

Tensor parse_envi_values(const EnviHeader& h, std::span<const std::byte> bytes,
                         std::string_view name) {
  MemorySource source(bytes, std::string(name));
  source.skip(h.header_offset, "the header offset");
  const Shape image{h.lines, h.samples, h.bands};
  const Axes order = file_order(h.interleave);
  Shape stored;
  Axes back{0, 0, 0};
  for (int i = 0; i < 3; ++i) {
    stored.push_back(image[order[i]]);
    back[order[i]] = i;
  }
  const uint64_t needed = byte_count(source, stored, h.type);
  if (source.remaining_at_most() < needed)
    source.fail("the header says ", h.lines, " lines x ", h.samples, " samples x ", h.bands,
                " bands of ", h.type, ", ", needed, " bytes; there are ",
                source.remaining_at_most());
  return read_elements(source, stored, h.type, h.byte_order, "the image").permute(back).clone();
}

EnviImage load_envi(const std::string& path) {
  const std::string ending = lower(fs::path(path).extension().string());
  std::string header_path, data_path;
  if (ending == ".hdr") {
    header_path = path;
    const std::string stem = without_ending(path);
    std::vector<std::string> candidates{stem};
    for (const char* known : {".img", ".dat", ".raw", ".sli", ".hyspex", ".bsq", ".bil", ".bip"})
      candidates.push_back(stem + known);
    data_path = first_file(candidates, "data file of this header", path);
  } else {
    data_path = path;
    header_path = first_file({path + ".hdr", without_ending(path) + ".hdr"},
                             "ENVI header of this file", path);
  }
  const auto text = MappedFile::open(header_path);
  const std::span<const std::byte> content = text->bytes();
  EnviImage image;
  image.header = parse_envi_header({reinterpret_cast<const char*>(content.data()), content.size()},
                                   header_path);
  image.values = parse_envi_values(image.header, MappedFile::open(data_path)->bytes(), data_path);
  return image;
}

void save_envi(const std::string& path, const Tensor& values, EnviHeader header) {
  TS_CHECK(values.rank() == 3 && values.numel() > 0, "save_envi: ", path,
           ": values must be [lines, samples, bands], are ", values);
  TS_CHECK(lower(fs::path(path).extension().string()) != ".hdr", "save_envi: ", path,
           " is the name of a header; expected that of the data file");
  header.lines = values.size(0);
  header.samples = values.size(1);
  header.bands = values.size(2);
  header.header_offset = 0;
  const Tensor ordered = values.to(Device::cpu()).permute(file_order(header.interleave)).clone();
  std::string data;
  data.reserve(static_cast<size_t>(values.numel()) * size_of(header.type));
  for_values(ordered.dtype(), [&]<class From>() {
    for_stored(header.type,
               [&]<class To>() { encode<From, To>(ordered, header.byte_order, data); });
  });
  const std::string text = to_string(header);
  parse_envi_header(text, path + ".hdr");  // lists of other lengths, keys with '=' in them, ...
  write_file(path, data);
  write_file(path + ".hdr", text);
}

}  // namespace tessera
