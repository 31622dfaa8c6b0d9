#include "tessera/runtime/io/safetensors.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "tessera/runtime/io/atomic_file.hpp"
#include "tessera/runtime/io/elements.hpp"
#include "tessera/runtime/io/json.hpp"
#include "tessera/runtime/io/mapped_file.hpp"

namespace tessera {
namespace {

constexpr std::string_view metadata_key = "__metadata__";
constexpr uint64_t longest_header = 100'000'000;  // the limit of the reference implementation

constexpr std::pair<std::string_view, StoredType> type_names[] = {
    {"F64", StoredType::f64},   {"F32", StoredType::f32}, {"F16", StoredType::f16},
    {"BF16", StoredType::bf16}, {"I64", StoredType::i64}, {"I32", StoredType::i32},
    {"I16", StoredType::i16},   {"I8", StoredType::i8},   {"U64", StoredType::u64},
    {"U32", StoredType::u32},   {"U16", StoredType::u16}, {"U8", StoredType::u8},
    {"BOOL", StoredType::bool_}};

struct Entry {
  std::string_view name;
  StoredType type;
  Shape shape;
  uint64_t begin, end;  // bytes after the header
};

class HeaderReader {
 public:
  explicit HeaderReader(std::string_view file) : file_(file) {}

  Entry entry(std::string_view name, const Json& json) const {
    if (!json.get_if<Json::Object>())
      fail(name, "expected an object with dtype, shape and data_offsets, found ", json.type_name());
    for (const auto& [key, value] : *json.get_if<Json::Object>())
      if (key != "dtype" && key != "shape" && key != "data_offsets")
        fail(name, "unknown field \"", key, "\"; expected dtype, shape and data_offsets");
    const std::vector<int64_t> offsets = integers(name, json, "data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1])
      fail(name, "data_offsets must be two ascending numbers");
    const std::vector<int64_t> shape = integers(name, json, "shape");
    if (shape.size() > max_rank)
      fail(name, "rank ", shape.size(), " is above the supported ", max_rank);
    return {name, type(name, field(name, json, "dtype")), Shape(std::span<const int64_t>(shape)),
            static_cast<uint64_t>(offsets[0]), static_cast<uint64_t>(offsets[1])};
  }

  std::map<std::string, std::string> metadata(const Json& json) const {
    std::map<std::string, std::string> out;
    const auto* object = json.get_if<Json::Object>();
    if (!object) fail(metadata_key, "expected an object of strings, found ", json.type_name());
    for (const auto& [key, value] : *object) {
      const auto* text = value.get_if<std::string>();
      if (!text) fail(metadata_key, "\"", key, "\" must be a string, found ", value.type_name());
      out.emplace(key, *text);
    }
    return out;
  }

  template <class... Parts>
  [[noreturn]] void fail(std::string_view name, const Parts&... parts) const {
    throw Error(ErrorKind::io, concat(file_, ": tensor \"", name, "\": ", parts...));
  }

 private:
  const Json& field(std::string_view name, const Json& json, std::string_view key) const {
    const Json* value = json.find(key);
    if (!value) fail(name, "has no ", key);
    return *value;
  }

  StoredType type(std::string_view name, const Json& json) const {
    const auto* text = json.get_if<std::string>();
    if (!text) fail(name, "dtype must be a string, found ", json.type_name());
    for (const auto& [known, value] : type_names)
      if (known == *text) return value;
    fail(name, "dtype ", *text, " is not supported");
  }

  std::vector<int64_t> integers(std::string_view name, const Json& json,
                                std::string_view key) const {
    const Json& value = field(name, json, key);
    std::vector<int64_t> out;
    const auto* array = value.get_if<Json::Array>();
    if (!array) fail(name, key, " must be an array, found ", value.type_name());
    for (const Json& item : *array) {
      const auto* integer = item.get_if<int64_t>();
      if (!integer || *integer < 0) fail(name, key, " must hold integers in [0, 2^63)");
      out.push_back(*integer);
    }
    return out;
  }

  std::string_view file_;
};

// The tensors must cover the data without overlap or gap, as the format demands.
void check_coverage(const HeaderReader& header, std::vector<Entry>& entries, uint64_t data_bytes,
                    std::string_view file) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t covered = 0;
  for (const Entry& e : entries) {
    if (e.end > data_bytes)
      header.fail(e.name, "data_offsets [", e.begin, ", ", e.end, ") leave the ", data_bytes,
                  " bytes of data; is the file truncated?");
    if (e.begin < covered)
      header.fail(e.name, "starts at data byte ", e.begin, " inside another tensor, which ends at ",
                  covered);
    if (e.begin > covered)
      header.fail(e.name, "starts at data byte ", e.begin, ", a gap after byte ", covered);
    covered = e.end;
  }
  if (covered != data_bytes)
    throw Error(ErrorKind::io,
                concat(file, ": ", data_bytes - covered, " bytes at the end belong to no tensor"));
}

// A tensor over the mapped bytes themselves, where they can be used as they are.
std::optional<Tensor> tensor_in_place(const std::shared_ptr<const MappedFile>& mapping,
                                      std::span<const std::byte> bytes, const Entry& e) {
  const DType dtype = dtype_of_stored(e.type);
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % size_of(dtype) == 0;
  if (!mapping || !aligned || stored_type(dtype) != e.type || bytes.empty()) return std::nullopt;
  auto* data = const_cast<std::byte*>(bytes.data());  // the mapping is writable
  return Tensor::over(Storage::adopt(data, bytes.size(), Device::cpu(), [mapping] {}), 0, e.shape,
                      contiguous_strides(e.shape), dtype);
}

Safetensors parse(std::span<const std::byte> bytes, std::string_view file,
                  const std::shared_ptr<const MappedFile>& mapping) {
  MemorySource start(bytes, std::string(file));
  const auto header_bytes = start.read_integer<uint64_t>(std::endian::little, "the header length");
  if (header_bytes > longest_header)
    start.fail("a header of ", header_bytes, " bytes is above the limit of ", longest_header,
               "; is this a .safetensors file?");
  start.expect(header_bytes, "the header");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  const Json json = parse_json(text, concat(file, ", header"), 4);
  const auto* members = json.get_if<Json::Object>();
  if (!members)
    throw Error(ErrorKind::io,
                concat(file, ": the header must be a JSON object, found ", json.type_name()));

  const HeaderReader header(file);
  Safetensors out;
  std::vector<Entry> entries;
  entries.reserve(members->size());
  for (const auto& [name, value] : *members) {
    if (name == metadata_key)
      out.metadata = header.metadata(value);
    else
      entries.push_back(header.entry(name, value));
  }
  const auto data = bytes.subspan(8 + header_bytes);
  check_coverage(header, entries, data.size(), file);

  for (const Entry& e : entries) {
    const auto payload = data.subspan(e.begin, e.end - e.begin);
    MemorySource source(payload, concat(file, ": tensor \"", e.name, "\""),
                        8 + header_bytes + e.begin);
    if (const uint64_t needed = byte_count(source, e.shape, e.type); needed != payload.size())
      source.fail(e.type, " ", e.shape, " takes ", needed, " bytes but data_offsets span ",
                  payload.size());
    if (auto in_place = tensor_in_place(mapping, payload, e)) {
      if (const int64_t bad = e.type == StoredType::bool_ ? find_invalid_bool(payload) : -1;
          bad >= 0)
        source.fail("element ", bad, ": a bool must be 0 or 1");
      out.tensors.emplace(e.name, std::move(*in_place));
    } else {
      out.tensors.emplace(e.name,
                          read_elements(source, e.shape, e.type, std::endian::little, "the data"));
    }
  }
  return out;
}

std::string_view type_name(DType dtype) {
  for (const auto& [name, type] : type_names)
    if (type == stored_type(dtype)) return name;
  unsupported_dtype("save_safetensors", dtype);
}

}  // namespace

Safetensors parse_safetensors(std::span<const std::byte> bytes, std::string_view name) {
  return parse(bytes, name, nullptr);
}

Safetensors read_safetensors(const std::string& path, FileAccess access) {
  const auto mapping = MappedFile::open(path);
  return parse(mapping->bytes(), path, access == FileAccess::map ? mapping : nullptr);
}

void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  // Wide elements first: with the header padded to eight bytes every tensor is then aligned.
  std::vector<const std::pair<const std::string, Tensor>*> order;
  for (const auto& item : tensors) {
    TS_CHECK(item.first != metadata_key, "save_safetensors: a tensor cannot be named ",
             metadata_key);
    TS_CHECK(item.second.has_data(), "save_safetensors: tensor \"", item.first, "\" has no data");
    order.push_back(&item);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });

  Json::Object header;
  if (!metadata.empty()) {
    Json::Object texts;
    for (const auto& [key, value] : metadata) texts.emplace_back(key, Json{value});
    header.emplace_back(metadata_key, Json{std::move(texts)});
  }
  int64_t offset = 0;
  for (const auto* item : order) {
    const Tensor& t = item->second;
    const int64_t begin = offset;
    offset += t.numel() * static_cast<int64_t>(size_of(t.dtype()));
    Json::Array shape;
    for (const int64_t extent : t.shape()) shape.push_back({extent});
    header.emplace_back(item->first,
                        Json{Json::Object{{"dtype", {std::string(type_name(t.dtype()))}},
                                          {"shape", {std::move(shape)}},
                                          {"data_offsets", {Json::Array{{begin}, {offset}}}}}});
  }
  std::string text = to_string(Json{std::move(header)});
  text.append((8 - text.size() % 8) % 8, ' ');
  TS_CHECK(text.size() <= longest_header, "save_safetensors: ", path, ": a header of ", text.size(),
           " bytes is above the format's limit of ", longest_header);

  AtomicFile out(path);
  const uint64_t length = text.size();  // little-endian, as this machine
  out.write(&length, sizeof length);
  out.write(text);
  for (const auto* item : order) {
    const Tensor& t = item->second;
    if (t.numel() == 0) continue;
    const Tensor host = t.to(Device::cpu());
    const Tensor dense = host.contiguous() ? host : host.clone();
    out.write(dense.data(), static_cast<size_t>(dense.numel()) * size_of(dense.dtype()));
  }
  out.commit();
}

}  // namespace tessera
