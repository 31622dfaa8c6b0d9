#include "tessera/runtime/io/npy.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "tessera/runtime/io/atomic_file.hpp"
#include "tessera/runtime/io/elements.hpp"
#include "tessera/runtime/io/mapped_file.hpp"
#include "tessera/runtime/io/zip.hpp"

namespace tessera {
namespace {

constexpr std::string_view magic = "\x93NUMPY";

struct Header {
  StoredType type;
  std::endian order = std::endian::little;
  bool fortran = false;
  Shape shape;
};

// The Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }: the three keys
// once each in any order.
class HeaderParser {
 public:
  HeaderParser(const ByteSource& source, std::string_view text) : source_(source), rest_(text) {}

  Header parse() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    const auto first = [&](bool& seen, std::string_view key) {
      if (std::exchange(seen, true)) fail("the key '", key, "' is repeated");
    };
    expect('{');
    while (!accept('}')) {
      const std::string key(quoted("a key"));
      expect(':');
      if (key == "descr") {
        first(has_descr, key);
        parse_descr(header);
      } else if (key == "fortran_order") {
        first(has_order, key);
        header.fortran = boolean();
      } else if (key == "shape") {
        first(has_shape, key);
        header.shape = tuple();
      } else {
        fail("unknown key '", key, "'; expected descr, fortran_order and shape");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (!rest_.empty()) fail("unexpected text after the dict");
    if (!has_descr || !has_order || !has_shape)
      fail("expected the keys descr, fortran_order and shape");
    return header;
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    source_.fail("header: ", parts..., " (at '", rest_.substr(0, 20), "')");
  }

  void skip_space() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n"), rest_.size()));
  }
  bool accept(char c) {
    skip_space();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail("expected '", c, "'");
  }
  bool accept_word(std::string_view word) {
    skip_space();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  std::string_view quoted(std::string_view what) {
    skip_space();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"'))
      fail("expected ", what, " in quotes");
    const auto end = rest_.find(rest_[0], 1);
    if (end == rest_.npos) fail("the quotes around ", what, " do not close");
    const std::string_view text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    if (accept_word("True")) return true;
    if (accept_word("False")) return false;
    fail("expected True or False");
  }
  Shape tuple() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t extent = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), extent);
      if (error != std::errc() || extent < 0) fail("expected an extent in [0, 2^63)");
      rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
      accept('L');  // as Python 2 wrote it
      if (shape.rank() == max_rank) fail("more than ", max_rank, " dimensions");
      shape.push_back(extent);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  void parse_descr(Header& header) {
    skip_space();
    if (rest_.starts_with('[')) fail("structured arrays are not supported");
    const std::string_view descr = quoted("the element type");
    const auto refuse = [&](std::string_view meaning) {
      fail("element type '", descr, "'", meaning, " is not supported");
    };
    if (descr.size() < 2) refuse("");
    int size = 0;
    const auto [end, error] = std::from_chars(descr.data() + 2, descr.data() + descr.size(), size);
    const bool sized = error == std::errc() && end == descr.data() + descr.size();
    switch (descr[1]) {
      case 'c':
        refuse(concat(" (complex", 8 * size, ")"));
        break;
      case 'O':
        refuse(" (Python objects)");
        break;
      case 'U':
      case 'S':
      case 'a':
        refuse(" (text)");
        break;
      case 'M':
      case 'm':
        refuse(" (dates)");
        break;
      case 'V':
        refuse(" (raw bytes)");
        break;
      default:
        break;
    }
    std::optional<StoredType> type;
    if (sized) {
      const std::string name =
          descr.substr(1) == "b1" ? "bool" : concat(descr[1], 8 * int64_t{size});
      for (int t = 0; t < stored_type_count; ++t)
        if (to_string(static_cast<StoredType>(t)) == name) type = static_cast<StoredType>(t);
    }
    if (!type) refuse("");
    const char order = descr[0];
    const bool known = order == '<' || order == '>' || order == '=';
    if (!known && !(order == '|' && size == 1)) refuse("");
    header.type = *type;
    header.order = order == '>' ? std::endian::big : std::endian::little;
  }

  const ByteSource& source_;
  std::string_view rest_;
};

Header read_header(ByteSource& source) {
  char start[8];
  source.read(start, sizeof start, "the .npy magic");
  if (std::string_view(start, magic.size()) != magic)
    source.fail("this is not a .npy array: it does not start with \\x93NUMPY");
  const int major = static_cast<unsigned char>(start[6]),
            minor = static_cast<unsigned char>(start[7]);
  if (major < 1 || major > 3 || minor != 0)
    source.fail("version ", major, ".", minor,
                " of the .npy format is not supported; expected 1.0, 2.0 or 3.0");
  constexpr std::string_view what = "the header length";
  const uint64_t length = major == 1 ? source.read_integer<uint16_t>(std::endian::little, what)
                                     : source.read_integer<uint32_t>(std::endian::little, what);
  // The header of an array of rank 6 has 150 bytes; the reference reader's own limit is this one.
  if (length > 10000) source.fail("a header of ", length, " bytes is above the limit of 10000");
  std::string text(length, '\0');
  source.read(text.data(), text.size(), "the header");
  return HeaderParser(source, text).parse();
}

Tensor read_array(ByteSource& source) {
  const Header header = read_header(source);
  Shape stored = header.shape;
  if (header.fortran) std::reverse(stored.begin(), stored.end());
  Tensor tensor = read_elements(source, stored, header.type, header.order, "the array");
  source.expect_end("the array");
  if (!header.fortran || stored.rank() < 2) return tensor;
  Axes axes;
  for (int i = stored.rank() - 1; i >= 0; --i) axes.push_back(i);
  return tensor.permute(axes).clone();
}

std::string make_header(std::string_view name, const Tensor& t) {
  if (t.dtype() == DType::bf16)
    throw Error(ErrorKind::unsupported,
                concat(name, ": the .npy format has no bf16; cast to f32 or write .safetensors"));
  const std::string_view type = to_string(t.dtype());
  const std::string descr = t.dtype() == DType::bool_ ? "|b1"
                                                      : concat(size_of(t.dtype()) == 1 ? '|' : '<',
                                                               type[0], size_of(t.dtype()));
  std::string dict = concat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (");
  for (const int64_t extent : t.shape()) dict += concat(extent, t.rank() == 1 ? "," : ", ");
  if (t.rank() > 1) dict.resize(dict.size() - 2);
  dict += "), }";
  const size_t unpadded = magic.size() + 4 + dict.size() + 1;
  dict.append((64 - unpadded % 64) % 64, ' ').push_back('\n');
  const auto length = static_cast<uint16_t>(dict.size());
  return concat(magic, '\1', '\0', static_cast<char>(length & 0xFF), static_cast<char>(length >> 8),
                dict);
}

// The header and the elements of `t`, the latter kept alive by `dense`.
struct Encoded {
  Encoded(std::string_view name, const Tensor& t) : header(make_header(name, t)) {
    const Tensor host = t.to(Device::cpu());
    dense = host.contiguous() ? host : host.clone();
  }
  std::span<const std::byte> head() const { return std::as_bytes(std::span(header)); }
  std::span<const std::byte> body() const {
    if (dense.numel() == 0) return {};
    return {static_cast<const std::byte*>(dense.data()),
            static_cast<size_t>(dense.numel()) * size_of(dense.dtype())};
  }
  std::string header;
  Tensor dense;
};

constexpr std::string_view suffix = ".npy";

}  // namespace

Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name) {
  MemorySource source(bytes, std::string(name));
  return read_array(source);
}

Tensor load_npy(const std::string& path) {
  return parse_npy(MappedFile::open(path)->bytes(), path);
}

struct NpyFile::State {
  std::string path;
  std::shared_ptr<const MappedFile> file;
  Header header;
  uint64_t begin = 0;  // of the elements
};

NpyFile::NpyFile(const std::string& path) {
  State state{path, MappedFile::open(path), {}, 0};
  MemorySource source(state.file->bytes(), path);
  state.header = read_header(source);
  state.begin = source.position();
  source.expect(byte_count(source, state.header.shape, state.header.type), "the array");
  state_ = std::make_unique<const State>(std::move(state));
}
NpyFile::~NpyFile() = default;

const Shape& NpyFile::shape() const { return state_->header.shape; }
DType NpyFile::dtype() const { return dtype_of_stored(state_->header.type); }

Tensor NpyFile::rows(int64_t first, int64_t count) const {
  const Header& header = state_->header;
  if (header.fortran && header.shape.rank() > 1)
    throw Error(ErrorKind::unsupported,
                concat(state_->path, ": an array in Fortran's order cannot be read in parts"));
  TS_CHECK(header.shape.rank() > 0 && first >= 0 && count >= 0 && count <= header.shape[0] - first,
           state_->path, ": no rows ", first, " to ", first + count, " of ", header.shape);
  Shape row = header.shape;
  row[0] = 1;
  const uint64_t at =
      state_->begin + static_cast<uint64_t>(first * row.numel()) * size_of(header.type);
  row[0] = count;
  MemorySource source(state_->file->bytes().subspan(at), state_->path, at);
  return read_elements(source, row, header.type, header.order, "the rows");
}

void save_npy(const std::string& path, const Tensor& tensor) {
  TS_CHECK(tensor.has_data(), "save_npy: ", path, ": the tensor has no data");
  const Encoded encoded(path, tensor);
  AtomicFile file(path);
  file.write(encoded.head().data(), encoded.head().size());
  file.write(encoded.body().data(), encoded.body().size());
  file.commit();
}

struct Npz::State {
  std::shared_ptr<const MappedFile> file;
  std::string name;
  ZipReader archive;
};

Npz::Npz(const std::string& path) {
  auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  state_ = std::make_unique<State>(std::move(file), path, ZipReader(bytes, path));
}
Npz::Npz(std::span<const std::byte> bytes, std::string_view name)
    : state_(std::make_unique<State>(nullptr, std::string(name),
                                     ZipReader(bytes, std::string(name)))) {}
Npz::~Npz() = default;
Npz::Npz(Npz&&) noexcept = default;
Npz& Npz::operator=(Npz&&) noexcept = default;

std::vector<std::string> Npz::names() const {
  std::vector<std::string> names;
  for (const auto& member : state_->archive.members())
    if (member.name.ends_with(suffix))
      names.push_back(member.name.substr(0, member.name.size() - suffix.size()));
  return names;
}

bool Npz::contains(std::string_view name) const {
  const auto all = names();
  return std::find(all.begin(), all.end(), name) != all.end();
}

Tensor Npz::load(std::string_view name) const {
  const std::string wanted = concat(name, suffix);
  for (const auto& member : state_->archive.members())
    if (member.name == wanted) return read_array(*state_->archive.open(member));
  std::string all;
  for (const std::string& there : names()) all += (all.empty() ? "" : ", ") + there;
  throw Error(ErrorKind::io, concat(state_->name, ": has no array '", name, "', only ",
                                    all.empty() ? "none" : all));
}

std::map<std::string, Tensor> Npz::load_all() const {
  std::map<std::string, Tensor> tensors;
  for (const auto& member : state_->archive.members()) {
    if (!member.name.ends_with(suffix)) continue;
    const std::string name = member.name.substr(0, member.name.size() - suffix.size());
    tensors.emplace(name, read_array(*state_->archive.open(member)));
  }
  return tensors;
}

void save_npz(const std::string& path, const std::map<std::string, Tensor>& tensors,
              NpzMethod method) {
  AtomicFile file(path);
  ZipWriter archive(
      file, method == NpzMethod::stored ? ZipWriter::Method::stored : ZipWriter::Method::deflated);
  for (const auto& [name, tensor] : tensors) {
    TS_CHECK(tensor.has_data(), "save_npz: ", path, ": tensor '", name, "' has no data");
    const Encoded encoded(concat(path, ": '", name, "'"), tensor);
    archive.add(name + std::string(suffix), encoded.head(), encoded.body());
  }
  archive.finish();
  file.commit();
}

}  // namespace tessera
