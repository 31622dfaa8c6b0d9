#include "tessera/runtime/io/idx.hpp"

#include <memory>

#include "tessera/runtime/io/elements.hpp"
#include "tessera/runtime/io/mapped_file.hpp"

namespace tessera {
namespace {

StoredType element_type(const ByteSource& source, uint8_t code) {
  switch (code) {
    case 0x08:
      return StoredType::u8;
    case 0x09:
      return StoredType::i8;
    case 0x0B:
      return StoredType::i16;
    case 0x0C:
      return StoredType::i32;
    case 0x0D:
      return StoredType::f32;
    case 0x0E:
      return StoredType::f64;
    default:
      source.fail("IDX element type ", int{code}, " is none of 8, 9, 11, 12, 13, 14");
  }
}

Tensor read_array(ByteSource& source) {
  if (source.read_integer<uint16_t>(std::endian::big, "the IDX magic") != 0)
    source.fail("this is not an IDX file: it does not start with two zero bytes");
  const StoredType type =
      element_type(source, source.read_integer<uint8_t>(std::endian::big, "the IDX element type"));
  const int rank = source.read_integer<uint8_t>(std::endian::big, "the IDX rank");
  if (rank > max_rank) source.fail("rank ", rank, " is above the supported ", max_rank);
  Shape shape;
  for (int i = 0; i < rank; ++i)
    shape.push_back(source.read_integer<uint32_t>(std::endian::big, "the IDX extents"));
  const Tensor tensor = read_elements(source, shape, type, std::endian::big, "the array");
  source.expect_end("the array");
  return tensor;
}

}  // namespace

Tensor parse_idx(std::span<const std::byte> bytes, std::string_view name) {
  const bool gzip = bytes.size() >= 2 && bytes[0] == std::byte{0x1F} && bytes[1] == std::byte{0x8B};
  if (gzip) {
    InflateSource source(bytes, InflateSource::Format::gzip, concat(name, " (expanded)"));
    return read_array(source);
  }
  MemorySource source(bytes, std::string(name));
  return read_array(source);
}

Tensor load_idx(const std::string& path) {
  return parse_idx(MappedFile::open(path)->bytes(), path);
}

}  // namespace tessera
