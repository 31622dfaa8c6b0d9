#include "tessera/runtime/io/mat.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "tessera/runtime/io/elements.hpp"
#include "tessera/runtime/io/mapped_file.hpp"
#include "tessera/runtime/io/mat_reader.hpp"

namespace tessera {
namespace {

// Types of elements.
constexpr uint32_t type_matrix = 14, type_compressed = 15, type_int8 = 1, type_int32 = 5,
                   type_uint32 = 6;

std::optional<StoredType> stored_type_of(uint32_t type) {
  switch (type) {
    case 1:
      return StoredType::i8;
    case 2:
      return StoredType::u8;
    case 3:
      return StoredType::i16;
    case 4:
      return StoredType::u16;
    case 5:
      return StoredType::i32;
    case 6:
      return StoredType::u32;
    case 7:
      return StoredType::f32;
    case 9:
      return StoredType::f64;
    case 12:
      return StoredType::i64;
    case 13:
      return StoredType::u64;
    default:
      return std::nullopt;
  }
}

// Classes of arrays, by number: what MATLAB calls them, and the dtype of a tensor.
struct Class {
  std::string_view name;
  std::optional<DType> dtype = {};
};
constexpr std::array classes{Class{"class 0"},
                             Class{"cell"},
                             Class{"struct"},
                             Class{"object"},
                             Class{"char"},
                             Class{"sparse"},
                             Class{"double", DType::f64},
                             Class{"single", DType::f32},
                             Class{"int8", DType::i8},
                             Class{"uint8", DType::u8},
                             Class{"int16", DType::i16},
                             Class{"uint16", DType::u16},
                             Class{"int32", DType::i32},
                             Class{"uint32", DType::i64},
                             Class{"int64", DType::i64},
                             Class{"uint64", DType::i64},
                             Class{"function"},
                             Class{"opaque"},
                             Class{"classdef object"}};

/// The type and size of an element. Small ones hold up to four bytes inside their tag.
struct Tag {
  uint32_t type, bytes;
  bool small;

  uint64_t padding() const {
    if (small) return 4 - bytes;
    return type == type_compressed ? 0 : (8 - bytes % 8) % 8;
  }
};
Tag read_tag(ByteSource& source, std::endian order) {
  const auto first = source.read_integer<uint32_t>(order, "an element's type");
  if (first >> 16 == 0)
    return {first, source.read_integer<uint32_t>(order, "an element's size"), false};
  if (first >> 16 > 4) source.fail("a small element of ", first >> 16, " bytes; at most 4 fit");
  return {first & 0xFFFF, first >> 16, true};
}
Tag expect_tag(ByteSource& source, std::endian order, uint32_t type, std::string_view what) {
  const Tag tag = read_tag(source, order);
  if (tag.type != type)
    source.fail("expected ", what, ", an element of type ", type, ", found type ", tag.type);
  return tag;
}

/// The values of `from`, all of which `To` holds exactly, as `to`.
template <class From, class To>
void convert_as(const Tensor& from, Tensor& to, const std::string& name) {
  const auto in = from.host<From>();
  const auto out = to.host_mutable<To>();
  for (size_t i = 0; i < in.size(); ++i) {
    out[i] = static_cast<To>(in[i]);
    if constexpr (!std::is_same_v<To, double> && !std::is_same_v<To, float>)
      if (static_cast<From>(out[i]) != in[i])
        throw Error(ErrorKind::io, concat(name, ": element ", i, " is ", +in[i],
                                          ", which does not fit ", to.dtype()));
  }
}

template <class Body>
void for_number(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f64:
      return body.template operator()<double>();
    case DType::f32:
      return body.template operator()<float>();
    case DType::i64:
      return body.template operator()<int64_t>();
    case DType::i32:
      return body.template operator()<int32_t>();
    case DType::i8:
      return body.template operator()<int8_t>();
    case DType::u8:
      return body.template operator()<uint8_t>();
    case DType::i16:
      return body.template operator()<int16_t>();
    case DType::u16:
      return body.template operator()<uint16_t>();
    default:
      unsupported_dtype("MatFile", dtype);
  }
}

Tensor converted(const Tensor& from, DType dtype, const std::string& name) {
  if (from.dtype() == dtype) return from;
  Tensor to = Tensor::empty(from.shape(), dtype, Device::cpu());
  if (dtype == DType::bool_) {
    for_number(from.dtype(), [&]<class From>() {
      const auto in = from.host<From>();
      auto* const out = static_cast<uint8_t*>(to.data());
      for (size_t i = 0; i < in.size(); ++i) out[i] = in[i] != From{0};
    });
    return to;
  }
  for_number(from.dtype(), [&]<class From>() {
    for_number(dtype, [&]<class To>() {
      if constexpr (std::is_floating_point_v<From> && !std::is_floating_point_v<To>)
        throw Error(ErrorKind::io,
                    concat(name, ": stored as ", from.dtype(), ", which ", dtype, " is not"));
      else
        convert_as<From, To>(from, to, name);
    });
  });
  return to;
}

/// What stands before the numbers of an array.
struct ArrayHeader {
  uint32_t array_class;
  bool logical, complex;
  Shape shape;
  std::string name;
  bool too_many_dimensions = false;

  bool numeric() const {
    return array_class < classes.size() && classes[array_class].dtype && !complex &&
           !too_many_dimensions;
  }
  DType dtype() const { return logical ? DType::bool_ : *classes[array_class].dtype; }
  std::string type() const {
    if (logical && numeric()) return "logical";
    const std::string known = array_class < classes.size() ? std::string(classes[array_class].name)
                                                           : concat("class ", array_class);
    return complex ? "complex " + known : known;
  }
};

ArrayHeader read_header(ByteSource& source, std::endian order) {
  ArrayHeader header;
  const Tag flags = expect_tag(source, order, type_uint32, "the array flags");
  if (flags.small || flags.bytes != 8)
    source.fail("array flags of ", flags.bytes, " bytes; expected 8");
  const auto word = source.read_integer<uint32_t>(order, "the array flags");
  source.skip(4, "the array flags");
  header.array_class = word & 0xFF;
  header.logical = word & 0x0200;
  header.complex = word & 0x0800;
  if (header.array_class == 17) return header;  // opaque: laid out in its own way
  const Tag dimensions = expect_tag(source, order, type_int32, "the dimensions");
  if (dimensions.bytes % 4 != 0 || dimensions.bytes < 8 || dimensions.bytes > 4096)
    source.fail("dimensions of ", dimensions.bytes, " bytes; expected from 2 to 1024 of 4");
  source.expect(dimensions.bytes, "the dimensions");
  for (uint32_t i = 0; i < dimensions.bytes / 4; ++i) {
    const auto extent =
        static_cast<int32_t>(source.read_integer<uint32_t>(order, "the dimensions"));
    if (extent < 0) source.fail("dimension ", i, " is ", extent);
    if (static_cast<int>(i) < max_rank)
      header.shape.push_back(extent);
    else
      header.too_many_dimensions = true;
  }
  source.skip(dimensions.padding(), "the dimensions");
  const Tag name = expect_tag(source, order, type_int8, "the name");
  if (name.bytes > 4096) source.fail("a name of ", name.bytes, " bytes");
  header.name.resize(name.bytes);
  source.read(header.name.data(), name.bytes, "the name");
  source.skip(name.padding(), "the name");
  return header;
}

/// A file of level 5: 116 bytes of text, a subsystem's offset, the version and a mark of the byte
/// order, then elements.
class Level5Reader final : public MatFile::Reader {
 public:
  Level5Reader(std::span<const std::byte> bytes, std::string name)
      : Reader(std::move(name)), bytes_(bytes) {
    MemorySource source(bytes, this->name());
    source.skip(124, "the header");
    char version_and_order[4];
    source.read(version_and_order, 4, "the header");
    const std::string_view mark(version_and_order + 2, 2);
    if (mark != "IM" && mark != "MI")
      source.fail("this is not a MATLAB 5 file: bytes 126 and 127 are not 'IM' or 'MI'");
    order_ = mark == "IM" ? std::endian::little : std::endian::big;
    while (source.remaining_at_most() > 0) {
      const uint64_t start = source.position();
      const Tag tag = read_tag(source, order_);
      source.expect(tag.bytes, "an element");
      const uint64_t at = source.position();
      const bool compressed = tag.type == type_compressed;
      if (compressed || tag.type == type_matrix) add({at, tag.bytes, compressed});
      source.skip(tag.bytes, "an element");
      // the last element may lack its padding
      source.skip(std::min(tag.padding(), source.remaining_at_most()), "an element");
      if (source.position() == start) source.fail("an element of no size");
    }
  }

  Tensor load(size_t index) const override {
    const auto source = open(places_[index]);
    const ArrayHeader header = read_header(*source, order_);
    const std::string what = concat("'", header.name, "'");
    const Tag tag = read_tag(*source, order_);
    const std::optional<StoredType> type = stored_type_of(tag.type);
    if (!type) source->fail(what, ": elements of type ", tag.type, " are no numbers");
    Shape stored = header.shape;
    std::reverse(stored.begin(), stored.end());
    if (byte_count(*source, stored, *type) != tag.bytes)
      source->fail(what, ": ", tag.bytes, " bytes of ", *type, " for dimensions ", header.shape);
    const Tensor columns = converted(read_elements(*source, stored, *type, order_, what),
                                     header.dtype(), concat(name(), ", ", what));
    Axes axes;
    for (int i = stored.rank() - 1; i >= 0; --i) axes.push_back(i);
    return columns.permute(axes).clone();
  }

 private:
  struct Place {
    uint64_t begin, bytes;
    bool compressed;
  };

  /// The content of an array, behind its tag.
  std::unique_ptr<ByteSource> open(const Place& place) const {
    const auto part = bytes_.subspan(place.begin, place.bytes);
    if (!place.compressed) return std::make_unique<MemorySource>(part, name(), place.begin);
    auto source = std::make_unique<InflateSource>(
        part, InflateSource::Format::zlib,
        concat(name(), ", the compressed element at byte ", place.begin));
    const Tag tag = read_tag(*source, order_);
    if (tag.type != type_matrix)
      source->fail("expected an array (14), found an element of type ", tag.type);
    return source;
  }

  void add(const Place& place) {
    if (place.bytes == 0) return;  // an empty array of no name
    const auto source = open(place);
    const ArrayHeader header = read_header(*source, order_);
    if (header.name.empty()) return;  // MATLAB's own notes
    variables_.push_back(
        {header.name, header.type(), header.numeric() ? header.shape : Shape{}, header.numeric()});
    places_.push_back(place);
  }

  std::span<const std::byte> bytes_;
  std::endian order_ = std::endian::little;
  std::vector<Place> places_;  // of variables_
};

/// Keeps the file mapped.
class MappedReader final : public MatFile::Reader {
 public:
  MappedReader(std::shared_ptr<const MappedFile> file, const std::string& path)
      : Reader(path), file_(std::move(file)), reader_(file_->bytes(), path) {
    variables_ = reader_.variables();
  }
  Tensor load(size_t index) const override { return reader_.load(index); }

 private:
  std::shared_ptr<const MappedFile> file_;
  Level5Reader reader_;
};

bool is_hdf5(std::span<const std::byte> bytes) {
  constexpr std::string_view signature = "\x89HDF\r\n\x1a\n";
  for (const size_t at : {size_t{0}, size_t{512}})
    if (bytes.size() >= at + signature.size() &&
        std::memcmp(bytes.data() + at, signature.data(), signature.size()) == 0)
      return true;
  return false;
}

}  // namespace

MatFile::Reader::~Reader() = default;

MatFile::MatFile(const std::string& path) {
  auto file = MappedFile::open(path);
  if (is_hdf5(file->bytes()))
    reader_ = open_mat73(path);
  else
    reader_ = std::make_unique<MappedReader>(std::move(file), path);
}
MatFile::MatFile(std::span<const std::byte> bytes, std::string_view name)
    : reader_(std::make_unique<Level5Reader>(bytes, std::string(name))) {}
MatFile::~MatFile() = default;
MatFile::MatFile(MatFile&&) noexcept = default;
MatFile& MatFile::operator=(MatFile&&) noexcept = default;

const std::vector<MatFile::Variable>& MatFile::variables() const { return reader_->variables(); }

bool MatFile::contains(std::string_view name) const {
  return std::any_of(variables().begin(), variables().end(),
                     [&](const Variable& v) { return v.name == name; });
}

Tensor MatFile::load(std::string_view name) const {
  std::string names;
  for (size_t i = 0; i < variables().size(); ++i) {
    const Variable& v = variables()[i];
    names += concat(i ? ", " : "", v.name, " (", v.type, ")");
    if (v.name != name) continue;
    if (!v.numeric)
      throw Error(ErrorKind::io, concat(reader_->name(), ": '", name, "' is of class ", v.type,
                                        ", expected a real full array of numbers"));
    return reader_->load(i);
  }
  throw Error(ErrorKind::io,
              concat(reader_->name(), ": no variable '", name, "'; there are: ", names));
}

}  // namespace tessera
