#include "tessera/runtime/io/envi.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "tessera/runtime/io/bmp.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
using test::TemporaryFolder;
using test::to_doubles;

constexpr StoredType types[] = {StoredType::u8,  StoredType::i16, StoredType::i32,
                                StoredType::f32, StoredType::f64, StoredType::u16,
                                StoredType::u32, StoredType::i64, StoredType::u64};

/// 2 lines, 3 samples, 4 bands of 0, 1, ... 23.
std::vector<double> counting() {
  std::vector<double> values;
  for (int i = 0; i < 24; ++i) values.push_back(i);
  return values;
}

// The byte of every (line, sample, band), by the format's own words.
TEST(Envi, OrdersOfNumbers) {
  struct Order {
    Interleave interleave;
    int64_t line, sample, band;  // strides
  };
  std::string bytes;
  for (int i = 0; i < 24; ++i) bytes += static_cast<char>(i);
  for (const auto& [interleave, line, sample, band] : {Order{Interleave::bsq, 3, 1, 6},
                                                       {Interleave::bil, 12, 1, 3},
                                                       {Interleave::bip, 12, 4, 1}}) {
    EnviHeader header{.lines = 2, .samples = 3, .bands = 4, .type = StoredType::u8};
    header.interleave = interleave;
    const std::vector<double> values =
        to_doubles(parse_envi_values(header, std::as_bytes(std::span(bytes)), "x"));
    for (int64_t l = 0; l < 2; ++l)
      for (int64_t s = 0; s < 3; ++s)
        for (int64_t b = 0; b < 4; ++b)
          EXPECT_EQ(values[static_cast<size_t>((l * 3 + s) * 4 + b)],
                    static_cast<double>(l * line + s * sample + b * band))
              << to_string(interleave);
  }
}

TEST(Envi, WritesAndReadsEveryForm) {
  const TemporaryFolder folder;
  const Tensor values = test::from_doubles(counting(), {2, 3, 4}, DType::i32),
               floats = test::from_doubles(counting(), {2, 3, 4}, DType::f32);
  for (const StoredType type : types)
    for (const Interleave interleave : {Interleave::bsq, Interleave::bil, Interleave::bip})
      for (const std::endian order : {std::endian::little, std::endian::big}) {
        EnviHeader header;
        header.type = type;
        header.interleave = interleave;
        header.byte_order = order;
        header.wavelengths = {400.5, 500, 600, 1e3 / 3};
        header.wavelength_units = "Nanometers";
        header.good_bands = {true, false, true, true};
        header.default_bands = {3, 2, 1};
        header.ignore_value = -9999;
        header.scale_factor = 1e4;
        header.other = {{"description", "{two\nlines}"}, {"sensor type", "Unknown"}};
        const bool is_float = type == StoredType::f32 || type == StoredType::f64;
        save_envi(folder / "x.img", is_float ? floats : values, header);
        for (const char* name : {"x.img", "x.img.hdr"}) {
          const EnviImage image = load_envi(folder / name);
          EXPECT_EQ(to_doubles(image.values), counting());
          EXPECT_EQ(image.values.dtype(), dtype_of_stored(type));
          EXPECT_EQ(image.header.wavelengths, header.wavelengths);
          EXPECT_EQ(image.header.wavelength_units, "Nanometers");
          EXPECT_EQ(image.header.good_bands, header.good_bands);
          EXPECT_EQ(image.header.default_bands, header.default_bands);
          EXPECT_EQ(image.header.ignore_value, -9999);
          EXPECT_EQ(image.header.scale_factor, 1e4);
          EXPECT_EQ(image.header.byte_order, order);
          EXPECT_EQ(image.header.other[1], header.other[0]);
        }
      }
  EXPECT_THROW(
      save_envi(folder / "y", values.permute({0, 1, 2}).transpose(0, 2), {.type = StoredType::f16}),
      Error);
  EXPECT_THROW(save_envi(folder / "y", floats, {.type = StoredType::i16}), Error);
  EXPECT_THROW(save_envi(folder / "y", test::from_doubles({-1}, {1, 1, 1}, DType::i32),
                         {.type = StoredType::u16}),
               Error);
  EXPECT_THROW(save_envi(folder / "y", test::from_doubles({70000}, {1, 1, 1}, DType::i32),
                         {.type = StoredType::u16}),
               Error);
  EnviHeader wrong;
  wrong.wavelengths = {1, 2};
  EXPECT_THROW(save_envi(folder / "y", floats, wrong), Error);
  expect_error([&] { save_envi(folder / "y.HDR", floats, {}); }, {"y.HDR", "data file"},
               ErrorKind::invalid_argument);  // nobody could read it
  EXPECT_EQ(folder.names().size(), 2u);       // nothing else was written
}

TEST(Envi, HeadersInTheWild) {
  const EnviHeader h = parse_envi_header(
      "ENVI\r\ndescription = {\r\n  a = b, x\r\n}\r\n; a remark = 5\r\nSamples = 3\r\nLINES   = "
      "2\r\n"
      "bands=1\r\nheader offset = 16\r\ndata type = 12\r\ninterleave = BIL\r\nbyte order = 1\r\n"
      "wavelength = { +400.5 ,\r\n}\r\nbbl = {0}\r\nmajor frame offsets = {0, 0}\r\nmap info = "
      "{UTM, "
      "1}\r\n",
      "x.hdr");
  EXPECT_EQ(h.samples, 3);
  EXPECT_EQ(h.lines, 2);
  EXPECT_EQ(h.bands, 1);
  EXPECT_EQ(h.header_offset, 16u);
  EXPECT_EQ(h.type, StoredType::u16);
  EXPECT_EQ(h.interleave, Interleave::bil);
  EXPECT_EQ(h.byte_order, std::endian::big);
  EXPECT_EQ(h.wavelengths, (std::vector<double>{400.5}));
  EXPECT_EQ(h.good_bands, (std::vector<bool>{false}));
  ASSERT_EQ(h.other.size(), 2u);
  EXPECT_EQ(h.other[1].second, "{UTM, 1}");
  const std::string bytes = std::string(16, 'x') + std::string("\0\1\1\0\0\5\0\0\0\0\1\1", 12);
  EXPECT_EQ(to_doubles(parse_envi_values(h, std::as_bytes(std::span(bytes)), "x")),
            (std::vector<double>{1, 256, 5, 0, 0, 257}));
}

TEST(Envi, NamesWhatIsWrong) {
  const std::string good =
      "ENVI\nsamples = 3\nlines = 2\nbands = 4\ndata type = 1\ninterleave = bsq\n";
  ASSERT_NO_THROW(parse_envi_header(good, "x.hdr"));
  const auto refuses = [](const std::string& text, const std::vector<std::string>& parts) {
    std::vector<std::string> all{"x.hdr"};
    all.insert(all.end(), parts.begin(), parts.end());
    expect_error([&] { parse_envi_header(text, "x.hdr"); }, all);
  };
  refuses("", {"not 'ENVI'"});
  refuses("BYTEORDER I\nNROWS 5\n", {"line 1", "ESRI"});
  refuses("ENVI\nsamples = 3\n", {"no 'lines'"});
  refuses(good + "samples = 3\n", {"line 7", "'samples' comes twice"});
  refuses("ENVI\nsamples = three\n", {"line 2", "'samples'", "'three'", "whole number"});
  refuses("ENVI\nsamples = -3\n", {"line 2", "'samples'"});
  refuses("ENVI\nsamples = 99999999999999999999\n", {"line 2", "'samples'"});
  refuses("ENVI\ndata type = 6\n", {"complex"});
  refuses("ENVI\ndata type = 7\n", {"data type 7"});
  refuses("ENVI\ninterleave = bqs\n", {"'bqs'", "bsq, bil, bip"});
  refuses("ENVI\nbyte order = 2\n", {"'byte order'"});
  refuses("ENVI\nwavelength = {1, 2\nlines = 2\n", {"line 2", "'wavelength' do not close"});
  refuses("ENVI\nsamples 3\n", {"line 2", "key = value"});
  refuses("ENVI\nmajor frame offsets = {0, 1}\n", {"'major frame offsets'"});
  refuses(good + "wavelength = {1, 2}\n", {"'wavelength' has 2 entries for 4 bands"});
  refuses(good + "bbl = {1, x, 1, 1}\n", {"line 7", "'bbl'", "'x'"});
  refuses(good + "fwhm = 5\n", {"'fwhm'", "braces"});
  refuses(good + "default bands = {1, nan, 3}\n", {"line 7", "'default bands'", "nan"});
  refuses("ENVI\nsamples = 3\nlines = 2\nbands = 4\ndata type = 2\ninterleave = bsq\n",
          {"no 'byte order'"});

  const TemporaryFolder folder;
  expect_error([&] { load_envi(folder / "a.hdr"); }, {"a.hdr", "data file", "a.img"});
  test::write_bytes(folder / "a.img", std::string(23, 'x'));
  expect_error([&] { load_envi(folder / "a.img"); }, {"a.img", "header", "a.img.hdr", "a.hdr"});
  test::write_bytes(folder / "a.hdr", good);
  expect_error([&] { load_envi(folder / "a.img"); }, {"a.img", "24 bytes", "there are 23"});
  test::write_bytes(folder / "a.hdr", good + "header offset = 30\n");
  expect_error([&] { load_envi(folder / "a.img"); }, {"a.img", "header offset"});
}

// Time that grows with the square of the size would take hours.
TEST(Envi, LongHeaders) {
  std::string lines(1 << 22, '\n'), keys = "ENVI\n";
  expect_error([&] { parse_envi_header("ENVI\na = {" + lines, "x.hdr"); }, {"'a' do not close"});
  for (int i = 0; i < 200000; ++i) keys += concat("key ", i, " = 1\n");
  expect_error([&] { parse_envi_header(keys + "key 7 = 2\n", "x.hdr"); }, {"'key 7' comes twice"});
}

TEST(Envi, RealScenes) {
  struct Scene {
    const char* name;
    Shape shape;
    double least, greatest;
    const char* map;
    int64_t anomalies;
    double first_wavelength;
  };
  if (test::shared_data("hsi").empty()) GTEST_SKIP() << "the hyperspectral scenes are not here";
  for (const Scene& s : {Scene{"LHData", {100, 100, 186}, 0, 56528, "LHDataGt.bmp", 32, 390.19},
                         {"SDData", {90, 90, 189}, 356, 5857, "SDDataGt.bmp", 77, 429.41}}) {
    const std::string base = test::shared_data("hsi/envi") + "/";
    const EnviImage image = load_envi(base + s.name);
    EXPECT_EQ(image.values.shape(), s.shape);
    const std::vector<double> values = to_doubles(image.values);
    const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
    EXPECT_EQ(*least, s.least);
    EXPECT_EQ(*greatest, s.greatest);
    EXPECT_NEAR(image.header.wavelengths.at(0), s.first_wavelength, 0.006);
    EXPECT_EQ(to_doubles(load_envi(base + s.name + ".hdr").values), values);
    const std::vector<double> map = to_doubles(load_bmp(base + s.map));
    EXPECT_EQ(std::count_if(map.begin(), map.end(), [](double v) { return v != 0; }), s.anomalies);
  }
}

std::string bmp(int32_t width, int32_t height, int bits, const std::string& palette,
                const std::string& pixels) {
  const auto number = [](uint32_t value, size_t bytes) {
    std::string out;
    for (size_t i = 0; i < bytes; ++i) out += i < 4 ? static_cast<char>(value >> (8 * i)) : '\0';
    return out;
  };
  const auto at = static_cast<uint32_t>(54 + palette.size());
  return "BM" + number(0, 8) + number(at, 4) + number(40, 4) +
         number(static_cast<uint32_t>(width), 4) + number(static_cast<uint32_t>(height), 4) +
         number(1, 2) + number(static_cast<uint32_t>(bits), 2) + number(0, 16) +
         number(static_cast<uint32_t>(palette.size() / 4), 4) + number(0, 4) + palette + pixels;
}

TEST(Bmp, RowsFromTheBottom) {
  const auto parse = [](const std::string& content) {
    return parse_bmp(std::as_bytes(std::span(content)), "x.bmp");
  };
  const std::string black_white("\0\0\0\0\xff\xff\xff\0", 8);
  const std::string rows("\x80\0\0\0\x40\0\0\0", 8);  // 100, 010 from the bottom
  const Tensor t = parse(bmp(3, 2, 1, black_white, rows));
  EXPECT_EQ(t.shape(), (Shape{2, 3}));
  EXPECT_EQ(to_doubles(t), (std::vector<double>{0, 255, 0, 255, 0, 0}));
  EXPECT_EQ(to_doubles(parse(bmp(3, -2, 1, black_white, rows))),
            (std::vector<double>{255, 0, 0, 0, 255, 0}));
  const Tensor colours = parse(bmp(1, 1, 24, "", std::string("\1\2\3\0", 4)));
  EXPECT_EQ(colours.shape(), (Shape{1, 1, 3}));
  EXPECT_EQ(to_doubles(colours), (std::vector<double>{3, 2, 1}));
  const std::string palette("\0\0\0\0\1\2\3\0", 8);
  EXPECT_EQ(to_doubles(parse(bmp(2, 1, 8, palette, std::string("\1\0\0\0", 4)))),
            (std::vector<double>{3, 2, 1, 0, 0, 0}));
  const auto refuses = [&](const std::string& content, const std::vector<std::string>& parts) {
    expect_error([&] { parse(content); }, parts);
  };
  refuses("", {"x.bmp"});
  refuses("PK", {"no bitmap"});
  refuses(bmp(3, 2, 4, black_white, rows), {"4 bits"});
  refuses(bmp(0, 2, 1, black_white, rows), {"0 x 2"});
  refuses(bmp(3, INT32_MIN, 1, black_white, rows), {"pixels"});
  refuses(bmp(3, 3, 1, black_white, rows), {"the pixels"});
  refuses(bmp(2, 1, 8, palette, std::string("\2\0\0\0", 4)), {"colour 2 of 2"});
}

}  // namespace
}  // namespace tessera
