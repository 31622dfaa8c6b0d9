#include "tessera/runtime/io/npy.hpp"

#include <gtest/gtest.h>

#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
using test::golden;
using test::sample_values;
using test::TemporaryFolder;
using test::to_doubles;

struct Sample {
  std::string name;
  DType dtype;
  char kind;
};
const std::vector<Sample> samples{
    {"float64", DType::f64, 'f'}, {"float32", DType::f32, 'f'}, {"float16", DType::f16, 'f'},
    {"int64", DType::i64, 'i'},   {"int32", DType::i32, 'i'},   {"int16", DType::i16, 'i'},
    {"int8", DType::i8, 'i'},     {"uint64", DType::i64, 'u'},  {"uint32", DType::i64, 'u'},
    {"uint16", DType::u16, 'u'},  {"uint8", DType::u8, 'u'},    {"bool", DType::bool_, 'b'}};

void expect_sample(const Tensor& t, const Sample& sample, const Shape& shape = {2, 3}) {
  EXPECT_EQ(t.dtype(), sample.dtype) << sample.name;
  EXPECT_EQ(t.shape(), shape) << sample.name;
  EXPECT_TRUE(t.contiguous()) << sample.name;
  EXPECT_EQ(to_doubles(t), sample_values(shape.numel(), sample.kind)) << sample.name;
}

TEST(Npy, ReadsEveryTypeThatNumpyWrote) {
  for (const Sample& s : samples) expect_sample(load_npy(golden("files/" + s.name + ".npy")), s);
}

TEST(Npy, ReadsOtherByteOrdersLayoutsAndVersions) {
  for (const Sample& s : samples) {
    const std::string path = golden("files/" + s.name + "_big_endian.npy");
    if (std::filesystem::exists(path)) expect_sample(load_npy(path), s);
  }
  expect_sample(load_npy(golden("files/float32_fortran.npy")), samples[1], {3, 4});
  expect_sample(load_npy(golden("files/int32_fortran_big_endian.npy")), samples[4], {3, 4});
  expect_sample(load_npy(golden("files/float32_v2.npy")), samples[1]);
  expect_sample(load_npy(golden("files/float32_v3.npy")), samples[1]);
  expect_sample(load_npy(golden("files/float32_rank3.npy")), samples[1], {2, 3, 4});
  expect_sample(load_npy(golden("files/float64_scalar.npy")), samples[0], {});
  expect_sample(load_npy(golden("files/float32_empty.npy")), samples[1], {0, 3});
}

TEST(Npy, ReadsArchivesThatNumpyWrote) {
  for (const char* file : {"files/stored.npz", "files/deflated.npz"}) {
    const Npz npz(golden(file));
    for (const Sample& s : samples) expect_sample(npz.load(s.name), s);
    expect_sample(npz.load("fortran"), samples[1], {3, 4});
    expect_sample(npz.load("scalar"), samples[0], {});
    expect_sample(npz.load("empty"), samples[4], {0, 3});
    EXPECT_TRUE(npz.contains("scalar"));
    EXPECT_FALSE(npz.contains("scalar.npy"));
    EXPECT_EQ(npz.load_all().size(), npz.names().size());
    expect_error([&] { npz.load("scalars"); }, {file, "'scalars'", "float64"});
  }
  const auto values = Npz(golden("files/deflated.npz")).load("long").values<int32_t>();
  ASSERT_EQ(values.size(), 2048u);
  for (int i = 0; i < 2048; ++i)
    EXPECT_EQ(values[static_cast<size_t>(i)], ((i - 3) % 37 + 37) % 37);
}

TEST(Npy, RoundTripOfEveryDtypeAndLayout) {
  const TemporaryFolder folder;
  std::map<std::string, Tensor> tensors;
  for (int d = 0; d < dtype_count; ++d) {
    const auto dtype = static_cast<DType>(d);
    if (dtype == DType::bf16) continue;
    for (const Shape& shape : {Shape{}, Shape{5}, Shape{5, 7}, Shape{0}, Shape{2, 1, 3, 1, 2, 3}}) {
      for_any(dtype, [&]<class T>() {
        Tensor t = Tensor::empty(shape, dtype, Device::cpu());
        int i = 0;
        for (T& value : t.host_mutable<T>()) value = static_cast<T>(static_cast<float>(i++ % 2));
        tensors[concat(dtype, " ", shape)] = t;
      });
    }
  }
  tensors["transposed"] =
      Tensor::from<float>({0, 1, 2, 3, 4, 5}, {2, 3}, Device::cpu()).transpose(0, 1);
  tensors["broadcast"] = Tensor::from<double>({1, 2}, {2, 1}, Device::cpu()).broadcast_to({2, 3});

  const auto expect_equal = [](const Tensor& a, const Tensor& b, const std::string& name) {
    EXPECT_EQ(a.dtype(), b.dtype()) << name;
    EXPECT_EQ(a.shape(), b.shape()) << name;
    EXPECT_EQ(to_doubles(a), to_doubles(b)) << name;
  };
  for (const auto& [name, t] : tensors) {
    save_npy(folder / "t.npy", t);
    const auto bytes = test::read_bytes(folder / "t.npy");
    EXPECT_EQ((bytes.size() - static_cast<size_t>(t.numel()) * size_of(t.dtype())) % 64, 0u);
    expect_equal(load_npy(folder / "t.npy"), t, name);
  }
  for (const NpzMethod method : {NpzMethod::stored, NpzMethod::deflated}) {
    save_npz(folder / "t.npz", tensors, method);
    const auto read = load_npz(folder / "t.npz");
    ASSERT_EQ(read.size(), tensors.size());
    for (const auto& [name, t] : tensors) expect_equal(read.at(name), t, name);
  }
}

TEST(Npy, WritesTheBytesThatNumpyWrites) {
  const TemporaryFolder folder;
  for (const char* name : {"float64", "float32", "float16", "int64", "int32", "int8", "uint8",
                           "bool", "float64_scalar", "float32_empty", "float32_rank3"}) {
    const std::string reference = golden(concat("files/", name, ".npy"));
    save_npy(folder / "t.npy", load_npy(reference));
    EXPECT_EQ(test::read_bytes(folder / "t.npy"), test::read_bytes(reference)) << name;
  }
}

TEST(Npy, DeflatedIsSmallerAndWritingIsDeterministic) {
  const TemporaryFolder folder;
  const std::map<std::string, Tensor> tensors{
      {"zeros", Tensor::zeros({400, 1000}, DType::f32, Device::cpu())}};
  save_npz(folder / "a", tensors, NpzMethod::deflated);
  save_npz(folder / "b", tensors, NpzMethod::deflated);
  save_npz(folder / "c", tensors);
  EXPECT_EQ(test::read_bytes(folder / "a"), test::read_bytes(folder / "b"));
  EXPECT_LT(std::filesystem::file_size(folder / "a"), 10'000u);
  EXPECT_GT(std::filesystem::file_size(folder / "c"), 1'600'000u);
}

// A version 1.0 file from its dict and data.
std::string npy(const std::string& dict, const std::string& data, int major = 1) {
  std::string out = "\x93NUMPY";
  out += static_cast<char>(major);
  out += '\0';
  out += static_cast<char>(dict.size() & 255);
  out += static_cast<char>(dict.size() >> 8);
  if (major > 1) out += std::string(2, '\0');
  return out + dict + data;
}

Tensor parse(const std::string& content) {
  return parse_npy(std::as_bytes(std::span(content)), "x.npy");
}

TEST(Npy, AcceptsUnusualHeaders) {
  const std::string data("\1\0\0\0\2\0\0\0", 8);
  for (const char* dict :
       {"{'descr':'<i4','fortran_order':False,'shape':(2,)}",
        "{\"shape\": (2L,), \"descr\": \"=i4\", \"fortran_order\": True}\n",
        "  { 'fortran_order' : False , 'descr' : '<i4' , 'shape' : ( 2 , ) , }   \n"})
    EXPECT_EQ(parse(npy(dict, data)).values<int32_t>(), (std::vector{1, 2})) << dict;
  EXPECT_EQ(
      parse(npy("{'descr':'>i4','fortran_order':False,'shape':(2,)}", data)).values<int32_t>(),
      (std::vector{1 << 24, 2 << 24}));
}

TEST(Npy, WidensLosslesslyOrRefuses) {
  const auto one = [](const std::string& descr, const std::string& data) {
    return parse(npy("{'descr':'" + descr + "','fortran_order':False,'shape':()}", data));
  };
  EXPECT_EQ(one("<u2", "\xff\xff").item(), 65535);
  EXPECT_EQ(one("<i2", "\xff\xff").item(), -1);
  EXPECT_EQ(one(">i2", std::string("\x80\x00", 2)).item(), -32768);
  EXPECT_EQ(one("<u4", "\xff\xff\xff\xff").item(), 4294967295.0);
  EXPECT_EQ(one("<u8", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8)).values<int64_t>()[0],
            INT64_MAX);
  expect_error([&] { one("<u8", std::string("\0\0\0\0\0\0\0\x80", 8)); },
               {"x.npy", "9223372036854775808", "i64"});
  expect_error([&] { one("|b1", "\2"); }, {"x.npy", "bool"});
}

TEST(Npy, NamesWhatIsWrong) {
  const std::string four(4, '\0');
  const auto refuses = [](const std::string& content, const std::vector<std::string>& parts) {
    std::vector<std::string> all{"x.npy"};
    all.insert(all.end(), parts.begin(), parts.end());
    expect_error([&] { parse(content); }, all);
  };
  const auto refuses_dict = [&](const std::string& dict, const std::vector<std::string>& parts) {
    refuses(npy(dict, four), parts);
  };
  refuses("", {"magic"});
  refuses("PK\3\4aaaa", {"NUMPY"});
  refuses(npy("{}", "", 4), {"version 4.0"});
  refuses(npy("{'descr':'<i4','fortran_order':False,'shape':(1,)}", four).substr(0, 30),
          {"the header"});
  refuses(npy(std::string(20000, ' '), ""), {"20000", "limit"});
  refuses_dict("", {"expected '{'"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(1,)", {"'}'"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(1,)} x", {"after the dict"});
  refuses_dict("{'descr':'<i4','shape':(1,)}", {"fortran_order"});
  refuses_dict("{'descr':'<i4','descr':'<i4','fortran_order':False,'shape':(1,)}",
               {"descr", "repeated"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(1,),'extra':1}", {"extra"});
  refuses_dict("{'descr':'<i4','fortran_order':0,'shape':(1,)}", {"True or False"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':[1]}", {"'('"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(-1,)}", {"extent"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(1.5,)}", {"')'"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(99999999999999999999,)}", {"extent"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(1,1,1,1,1,1,1)}", {"6 dimensions"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(4294967296,4294967296,0)}",
               {"more elements"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(1000000000000,)}",
               {"takes 4000000000000"});
  refuses_dict("{'descr':'<i4','fortran_order':False,'shape':(2,)}", {"takes 8 bytes", "4 follow"});
  refuses_dict("{'descr':'<i2','fortran_order':False,'shape':(1,)}", {"unexpected bytes", "array"});
  refuses_dict("{'descr':'<c8','fortran_order':False,'shape':(1,)}", {"<c8", "complex64"});
  refuses_dict("{'descr':'|O','fortran_order':False,'shape':(1,)}", {"|O", "Python objects"});
  refuses_dict("{'descr':'<U1','fortran_order':False,'shape':(1,)}", {"<U1", "text"});
  refuses_dict("{'descr':'<M8[ns]','fortran_order':False,'shape':(1,)}", {"dates"});
  refuses_dict("{'descr':'|V4','fortran_order':False,'shape':(1,)}", {"raw bytes"});
  refuses_dict("{'descr':[('a','<i4')],'fortran_order':False,'shape':(1,)}", {"structured"});
  for (const char* descr :
       {"", "<", "<i", "<i3", "<f16", "i4", "|i4", "<b2", "<i4x", "<i99999999999"})
    refuses_dict(concat("{'descr':'", descr, "','fortran_order':False,'shape':(1,)}"),
                 {"element type"});
  expect_error([] { load_npy(golden("files/complex64.npy")); }, {"complex64.npy", "complex64"});
  expect_error([] { load_npy("/no/such.npy"); }, {"/no/such.npy", "No such file"});
}

TEST(Npy, WriterRefusesWhatTheFormatLacks) {
  const TemporaryFolder folder;
  const Tensor half = Tensor::zeros({2}, DType::bf16, Device::cpu());
  expect_error([&] { save_npy(folder / "t.npy", half); }, {"t.npy", "bf16"},
               ErrorKind::unsupported);
  expect_error(
      [&] {
        save_npz(folder / "t.npz", {{"h", half}});
      },
      {"t.npz", "'h'", "bf16"}, ErrorKind::unsupported);
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace tessera
