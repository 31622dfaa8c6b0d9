#include "tessera/runtime/io/elements.hpp"

#include <algorithm>
#include <vector>

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are written as they lie in memory");

struct Stored {
  std::string_view name;
  size_t size;
  DType dtype;
};
constexpr Stored stored[] = {
    {"f64", 8, DType::f64},   {"f32", 4, DType::f32}, {"f16", 2, DType::f16},
    {"bf16", 2, DType::bf16}, {"i64", 8, DType::i64}, {"i32", 4, DType::i32},
    {"i16", 2, DType::i16},   {"i8", 1, DType::i8},   {"u64", 8, DType::i64},
    {"u32", 4, DType::i64},   {"u16", 2, DType::u16}, {"u8", 1, DType::u8},
    {"bool", 1, DType::bool_}};

const Stored& of(StoredType type) { return stored[static_cast<size_t>(type)]; }

template <class Word>
void swap_words(std::span<std::byte> bytes) {
  for (size_t i = 0; i < bytes.size(); i += sizeof(Word))
    std::reverse(bytes.data() + i, bytes.data() + i + sizeof(Word));
}

void swap_bytes(std::span<std::byte> bytes, size_t word) {
  if (word == 2) swap_words<uint16_t>(bytes);
  if (word == 4) swap_words<uint32_t>(bytes);
  if (word == 8) swap_words<uint64_t>(bytes);
}

// Reads elements of type From block by block and stores each as To.
template <class From, class To>
void widen(ByteSource& source, std::span<To> out, std::endian order, std::string_view what) {
  std::vector<From> block(std::min<size_t>(out.size(), size_t{1} << 14));
  for (size_t done = 0; done < out.size();) {
    const size_t n = std::min(block.size(), out.size() - done);
    const uint64_t start = source.position();
    source.read(block.data(), n * sizeof(From), what);
    if (order != std::endian::native)
      swap_words<From>(std::as_writable_bytes(std::span(block).first(n)));
    for (size_t i = 0; i < n; ++i) {
      if constexpr (std::is_same_v<From, uint64_t>) {
        if (block[i] > static_cast<uint64_t>(INT64_MAX))
          throw Error(ErrorKind::io,
                      concat(source.name(), ", byte ", start + i * sizeof(From), ": ", what,
                             " holds ", block[i], ", which does not fit i64"));
      }
      out[done + i] = static_cast<To>(block[i]);
    }
    done += n;
  }
}

}  // namespace

std::string_view to_string(StoredType type) { return of(type).name; }
size_t size_of(StoredType type) { return of(type).size; }
DType dtype_of_stored(StoredType type) { return of(type).dtype; }

StoredType stored_type(DType dtype) {
  for (size_t i = 0; i < std::size(stored); ++i)
    if (stored[i].name == to_string(dtype)) return static_cast<StoredType>(i);
  unsupported_dtype("stored_type", dtype);
}

uint64_t byte_count(const ByteSource& source, const Shape& shape, StoredType type) {
  int64_t bytes = static_cast<int64_t>(size_of(dtype_of_stored(type)));
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) source.fail("negative extent in shape ", shape);
    empty = empty || extent == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(extent, 1), &bytes) ||
        bytes > int64_t{1} << 60)  // the limit of check_extents
      source.fail("shape ", shape, " has more elements than memory can address");
  }
  return empty ? 0 : static_cast<uint64_t>(shape.numel()) * size_of(type);
}

int64_t find_invalid_bool(std::span<const std::byte> bytes) {
  const auto bad =
      std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; });
  return bad == bytes.end() ? -1 : bad - bytes.begin();
}

Tensor read_elements(ByteSource& source, const Shape& shape, StoredType type, std::endian order,
                     std::string_view what) {
  source.expect(byte_count(source, shape, type), what);
  Tensor out = Tensor::empty(shape, dtype_of_stored(type), Device::cpu());
  if (out.numel() == 0) return out;
  switch (type) {
    case StoredType::u32:
      widen<uint32_t>(source, out.host_mutable<int64_t>(), order, what);
      break;
    case StoredType::u64:
      widen<uint64_t>(source, out.host_mutable<int64_t>(), order, what);
      break;
    default: {
      const std::span bytes(static_cast<std::byte*>(out.data()),
                            static_cast<size_t>(out.numel()) * size_of(type));
      const uint64_t start = source.position();
      source.read(bytes.data(), bytes.size(), what);
      if (order != std::endian::native) swap_bytes(bytes, size_of(type));
      if (type != StoredType::bool_) break;
      if (const int64_t bad = find_invalid_bool(bytes); bad >= 0)
        throw Error(ErrorKind::io,
                    concat(source.name(), ", byte ", start + static_cast<uint64_t>(bad), ": ", what,
                           ": a bool must be 0 or 1"));
    }
  }
  return out;
}

}  // namespace tessera
