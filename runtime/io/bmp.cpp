#include "tessera/runtime/io/bmp.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "tessera/runtime/io/byte_source.hpp"
#include "tessera/runtime/io/mapped_file.hpp"

namespace tessera {
namespace {

constexpr auto little = std::endian::little;
using Colour = std::array<uint8_t, 3>;  // red, green, blue

}  // namespace

Tensor parse_bmp(std::span<const std::byte> bytes, std::string_view name) {
  MemorySource source(bytes, std::string(name));
  if (source.read_integer<uint16_t>(little, "the magic") != 0x4D42)
    source.fail("this is no bitmap: it does not start with 'BM'");
  source.skip(8, "the file header");
  const auto data_at = source.read_integer<uint32_t>(little, "the file header");
  const auto header_size = source.read_integer<uint32_t>(little, "the picture header");
  if (header_size < 40) source.fail("a picture header of ", header_size, " bytes; expected 40");
  const auto width = static_cast<int32_t>(source.read_integer<uint32_t>(little, "the width"));
  const auto signed_height =
      static_cast<int32_t>(source.read_integer<uint32_t>(little, "the height"));
  source.skip(2, "the picture header");  // planes
  const int bits = source.read_integer<uint16_t>(little, "the bits per pixel");
  const auto compression = source.read_integer<uint32_t>(little, "the compression");
  if (compression != 0) source.fail("compression ", compression, " is not supported; expected 0");
  if (bits != 1 && bits != 8 && bits != 24 && bits != 32)
    source.fail(bits, " bits per pixel are none of 1, 8, 24, 32");
  const bool top_down = signed_height < 0;
  const int64_t height = std::abs(int64_t{signed_height});
  constexpr int64_t most = 1 << 20;
  if (width < 1 || width > most || height < 1 || height > most)
    source.fail("a picture of ", width, " x ", height, " pixels; from 1 to ", most,
                " each are possible");
  source.skip(12, "the picture header");
  uint32_t colours = source.read_integer<uint32_t>(little, "the palette size");
  source.skip(4 + (header_size - 40), "the picture header");
  std::vector<Colour> palette;
  if (bits <= 8) {
    const uint32_t possible = uint32_t{1} << bits;
    if (colours == 0) colours = possible;
    if (colours > possible) source.fail("a palette of ", colours, " colours for ", bits, " bits");
    for (uint32_t i = 0; i < colours; ++i) {
      uint8_t entry[4];
      source.read(entry, 4, "the palette");
      palette.push_back({entry[2], entry[1], entry[0]});
    }
  }
  if (data_at < source.position())
    source.fail("the pixels begin at byte ", data_at, ", inside the header");
  source.skip(data_at - source.position(), "the pixels");

  const int64_t row_bytes = (int64_t{width} * bits + 31) / 32 * 4;
  source.expect(static_cast<uint64_t>(row_bytes * height), "the pixels");
  const bool grey = !palette.empty() && std::all_of(palette.begin(), palette.end(), [](Colour c) {
    return c[0] == c[1] && c[1] == c[2];
  });
  const int64_t channels = grey ? 1 : 3;
  Tensor picture = Tensor::empty(grey ? Shape{height, width} : Shape{height, width, 3}, DType::u8,
                                 Device::cpu());
  auto* const out = static_cast<uint8_t*>(picture.data());
  std::vector<uint8_t> row(static_cast<size_t>(row_bytes));
  for (int64_t y = 0; y < height; ++y) {
    source.read(row.data(), row.size(), "the pixels");
    uint8_t* to = out + (top_down ? y : height - 1 - y) * width * channels;
    for (int64_t x = 0; x < width; ++x, to += channels) {
      Colour colour;
      if (bits >= 24) {
        const uint8_t* at = row.data() + x * (bits / 8);
        colour = {at[2], at[1], at[0]};
      } else {
        const uint32_t index = bits == 8 ? row[static_cast<size_t>(x)]
                                         : row[static_cast<size_t>(x / 8)] >> (7 - x % 8) & 1;
        if (index >= palette.size())
          source.fail("pixel (", y, ", ", x, ") has colour ", index, " of ", palette.size());
        colour = palette[index];
      }
      std::copy_n(colour.begin(), channels, to);
    }
  }
  return picture;
}

Tensor load_bmp(const std::string& path) {
  return parse_bmp(MappedFile::open(path)->bytes(), path);
}

}  // namespace tessera
