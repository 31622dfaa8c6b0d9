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
