#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/io/bmp.hpp"
#include "tessera/runtime/io/cifar.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/idx.hpp"
#include "tessera/runtime/io/mat.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/runtime/io/png.hpp"
#include "tessera/runtime/io/safetensors.hpp"
#include "tessera/tests/support/files.hpp"

/// Valid files, damaged at random in ways that know the formats, go through each reader. It must
/// return tensors or throw an `io` Error that names the file; sanitizer builds also see every stray
/// access. The environment variable TESSERA_FUZZ is the number of files per format; a failure names
/// the one at fault.
namespace tessera {
namespace {

using test::golden;
using test::Numbers;
using test::TemporaryFolder;

int iterations() {
  const char* text = std::getenv("TESSERA_FUZZ");
  return text ? std::stoi(text) : 2000;
}

std::string read_text(const std::string& path) {
  const auto bytes = test::read_bytes(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Makes CRCs in a ZIP directory right again where stored members still lie inside the file, so that
// damage reaches the reader behind the check.
void refresh_crcs(std::string& zip) {
  const auto number = [&](size_t at, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i)
      value |= uint64_t{static_cast<unsigned char>(zip[at + i])} << (8 * i);
    return value;
  };
  for (size_t at = zip.find("PK\1\2"); at != zip.npos && at + 46 <= zip.size();
       at = zip.find("PK\1\2", at + 4)) {
    const uint64_t size = number(at + 20, 4), local = number(at + 42, 4);
    if (number(at + 10, 2) != 0 || local + 30 > zip.size()) continue;
    const uint64_t data = local + 30 + number(local + 26, 2) + number(local + 28, 2);
    if (data > zip.size() || size > zip.size() - data) continue;
    uint32_t crc = 0xFFFFFFFF;
    for (uint64_t i = data; i < data + size; ++i) {
      crc ^= static_cast<unsigned char>(zip[i]);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    crc = ~crc;
    for (size_t i = 0; i < 4; ++i) zip[at + 16 + i] = static_cast<char>(crc >> (8 * i));
  }
}

class Mutator {
 public:
  Mutator(const std::vector<std::string>& seeds, uint64_t number) : seeds_(seeds), next_(number) {}

  std::string file() {
    std::string out = seeds_[below(seeds_.size())];
    const size_t changes = 1 + below(4);
    for (size_t i = 0; i < changes; ++i) change(out);
    if (below(2) == 0) refresh_crcs(out);
    return out;
  }

 private:
  size_t below(size_t bound) { return bound ? next_() % bound : 0; }

  uint64_t interesting() {
    static constexpr uint64_t values[] = {0,
                                          1,
                                          2,
                                          7,
                                          8,
                                          0x7F,
                                          0x80,
                                          0xFF,
                                          0x7FFF,
                                          0xFFFF,
                                          0x10000,
                                          0x7FFFFFFF,
                                          0x80000000,
                                          0xFFFFFFFF,
                                          0x100000000,
                                          0x7FFFFFFFFFFFFFFF,
                                          0x8000000000000000,
                                          0xFFFFFFFFFFFFFFFF,
                                          0xFFFFFFFFFFFFFFF8};
    return below(3) ? values[below(std::size(values))] : next_();
  }

  void overwrite(std::string& out, size_t at, size_t width) {
    const uint64_t value = interesting();
    const bool big = below(2) == 0;
    for (size_t i = 0; i < width && at + i < out.size(); ++i)
      out[at + i] = static_cast<char>(value >> (8 * (big ? width - 1 - i : i)));
  }

  // A number written in digits becomes another.
  void change_digits(std::string& out) {
    const size_t start = out.find_first_of("0123456789", below(std::min<size_t>(out.size(), 600)));
    if (start == out.npos) return;
    const size_t end = std::min(out.find_first_not_of("0123456789", start), out.size());
    static const std::vector<std::string> numbers{"0",
                                                  "1",
                                                  "3",
                                                  "-1",
                                                  "1.5",
                                                  "1e9",
                                                  "255",
                                                  "65536",
                                                  "4294967295",
                                                  "4294967296",
                                                  "9223372036854775807",
                                                  "18446744073709551615",
                                                  "99999999999999999999999",
                                                  ""};
    out.replace(start, end - start,
                below(2) ? numbers[below(numbers.size())] : std::to_string(next_() % 40));
  }

  // A word of a header becomes another of its kind.
  void change_word(std::string& out) {
    static const std::vector<std::vector<std::string>> kinds{
        {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL",
         "F8_E4M3"},
        {"<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1", ">f8",
         ">i4", ">u8", "<c8", "|O", "<U7"},
        {"True", "False", "true", "false", "null", "None"},
        {"dtype", "shape", "data_offsets", "descr", "fortran_order", "__metadata__", "lr",
         "epochs"},
        {"(", ")", "[", "]", "{", "}", ",", ":", "'", "\"", "\\u00e9", "\xff", "\n"},
        {"PK\1\2", "PK\3\4", "PK\5\6", "PK\6\6", "PK\6\7"}};
    const auto& words = kinds[below(kinds.size())];
    const std::string& old = words[below(words.size())];
    const size_t at = out.find(old, below(out.size()));
    if (at != out.npos) out.replace(at, old.size(), words[below(words.size())]);
  }

  // A field of a ZIP record, found by its signature.
  void change_record(std::string& out) {
    static const std::vector<std::pair<std::string, size_t>> records{
        {"PK\1\2", 46}, {"PK\3\4", 30}, {"PK\5\6", 22}, {"PK\6\6", 56}, {"PK\6\7", 20}};
    const auto& [signature, size] = records[below(records.size())];
    size_t at = out.find(signature, below(out.size()));
    if (at == out.npos) at = out.find(signature);
    if (at != out.npos) overwrite(out, at + 4 + below(size - 4), size_t{1} << below(4));
  }

  void change(std::string& out) {
    const size_t at = below(out.size()), length = below(std::min<size_t>(out.size() - at, 64) + 1);
    switch (below(13)) {
      case 0:
      case 1:
        if (!out.empty()) out[at] = static_cast<char>(out[at] ^ 1 << below(8));
        break;
      case 2:
        overwrite(out, at, size_t{1} << below(4));
        break;
      case 3:
        overwrite(out, below(std::min<size_t>(out.size(), 32)), size_t{1} << below(4));
        break;
      case 4:
        out.resize(at);
        break;
      case 5:
        out.append(below(64), static_cast<char>(next_()));
        break;
      case 6:
        out.erase(at, length);
        break;
      case 7:
        out.insert(at, out.substr(at, length));
        break;
      case 8: {  // the start of one file, the end of another
        const std::string& other = seeds_[below(seeds_.size())];
        out = out.substr(0, at) + other.substr(below(other.size()));
        break;
      }
      case 9:
      case 10:
        change_digits(out);
        break;
      case 11:
        change_word(out);
        break;
      default:
        change_record(out);
    }
  }

  const std::vector<std::string>& seeds_;
  Numbers next_;
};

// Reads all of a tensor, so that memory it should not see is noticed.
void touch(const Tensor& t) {
  static volatile unsigned sink = 0;
  ASSERT_TRUE(t.contiguous());
  const auto* bytes = static_cast<const unsigned char*>(t.numel() ? t.data() : nullptr);
  unsigned sum = 0;
  for (size_t i = 0; i < static_cast<size_t>(t.numel()) * size_of(t.dtype()); ++i) {
    sum += bytes[i];
    ASSERT_TRUE(t.dtype() != DType::bool_ || bytes[i] <= 1);
  }
  sink = sink + sum;
}

using Bytes = std::span<const std::byte>;

// Feeds `iterations()` damaged files to `read`.
template <class Read>
void fuzz(const std::vector<std::string>& seeds, int variety, const Read& read) {
  for (const std::string& seed : seeds) ASSERT_NO_THROW(read(std::as_bytes(std::span(seed))));
  // Far more than honest files of this size hold, even deflated ones, and far less than damaged
  // sizes ask for.
  const AllocatorScope scope(
      Device::Type::cpu,
      std::make_shared<LimitAllocator>(std::make_shared<DriverAllocator>(), int64_t{256} << 20));
  int accepted = 0, refused = 0;
  std::set<std::string> messages;  // without numbers and names
  for (int i = 0; i < iterations(); ++i) {
    const std::string file = Mutator(seeds, static_cast<uint64_t>(i)).file();
    // An allocation of just the right size lets the sanitizer see reads past the end.
    const std::vector<std::byte> bytes(
        reinterpret_cast<const std::byte*>(file.data()),
        reinterpret_cast<const std::byte*>(file.data() + file.size()));
    try {
      read(Bytes(bytes));
      ++accepted;
    } catch (const Error& error) {
      ++refused;
      const std::string message = error.what();
      ASSERT_NE(message.find("fuzz"), std::string::npos)
          << "file " << i << ": the error names no file: " << message;
      ASSERT_TRUE(error.kind() == ErrorKind::io || error.kind() == ErrorKind::invalid_argument)
          << "file " << i << ": " << message;
      std::string pattern;
      bool quoted = false;
      for (const char c : message) {
        if (c == '\'' || c == '"') quoted = !quoted;
        if (!quoted && (c < '0' || c > '9')) pattern += c;
      }
      messages.insert(pattern);
    } catch (const std::exception& error) {
      FAIL() << "file " << i << ": not an Error of ours: " << error.what();
    }
  }
  ::testing::Test::RecordProperty("accepted", accepted);
  ::testing::Test::RecordProperty("refused", refused);
  ::testing::Test::RecordProperty("messages", static_cast<int>(messages.size()));
  if (iterations() >= 1000) {
    EXPECT_GT(accepted, iterations() / 100) << "the damage is so great that no file gets through";
    EXPECT_GT(refused, iterations() / 10);
    EXPECT_GE(static_cast<int>(messages.size()), variety) << "few kinds of errors are ever reached";
  }
}

std::vector<std::string> golden_files(const std::string& suffix) {
  std::vector<std::string> paths, seeds;
  for (const auto& entry : std::filesystem::directory_iterator(golden("files")))
    if (entry.path().extension() == suffix && entry.path().stem() != "complex64")
      paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) seeds.push_back(read_text(path));
  EXPECT_FALSE(seeds.empty());
  return seeds;
}

const std::map<std::string, Tensor>& small_tensors() {
  static const std::map<std::string, Tensor> tensors{
      {"a", test::integers({3, 4}, DType::f32, 1)},
      {"mask", Tensor::zeros({5}, DType::bool_, Device::cpu())},
      {"ids", test::integers({7}, DType::i64, 2)}};
  return tensors;
}

TEST(FuzzReaders, Npy) {
  fuzz(golden_files(".npy"), 20, [](Bytes bytes) { touch(parse_npy(bytes, "fuzz")); });
}

TEST(FuzzReaders, NpyByRows) {
  const TemporaryFolder folder;
  const std::string path = folder / "fuzz.npy";
  fuzz(golden_files(".npy"), 20, [&](Bytes bytes) {
    test::write_bytes(path, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    const NpyFile file(path);
    const int64_t rows = file.shape().rank() == 0 ? 0 : file.shape()[0];
    try {
      for (int64_t first = 0; first < std::min<int64_t>(rows, 1 << 10); first += 2)
        touch(file.rows(first, std::min<int64_t>(2, rows - first)));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::unsupported) throw;  // in Fortran's order
    }
  });
}

TEST(FuzzReaders, Npz) {
  auto seeds = golden_files(".npz");
  const TemporaryFolder folder;
  for (const NpzMethod method : {NpzMethod::stored, NpzMethod::deflated}) {
    save_npz(folder / "t.npz", small_tensors(), method);
    seeds.push_back(read_text(folder / "t.npz"));
  }
  fuzz(seeds, 30, [](Bytes bytes) {
    for (const auto& [name, tensor] : Npz(bytes, "fuzz").load_all()) touch(tensor);
  });
}

TEST(FuzzReaders, Safetensors) {
  auto seeds = golden_files(".safetensors");
  const TemporaryFolder folder;
  save_safetensors(folder / "t", small_tensors(), {{"note", "text"}});
  seeds.push_back(read_text(folder / "t"));
  fuzz(seeds, 30, [](Bytes bytes) {
    for (const auto& [name, tensor] : parse_safetensors(bytes, "fuzz").tensors) touch(tensor);
  });
}

TEST(FuzzReaders, Mat) {
  fuzz(golden_files(".mat"), 20, [](Bytes bytes) {
    const MatFile file(bytes, "fuzz");
    for (const MatFile::Variable& v : file.variables())
      if (v.numeric) touch(file.load(v.name));
  });
}

/// Headers and numbers of ENVI rasters as one file, so that damage reaches both.
std::vector<std::string> envi_seeds() {
  const std::string header =
      "ENVI\ndescription = {\n a}\nsamples = 3\nlines = 2\nbands = 4\nheader offset = 2\ndata type "
      "= 2\ninterleave = bil\nbyte order = 1\nwavelength = {400, 500.5,\n 600, 7e2}\nbbl = {1, 1, "
      "0, "
      "1}\ndefault bands = {1, 2, 3}\ndata ignore value = -1\nmap info = {UTM}\n";
  const std::string numbers = "\n--\nxx" + std::string(48, '\3');
  return {header + numbers,
          header + "fwhm = {1, 2, 3, 4}\nreflectance scale factor = 1e4" + numbers};
}

std::pair<std::string, std::string> header_and_numbers(Bytes bytes) {
  const std::string all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t cut = std::min(all.find("\n--\n"), all.size());
  return {all.substr(0, cut), all.substr(std::min(cut + 4, all.size()))};
}

TEST(FuzzReaders, Envi) {
  fuzz(envi_seeds(), 15, [](Bytes bytes) {
    const auto [header, numbers] = header_and_numbers(bytes);
    touch(parse_envi_values(parse_envi_header(header, "fuzz"),
                            bytes.subspan(bytes.size() - numbers.size()), "fuzz"));
  });
}

TEST(FuzzReaders, EnviByLines) {
  const TemporaryFolder folder;
  fuzz(envi_seeds(), 15, [&](Bytes bytes) {
    const auto [header, numbers] = header_and_numbers(bytes);
    test::write_bytes(folder / "fuzz.hdr", header);
    test::write_bytes(folder / "fuzz.img", numbers);
    const EnviFile file(folder / "fuzz.img");
    for (int64_t first = 0; first < std::min<int64_t>(file.header().lines, 1 << 10); first += 3)
      touch(file.lines(first, std::min<int64_t>(3, file.header().lines - first))
                .permute(file_order(file.header().interleave)));
  });
}

TEST(FuzzReaders, Bmp) {
  using std::string;
  const string head("BM\0\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0\3\0\0\0\2\0\0\0\1\0\1\0", 30);
  const string one_bit = head + string(16, '\0') + string("\2\0\0\0\0\0\0\0", 8) +
                         string("\0\0\0\0\xff\xff\xff\0", 8) + string(8, '\x40');
  string colours = one_bit;
  colours[10] = 54;
  colours[28] = 24;
  fuzz({one_bit, colours + string(24, 'c')}, 5,
       [](Bytes bytes) { touch(parse_bmp(bytes, "fuzz")); });
}

TEST(FuzzReaders, Png) {
  if (!png_available()) GTEST_SKIP() << "this build has no libpng";
  const TemporaryFolder folder;
  std::vector<std::string> seeds;
  for (const Shape& shape : {Shape{5, 7}, Shape{4, 3, 3}}) {
    save_png(folder / "seed.png", test::integers(shape, DType::u8, 1));
    seeds.push_back(read_text(folder / "seed.png"));
  }
  fuzz(seeds, 5, [](Bytes bytes) { touch(parse_png(bytes, "fuzz")); });
}

TEST(FuzzReaders, Idx) {
  using std::string;
  const string plain = string("\0\0\x08\3\0\0\0\2\0\0\0\3\0\0\0\4", 16) + string(24, 'x');
  const string wide = string("\0\0\x0e\1\0\0\0\2", 8) + string(16, '\1');
  // The same bytes as `gzip -n` packs them: header, one stored block, CRC, length.
  const string packed = string(
      "\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x0b\0\xf4\xff\0\0\x08\1\0\0\0\3abc\x54\x24\x25\xc4\x0b\0\0"
      "\0",
      34);
  fuzz({plain, wide, packed}, 10, [](Bytes bytes) { touch(parse_idx(bytes, "fuzz")); });
}

TEST(FuzzReaders, Cifar) {
  const std::string ten = (std::string(1, '\3') + std::string(3072, 'p')) + std::string(3073, '\1');
  const std::string hundred = std::string("\3\x50", 2) + std::string(3072, 'p');
  fuzz({ten, hundred}, 2, [](Bytes bytes) {
    const bool hundred_classes = bytes.size() % 3074 == 0;
    const CifarImages images =
        parse_cifar(bytes, "fuzz", hundred_classes ? CifarKind::cifar100 : CifarKind::cifar10);
    touch(images.images);
    touch(images.labels);
  });
}

struct Settings {
  int epochs = 3;
  double lr = 0.1;
  bool flag = false;
  std::string name = "x";
  std::vector<int> hidden{1, 2};
  DType dtype = DType::f32;
  static void visit(auto& self, auto&& f) {
    f("epochs", self.epochs);
    f("lr", self.lr);
    f("flag", self.flag);
    f("name", self.name);
    f("hidden", self.hidden);
    f("dtype", self.dtype);
  }
};

TEST(FuzzReaders, Config) {
  fuzz(
      {R"({"epochs": 7, "lr": 1e-3, "flag": true, "name": "a\u00e9", "hidden": [3, 4], "dtype": "bf16"})",
       to_string(config_json(Settings{}), 2)},
      30, [](Bytes bytes) {
        Settings settings;
        parse_config(settings, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "fuzz");
      });
}

}  // namespace
}  // namespace tessera
