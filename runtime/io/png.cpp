#include "tessera/runtime/io/png.hpp"

#include "tessera/runtime/error.hpp"

#if defined(TESSERA_HAVE_PNG)
#include <png.h>

#include <vector>

#include "tessera/runtime/io/atomic_file.hpp"

namespace tessera {

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

}  // namespace tessera

#else

namespace tessera {

bool png_available() { return false; }

void save_png(const std::string& path, const Tensor&) {
  throw Error(ErrorKind::unsupported,
              concat(path, ": this build writes no PNG files; install libpng-dev and build again"));
}

}  // namespace tessera

#endif
