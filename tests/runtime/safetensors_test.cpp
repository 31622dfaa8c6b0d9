#include "tessera/runtime/io/safetensors.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
using test::golden;
using test::sample_values;
using test::TemporaryFolder;
using test::to_doubles;

// A file from its parts; the length field is the header's unless given.
std::string file(const std::string& header, const std::string& data, int64_t length = -1) {
  const auto n = static_cast<uint64_t>(length >= 0 ? length : static_cast<int64_t>(header.size()));
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(n >> (8 * i));
  return out + header + data;
}

Safetensors parse(const std::string& content) {
  return parse_safetensors(std::as_bytes(std::span(content)), "x.safetensors");
}

std::string one(const std::string& fields) { return "{\"a\":{" + fields + "}}"; }

class AllTypes : public ::testing::TestWithParam<FileAccess> {};

TEST_P(AllTypes, ReadsWhatTheReferenceWrote) {
  const Safetensors f = read_safetensors(golden("files/all_types.safetensors"), GetParam());
  EXPECT_EQ(f.metadata.at("writer"), "safetensors");
  ASSERT_EQ(f.tensors.size(), 12u);
  const std::map<std::string, std::pair<DType, char>> expected{
      {"float64", {DType::f64, 'f'}}, {"float32", {DType::f32, 'f'}},
      {"float16", {DType::f16, 'f'}}, {"bfloat16", {DType::bf16, 'f'}},
      {"int64", {DType::i64, 'i'}},   {"int32", {DType::i32, 'i'}},
      {"int16", {DType::i16, 'i'}},   {"int8", {DType::i8, 'i'}},
      {"uint8", {DType::u8, 'u'}},    {"bool", {DType::bool_, 'b'}}};
  for (const auto& [name, type] : expected) {
    const Tensor& t = f.tensors.at(name);
    EXPECT_EQ(t.dtype(), type.first) << name;
    EXPECT_EQ(t.shape(), (Shape{2, 3})) << name;
    EXPECT_EQ(to_doubles(t), sample_values(6, type.second)) << name;
  }
  EXPECT_EQ(f.tensors.at("scalar").rank(), 0);
  EXPECT_EQ(f.tensors.at("scalar").item(), -3);
  EXPECT_EQ(f.tensors.at("empty").shape(), (Shape{0, 3}));
}

TEST_P(AllTypes, AcceptsUnalignedTensors) {
  const auto tensors = read_safetensors(golden("files/unaligned.safetensors"), GetParam()).tensors;
  EXPECT_EQ(to_doubles(tensors.at("small")), sample_values(3, 'i'));
  EXPECT_EQ(to_doubles(tensors.at("wide")), sample_values(6, 'f'));
}

INSTANTIATE_TEST_SUITE_P(Access, AllTypes, ::testing::Values(FileAccess::copy, FileAccess::map));

TEST(Safetensors, RoundTripOfEveryDtypeAndLayout) {
  const TemporaryFolder folder;
  const std::string path = folder / "t.safetensors";
  std::map<std::string, Tensor> tensors;
  for (int d = 0; d < dtype_count; ++d) {
    const auto dtype = static_cast<DType>(d);
    for_any(dtype, [&]<class T>() {
      const auto values = std::make_unique<T[]>(35);
      for (int i = 0; i < 35; ++i) values[i] = static_cast<T>(static_cast<float>(i % 2));
      tensors[std::string(to_string(dtype))] =
          Tensor::from(std::span<const T>(values.get(), 35), {5, 7}, Device::cpu());
    });
  }
  tensors["transposed"] =
      Tensor::from<float>({0, 1, 2, 3, 4, 5}, {2, 3}, Device::cpu()).transpose(0, 1);
  tensors["broadcast"] = Tensor::from<double>({1, 2}, {2, 1}, Device::cpu()).broadcast_to({2, 3});
  tensors["scalar"] = Tensor::from<int64_t>({-7}, {}, Device::cpu());
  tensors["empty"] = Tensor::empty({3, 0, 2}, DType::f16, Device::cpu());
  tensors["quote\" \xc3\xa9 \n"] = Tensor::from<int8_t>({1}, {1}, Device::cpu());
  const std::map<std::string, std::string> metadata{{"step", "12"}, {"note", "a \"b\"\\ \n"}};
  save_safetensors(path, tensors, metadata);

  for (const FileAccess access : {FileAccess::copy, FileAccess::map}) {
    const Safetensors read = read_safetensors(path, access);
    EXPECT_EQ(read.metadata, metadata);
    ASSERT_EQ(read.tensors.size(), tensors.size());
    for (const auto& [name, t] : tensors) {
      const Tensor& r = read.tensors.at(name);
      EXPECT_EQ(r.dtype(), t.dtype()) << name;
      EXPECT_EQ(r.shape(), t.shape()) << name;
      EXPECT_TRUE(r.contiguous()) << name;
      EXPECT_EQ(to_doubles(r), to_doubles(t)) << name;
    }
  }
}

TEST(Safetensors, HeaderIsPaddedAndTensorsAligned) {
  const TemporaryFolder folder;
  for (int length = 1; length <= 9; ++length) {  // every remainder of the header's length
    const std::string path = folder / "t.safetensors";
    save_safetensors(path, {{std::string(static_cast<size_t>(length), 'a'),
                             Tensor::from<int8_t>({1, 2, 3}, {3}, Device::cpu())},
                            {"b", Tensor::from<double>({5}, {1}, Device::cpu())}});
    const auto bytes = test::read_bytes(path);
    EXPECT_EQ(std::to_integer<int>(bytes[0]) % 8, 0);
    const auto tensors = read_safetensors(path, FileAccess::map).tensors;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensors.at("b").data()) % 8, 0u);
  }
}

TEST(Safetensors, MappedTensorsOutliveTheFileNameAndArePrivate) {
  const TemporaryFolder folder;
  const std::string path = folder / "t.safetensors";
  save_safetensors(path, {{"a", Tensor::from<float>({1, 2, 3}, {3}, Device::cpu())}});
  Tensor a = read_safetensors(path, FileAccess::map).tensors.at("a");
  a.host_mutable<float>()[0] = 9;
  EXPECT_EQ(load_safetensors(path).at("a").values<float>(), (std::vector<float>{1, 2, 3}));
  save_safetensors(path, {{"a", Tensor::from<float>({7, 7, 7}, {3}, Device::cpu())}});
  std::filesystem::remove(path);
  EXPECT_EQ(a.values<float>(), (std::vector<float>{9, 2, 3}));
}

TEST(Safetensors, EmptyFileOfNoTensors) {
  const TemporaryFolder folder;
  save_safetensors(folder / "none", {});
  EXPECT_TRUE(load_safetensors(folder / "none").empty());
}

TEST(Safetensors, NamesWhatIsWrong) {
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const std::string eight(8, '\0');
  EXPECT_EQ(parse(file(one(good), eight)).tensors.at("a").shape(), Shape{2});
  EXPECT_EQ(parse(file(one(good) + "   ", eight)).tensors.size(), 1u);

  const auto refuses = [](const std::string& content, const std::vector<std::string>& parts) {
    std::vector<std::string> all{"x.safetensors"};
    all.insert(all.end(), parts.begin(), parts.end());
    expect_error([&] { parse(content); }, all);
  };
  refuses("", {"header length", "byte 0"});
  refuses("1234567", {"header length"});
  refuses(file(one(good), eight, 500), {"the header", "takes 500 bytes"});
  refuses(file(one(good), eight, INT64_MAX), {"limit"});
  refuses(file("[]", ""), {"must be a JSON object", "array"});
  refuses(file("", ""), {"JSON"});
  refuses(file("{", ""), {"JSON", "byte"});
  refuses(file(one(good) + "x", eight), {"JSON"});
  refuses(file("{\"a\":\"\xff\"}", ""), {"JSON"});
  refuses(file("{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}", ""),
          {"nested"});
  refuses(file("{\"a\":{" + good + "},\"a\":{" + good + "}}", eight), {"\"a\"", "repeated"});
  refuses(file("{\"a\":3}", ""), {"\"a\"", "integer"});
  refuses(file(one(R"("dtype":"F32","shape":[2])"), eight), {"\"a\"", "data_offsets"});
  refuses(file(one(R"("shape":[2],"data_offsets":[0,8])"), eight), {"dtype"});
  refuses(file(one(R"("dtype":"F32","data_offsets":[0,8])"), eight), {"shape"});
  refuses(file(one(good + ",\"extra\":1"), eight), {"extra"});
  refuses(file(one(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])"), eight), {"F8_E4M3"});
  refuses(file(one(R"("dtype":1,"shape":[2],"data_offsets":[0,8])"), eight), {"dtype", "string"});
  refuses(file(one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), eight), {"shape"});
  refuses(file(one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), eight), {"shape"});
  refuses(file(one(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"), eight),
          {"shape"});
  refuses(file(one(R"("dtype":"U8","shape":[1,1,1,1,1,1,8],"data_offsets":[0,8])"), eight),
          {"rank 7"});
  refuses(file(one(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])"), ""),
          {"more elements"});
  refuses(file(one(R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])"), ""),
          {"more elements"});
  refuses(file(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), eight),
          {"takes 12", "span 8"});
  refuses(file(one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), eight), {"ascending"});
  refuses(file(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])"), eight),
          {"data_offsets"});
  refuses(file(one(good), "1234"), {"\"a\"", "truncated"});
  refuses(file(one(good), eight + "1"), {"1 bytes", "no tensor"});
  refuses(file(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), eight), {"gap"});
  refuses(file(R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},
                   "b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
               eight),
          {"\"b\"", "inside"});
  refuses(file(one(R"("dtype":"BOOL","shape":[3],"data_offsets":[0,3])"), std::string("\1\0\2", 3)),
          {"\"a\"", "bool"});
  refuses(file(one(R"("dtype":"U64","shape":[1],"data_offsets":[0,8])"), std::string(8, '\xff')),
          {"\"a\"", "18446744073709551615"});
  refuses(file(R"({"__metadata__":{"a":1}})", ""), {"__metadata__", "string"});
  refuses(file(R"({"__metadata__":[]})", ""), {"__metadata__"});
}

TEST(Safetensors, MissingFileAndFolderAreNamed) {
  expect_error([] { load_safetensors("/no/such/file"); }, {"/no/such/file", "No such file"});
  expect_error([] { load_safetensors("/tmp"); }, {"/tmp", "directory"});
}

TEST(Safetensors, FailedWriteKeepsTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "t.safetensors";
  const Tensor a = Tensor::from<float>({1, 2, 3}, {3}, Device::cpu());
  save_safetensors(path, {{"a", a}});

  expect_error(
      [&] {
        save_safetensors(path, {{"\xff", a}});
      },
      {"UTF-8"}, ErrorKind::invalid_argument);
  expect_error(
      [&] {
        save_safetensors(path, {{"__metadata__", a}});
      },
      {"__metadata__"}, ErrorKind::invalid_argument);
  expect_error(
      [&] {
        save_safetensors(path, {{"a", Tensor::meta({2}, DType::f32, Device::cpu())}});
      },
      {"\"a\"", "no data"}, ErrorKind::invalid_argument);
  expect_error(
      [&] {
        save_safetensors(folder / "none/t", {{"a", a}});
      },
      {"none/t", "No such file"});

  // A full disk, played by the limit on file sizes.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit tight{1000, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  expect_error(
      [&] {
        save_safetensors(path, {{"a", Tensor::zeros({5000}, DType::f32, Device::cpu())}});
      },
      {path, "cannot write", "File too large"});
  setrlimit(RLIMIT_FSIZE, &old);

  EXPECT_EQ(load_safetensors(path).at("a").values<float>(), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(folder.names().size(), 1u) << "a temporary file was left behind";
}

}  // namespace
}  // namespace tessera
