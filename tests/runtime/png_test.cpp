#include "tessera/runtime/io/png.hpp"

#include <gtest/gtest.h>

#include "tessera/runtime/io/byte_source.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
using test::TemporaryFolder;

struct Decoded {
  uint32_t width, height;
  int channels;
  std::vector<uint8_t> pixels;
};

// A decoder of its own for 8-bit grey and RGB files without interlacing.
Decoded decode(const std::vector<std::byte>& file) {
  MemorySource in(file, "png");
  in.skip(8, "signature");
  Decoded out{};
  std::vector<std::byte> compressed;
  for (std::string type; type != "IEND";) {
    const auto length = in.read_integer<uint32_t>(std::endian::big, "length");
    type.resize(4);
    in.read(type.data(), 4, "type");
    std::vector<std::byte> data(length);
    in.read(data.data(), length, "data");
    in.skip(4, "crc");
    MemorySource fields(data, type);
    if (type == "IHDR") {
      out.width = fields.read_integer<uint32_t>(std::endian::big, "width");
      out.height = fields.read_integer<uint32_t>(std::endian::big, "height");
      EXPECT_EQ(fields.read_integer<uint8_t>(std::endian::big, "depth"), 8);
      out.channels = fields.read_integer<uint8_t>(std::endian::big, "color") == 2 ? 3 : 1;
    }
    if (type == "IDAT") compressed.insert(compressed.end(), data.begin(), data.end());
  }
  in.expect_end("IEND");
  const std::span deflated =
      std::span(compressed).subspan(2, compressed.size() - 6);  // zlib's head and sum
  InflateSource rows(deflated, InflateSource::Format::deflate, "IDAT");
  const size_t stride = out.width * static_cast<size_t>(out.channels),
               step = static_cast<size_t>(out.channels);
  std::vector<uint8_t> above(stride), row(stride);
  for (uint32_t y = 0; y < out.height; ++y) {
    const int filter = rows.read_integer<uint8_t>(std::endian::big, "filter");
    rows.read(row.data(), stride, "row");
    for (size_t i = 0; i < stride; ++i) {
      const int a = i >= step ? row[i - step] : 0, b = above[i],
                c = i >= step ? above[i - step] : 0;
      const int pa = std::abs(b - c), pb = std::abs(a - c), pc = std::abs(a + b - 2 * c);
      const int paeth = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
      const int predicted[] = {0, a, b, (a + b) / 2, paeth};
      row[i] = static_cast<uint8_t>(row[i] + predicted[filter]);
    }
    out.pixels.insert(out.pixels.end(), row.begin(), row.end());
    above = row;
  }
  return out;
}

Tensor picture(const Shape& shape) {
  Tensor t = Tensor::empty(shape, DType::u8, Device::cpu());
  int i = 0;
  for (uint8_t& value : t.host_mutable<uint8_t>())
    value = static_cast<uint8_t>(i * i / 7 + 3 * i), ++i;
  return t;
}

// A file of one deflate block that is not compressed, with rows that are not filtered.
std::string encode(uint32_t height, uint32_t width, int depth, int colour,
                   const std::string& rows) {
  const auto big = [](uint32_t v) {
    return std::string{char(v >> 24), char(v >> 16), char(v >> 8), char(v)};
  };
  const auto chunk = [&](const std::string& type, const std::string& data) {
    uint32_t crc = 0xFFFFFFFF;
    for (const char c : type + data) {
      crc ^= static_cast<unsigned char>(c);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return big(static_cast<uint32_t>(data.size())) + type + data + big(~crc);
  };
  const size_t stride = rows.size() / height;
  std::string raw;
  for (size_t r = 0; r < height; ++r) raw += '\0' + rows.substr(r * stride, stride);
  uint32_t a = 1, b = 0;
  for (const char c : raw) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  const auto n = static_cast<uint16_t>(raw.size()), inverse = static_cast<uint16_t>(~n);
  const std::string block{1, char(n), char(n >> 8), char(inverse), char(inverse >> 8)};
  return "\x89PNG\r\n\x1a\n" +
         chunk("IHDR", big(width) + big(height) + std::string{char(depth), char(colour), 0, 0, 0}) +
         chunk("IDAT", "\x78\x01" + block + raw + big(b << 16 | a)) + chunk("IEND", "");
}

std::vector<uint8_t> decoded(const std::string& file, const Shape& shape) {
  const Tensor t = parse_png(std::as_bytes(std::span(file)), "p.png");
  EXPECT_EQ(t.shape(), shape);
  return t.values<uint8_t>();
}

TEST(Png, ReadsEveryKind) {
  if (!png_available()) GTEST_SKIP() << "this build has no libpng";
  using Bytes = std::vector<uint8_t>;
  EXPECT_EQ(decoded(encode(2, 2, 8, 0, "\1\2\3\4"), {2, 2}), (Bytes{1, 2, 3, 4}));
  EXPECT_EQ(decoded(encode(1, 2, 8, 2, "abcdef"), {1, 2, 3}),
            (Bytes{'a', 'b', 'c', 'd', 'e', 'f'}));
  // one bit: 101 in the upper bits
  EXPECT_EQ(decoded(encode(1, 3, 1, 0, "\xa0"), {1, 3}), (Bytes{255, 0, 255}));
  // a clear pixel is white, an opaque one keeps its colour
  EXPECT_EQ(decoded(encode(1, 2, 8, 6, std::string("abc\0def\xff", 8)), {1, 2, 3}),
            (Bytes{255, 255, 255, 'd', 'e', 'f'}));
}

TEST(Png, RefusesWhatIsNoPicture) {
  if (!png_available()) GTEST_SKIP() << "this build has no libpng";
  const TemporaryFolder folder;
  const auto read = [&](const std::string& bytes) {
    test::write_bytes(folder / "p.png", bytes);
    load_png(folder / "p.png");
  };
  const std::string good = encode(2, 2, 8, 0, "abcd");
  expect_error([&] { load_png(folder / "none.png"); }, {"none.png"});
  expect_error([&] { read("GIF89a"); }, {"p.png", "libpng"});
  expect_error([&] { read(good.substr(0, good.size() - 30)); }, {"p.png", "libpng"});
  std::string damaged = good;
  damaged[20] = 7;  // a height that its checksum does not know
  expect_error([&] { read(damaged); }, {"p.png", "libpng"});
  expect_error([&] { read(encode(1 << 19, 1 << 19, 8, 0, std::string(1 << 19, 'a'))); },
               {"p.png", "524288 x 524288 pixels cannot be in a file"});
}

TEST(Png, PixelsComeBack) {
  if (!png_available()) GTEST_SKIP() << "this build has no libpng";
  const TemporaryFolder folder;
  for (const Shape& shape : {Shape{1, 1}, Shape{5, 7}, Shape{64, 33}, Shape{1, 1, 3},
                             Shape{6, 5, 3}, Shape{40, 50, 3}}) {
    const Tensor image = picture(shape);
    save_png(folder / "p.png", image);
    const Decoded decoded = decode(test::read_bytes(folder / "p.png"));
    EXPECT_EQ(decoded.height, shape[0]);
    EXPECT_EQ(decoded.width, shape[1]);
    EXPECT_EQ(decoded.channels, shape.rank() == 2 ? 1 : 3);
    EXPECT_EQ(decoded.pixels, image.values<uint8_t>()) << shape.rank();
    const Tensor loaded = load_png(folder / "p.png");
    EXPECT_EQ(loaded.shape(), image.shape());
    EXPECT_EQ(loaded.values<uint8_t>(), image.values<uint8_t>());
  }
  const Tensor planes = picture({3, 4, 5});  // channels first, seen as channels last
  save_png(folder / "p.png", planes.permute({1, 2, 0}));
  EXPECT_EQ(decode(test::read_bytes(folder / "p.png")).pixels,
            planes.permute({1, 2, 0}).values<uint8_t>());
}

TEST(Png, NamesWhatIsWrong) {
  if (!png_available()) {
    expect_error(
        [] {
          save_png("p.png", picture({2, 2}));
        },
        {"p.png", "libpng-dev"}, ErrorKind::unsupported);
    return;
  }
  const ErrorKind kind = ErrorKind::invalid_argument;
  expect_error([] { save_png("p.png", picture({2, 2, 4})); }, {"p.png", "[2, 2, 4]"}, kind);
  expect_error([] { save_png("p.png", picture({0, 2})); }, {"p.png", "[0, 2]"}, kind);
  expect_error(
      [] {
        save_png("p.png", Tensor::zeros({2, 2}, DType::f32, Device::cpu()));
      },
      {"u8", "f32"}, kind);
  expect_error(
      [] {
        save_png("/no/such/p.png", picture({2, 2}));
      },
      {"/no/such/p.png", "No such file"});
}

}  // namespace
}  // namespace tessera
