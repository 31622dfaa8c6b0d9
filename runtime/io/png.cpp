#include "tessera/runtime/io/png.hpp"

#include "tessera/runtime/error.hpp"

#if defined(TESSERA_HAVE_PNG)
#include <png.h>

#include <cstdint>
#include <vector>

#include "tessera/runtime/io/atomic_file.hpp"
#include "tessera/runtime/io/mapped_file.hpp"

namespace tessera {
namespace {

/// Deflate turns one byte into at most 1032, each at most 8 pixels of 1 bit.
constexpr uint64_t most_pixels_of_a_byte = 1032 * 8;

/// Frees what libpng holds, whatever happens.
struct PngReader {
  png_image image{};

  PngReader() { image.version = PNG_IMAGE_VERSION; }
  ~PngReader() { png_image_free(&image); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
};

}  // namespace

bool png_available() { return true; }

void save_png(const std::string& path, const Tensor& image) {
  const bool gray = image.rank() == 2;
  TS_CHECK(image.dtype() == DType::u8 && (gray || (image.rank() == 3 && image.size(2) == 3)),
           "save_png: ", path, ": expected u8 [height, width] or u8 [height, width, 3], found ",
           image);
  for (int axis = 0; axis < 2; ++axis)
    TS_CHECK(image.size(axis) >= 1 && image.size(axis) <= 1 << 20, "save_png: ", path, ": extents ",
             image.shape(), " must be from 1 to 2^20");
  const Tensor host = image.to(Device::cpu()), pixels = host.contiguous() ? host : host.clone();

  // libpng's simplified interface reports errors by value; the other one would longjmp past
  // destructors.
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.height = static_cast<png_uint_32>(image.size(0));
  png.width = static_cast<png_uint_32>(image.size(1));
  png.format = gray ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  const auto write = [&](void* to, png_alloc_size_t& bytes) {
    if (!png_image_write_to_memory(&png, to, &bytes, 0, pixels.data(), 0, nullptr))
      throw Error(ErrorKind::io, concat(path, ": libpng: ", png.message));
  };
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::vector<char> encoded(bytes);
  write(encoded.data(), bytes);
  write_file(path, {encoded.data(), bytes});
}

Tensor parse_png(std::span<const std::byte> bytes, std::string_view name) {
  PngReader png;
  const auto fail = [&](const auto&... parts) {
    throw Error(ErrorKind::io, concat(name, ": ", parts...));
  };
  if (!png_image_begin_read_from_memory(&png.image, bytes.data(), bytes.size()))
    fail("libpng: ", png.image.message);
  const int64_t height = png.image.height, width = png.image.width;
  if (static_cast<uint64_t>(height) * static_cast<uint64_t>(width) >
      most_pixels_of_a_byte * bytes.size())
    fail("an image of ", height, " x ", width, " pixels cannot be in a file of ", bytes.size(),
         " bytes");
  const bool colour = (png.image.format & PNG_FORMAT_FLAG_COLOR) != 0;
  png.image.format = colour ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  const Tensor pixels = Tensor::empty(colour ? Shape{height, width, 3} : Shape{height, width},
                                      DType::u8, Device::cpu());
  const png_color white{255, 255, 255};
  if (!png_image_finish_read(&png.image, &white, pixels.data(), 0, nullptr))
    fail("libpng: ", png.image.message);
  return pixels;
}

Tensor load_png(const std::string& path) {
  return parse_png(MappedFile::open(path)->bytes(), path);
}

}  // namespace tessera

#else

namespace tessera {

bool png_available() { return false; }

void save_png(const std::string& path, const Tensor&) {
  throw Error(ErrorKind::unsupported,
              concat(path, ": this build writes no PNG files; install libpng-dev and build again"));
}

Tensor parse_png(std::span<const std::byte>, std::string_view name) {
  throw Error(ErrorKind::unsupported,
              concat(name, ": this build reads no PNG files; install libpng-dev and build again"));
}

Tensor load_png(const std::string& path) { return parse_png({}, path); }

}  // namespace tessera

#endif
