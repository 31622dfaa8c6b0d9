#include "tessera/runtime/io/mat.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
using test::golden;
using test::sample_values;
using test::to_doubles;

std::string number(uint64_t value, size_t bytes, bool big) {
  std::string out;
  for (size_t i = 0; i < bytes; ++i)
    out += static_cast<char>(value >> (8 * (big ? bytes - 1 - i : i)));
  return out;
}

/// Files as the format's description builds them.
struct Builder {
  bool big = false;

  std::string element(uint32_t type, const std::string& data) const {
    return number(type, 4, big) + number(data.size(), 4, big) + data +
           std::string((8 - data.size() % 8) % 8, '\0');
  }
  std::string small_element(uint32_t type, const std::string& data) const {
    return number(data.size() << 16 | type, 4, big) + data + std::string(4 - data.size(), '\0');
  }
  std::string array(uint32_t array_class, const std::vector<int32_t>& dimensions,
                    const std::string& name, const std::string& content, uint32_t flags = 0) const {
    std::string extents;
    for (const int32_t d : dimensions) extents += number(static_cast<uint32_t>(d), 4, big);
    return element(14, element(6, number(array_class | flags, 4, big) + number(0, 4, big)) +
                           element(5, extents) +
                           (name.size() <= 4 ? small_element(1, name) : element(1, name)) +
                           content);
  }
  std::string file(const std::string& elements) const {
    return std::string("MATLAB 5.0 MAT-file").append(105, ' ') +
           (big ? "\x01" : std::string(1, '\0')) + (big ? std::string(1, '\0') : "\x01") +
           (big ? "MI" : "IM") + elements;
  }
};

Tensor load(const std::string& content, const std::string& name) {
  return MatFile(std::as_bytes(std::span(content)), "x.mat").load(name);
}
void refuses(const std::string& content, const std::vector<std::string>& parts) {
  std::vector<std::string> all{"x.mat"};
  all.insert(all.end(), parts.begin(), parts.end());
  expect_error([&] { load(content, "a"); }, all);
}

TEST(Mat, ReadsWhatScipyWrote) {
  struct Expected {
    const char* name;
    DType dtype;
    char kind;
  };
  for (const char* file : {"files/stored.mat", "files/compressed.mat"}) {
    const MatFile mat(golden(file));
    for (const auto& [name, dtype, kind] : {Expected{"float64", DType::f64, 'f'},
                                            {"float32", DType::f32, 'f'},
                                            {"int64", DType::i64, 'i'},
                                            {"int32", DType::i32, 'i'},
                                            {"int16", DType::i16, 'i'},
                                            {"int8", DType::i8, 'i'},
                                            {"uint64", DType::i64, 'u'},
                                            {"uint32", DType::i64, 'u'},
                                            {"uint16", DType::u16, 'u'},
                                            {"uint8", DType::u8, 'u'},
                                            {"bool", DType::bool_, 'b'}}) {
      const Tensor t = mat.load(name);
      EXPECT_EQ(t.dtype(), dtype) << name;
      EXPECT_EQ(t.shape(), (Shape{2, 3, 4})) << name;
      EXPECT_EQ(to_doubles(t), sample_values(24, kind)) << file << ", " << name;
    }
    EXPECT_EQ(to_doubles(mat.load("matrix")), sample_values(12, 'f'));
    EXPECT_EQ(mat.load("empty").shape(), (Shape{0, 3}));
    EXPECT_EQ(to_doubles(mat.load("a_name_of_more_than_four_bytes")), (std::vector<double>{7}));
    const std::string path = golden(file);
    expect_error([&] { mat.load("text"); }, {path, "'text' is of class char"});
    expect_error([&] { mat.load("record"); }, {path, "'record' is of class struct"});
    expect_error([&] { mat.load("cell"); }, {path, "'cell' is of class cell"});
    expect_error([&] { mat.load("complex"); }, {path, "complex single"});
    expect_error([&] { mat.load("absent"); }, {path, "no variable 'absent'", "matrix (double)"});
    EXPECT_TRUE(mat.contains("text"));
    EXPECT_FALSE(mat.contains("absent"));
  }
}

// A double is stored in the smallest type that holds its values.
TEST(Mat, ClassAndStorageDiffer) {
  for (const bool big : {false, true}) {
    const Builder b{big};
    const std::string shorts = number(5, 2, big) + number(0xFFFE, 2, big) + number(300, 2, big);
    const Tensor doubles = load(b.file(b.array(6, {1, 3}, "a", b.element(3, shorts))), "a");
    EXPECT_EQ(doubles.dtype(), DType::f64);
    EXPECT_EQ(to_doubles(doubles), (std::vector<double>{5, -2, 300}));
    const Tensor small =
        load(b.file(b.array(7, {3, 1}, "a", b.small_element(2, "\x01\xff\x02"))), "a");
    EXPECT_EQ(small.dtype(), DType::f32);
    EXPECT_EQ(to_doubles(small), (std::vector<double>{1, 255, 2}));
    const Tensor logical = load(
        b.file(b.array(9, {1, 3}, "abcdef", b.small_element(2, std::string("\0\1\5", 3)), 0x200)),
        "abcdef");
    EXPECT_EQ(logical.dtype(), DType::bool_);
    EXPECT_EQ(to_doubles(logical), (std::vector<double>{0, 1, 1}));
  }
}

// Element (row, column) stands at row + rows * column of the file.
TEST(Mat, ColumnsComeFirstInTheFile) {
  const Builder b;
  const Tensor t = load(b.file(b.array(9, {2, 3}, "a", b.element(2, "\1\2\3\4\5\6"))), "a");
  EXPECT_EQ(to_doubles(t), (std::vector<double>{1, 3, 5, 2, 4, 6}));
}

TEST(Mat, NamesWhatIsWrong) {
  const Builder b;
  const std::string good = b.file(b.array(9, {2, 3}, "a", b.element(2, "\1\2\3\4\5\6")));
  ASSERT_NO_THROW(load(good, "a"));
  refuses("", {"header"});
  refuses(std::string(128, ' '), {"not a MATLAB 5 file"});
  refuses(good.substr(0, 140), {"element"});
  refuses(good.substr(0, good.size() - 4), {"element"});
  refuses(b.file(b.array(5, {2, 2}, "a", b.element(5, ""), 0x200)), {"class sparse"});
  refuses(
      b.file(b.array(6, std::vector<int32_t>(1025, 1), "a", b.element(9, std::string(8, '\0')))),
      {"dimensions of 4100 bytes"});
  refuses(b.file(b.array(9, {2, 4}, "a", b.element(2, "\1\2\3\4\5\6"))),
          {"'a'", "6 bytes", "[2, 4]"});
  refuses(b.file(b.array(9, {2, -3}, "a", "")), {"dimension 1 is -3"});
  refuses(b.file(b.array(9, {6}, "a", b.element(2, "\1\2\3\4\5\6"))), {"dimensions of 4 bytes"});
  refuses(b.file(b.array(9, {1, 1}, "a", b.element(16, "x"))), {"type 16"});
  refuses(b.file(b.array(9, {1, 1}, "a", b.element(3, number(300, 2, false)))),
          {"300", "does not fit u8"});
  refuses(b.file(b.array(9, {1, 1}, "a", b.element(9, std::string(8, '\0')))), {"stored as f64"});
  refuses(b.file(b.array(13, {1, 1}, "b", b.element(13, std::string(8, '\xff')))),
          {"no variable 'a'", "b (uint32)"});
  const std::string large = b.file(b.array(15, {1, 1}, "a", b.element(13, std::string(8, '\xff'))));
  refuses(large, {"does not fit i64"});
  refuses(b.file(b.array(9, {1, 1, 1, 1, 1, 1, 2}, "a", b.element(2, "\1\2"))),
          {"expected a real full"});
  refuses(b.file(b.element(15, "this is no zlib stream")), {"compressed element at byte 136"});
  refuses(b.file(b.array(9, {46341, 46341}, "a", "")), {});
  refuses(b.file(b.array(9, {2147483647, 2147483647, 2147483647}, "a", b.element(2, "\1"))), {});
}

TEST(Mat, ReadsHdf5WhereItCan) {
  const std::string path = test::shared_data("hsi/ad/hydice_v73.mat"),
                    same = test::shared_data("hsi/ad/hydice_80x100x162.mat");
  if (path.empty()) GTEST_SKIP() << "the hyperspectral scenes are not here";
  if (!mat73_available()) {
    expect_error([&] { MatFile file(path); }, {path, "7.3", "libmatio"}, ErrorKind::unsupported);
    GTEST_SKIP() << "this build has no libmatio";
  }
  const MatFile mat(path);
  const Tensor image = mat.load("image"), mask = mat.load("mask");
  EXPECT_EQ(image.shape(), (Shape{80, 100, 162}));
  EXPECT_EQ(image.dtype(), DType::f64);
  // the same scene's map of the level 5 file
  std::vector<double> wanted = to_doubles(MatFile(same).load("map")), got = to_doubles(mask);
  for (double& v : wanted) v = v != 0;
  for (double& v : got) v = v != 0;
  EXPECT_EQ(mask.shape(), (Shape{80, 100}));
  EXPECT_EQ(got, wanted);
}

TEST(Mat, RealScenes) {
  struct Scene {
    const char *file, *variable;
    Shape shape;
    DType dtype;
    double least, greatest;
    const char* map;
    int64_t anomalies;
  };
  const Scene scenes[] = {
      {"ad/abu-airport-1.mat", "data", {100, 100, 205}, DType::u16, 0, 6604, "map", 144},
      {"ad/abu-airport-2.mat", "data", {100, 100, 205}, DType::f64, 0, 6644, "map", 87},
      {"ad/abu-beach-1.mat", "data", {150, 150, 188}, DType::f64, -32, 6593, "map", 19},
      {"ad/hydice_80x100x162.mat", "data", {80, 100, 162}, DType::u16, 0, 592, "map", 17},
      {"ad/pavia_71.mat", "data", {100, 100, 102}, DType::f64, 0, 1, "groundtruth", 71},
      {"ad/muufl_gulfport_sub.mat",
       "hsi_img_sub",
       {51, 88, 72},
       DType::f32,
       -0.18,
       0.85,
       "mask_sub",
       3884},
      {"sr/jasperRidge2_R198.mat", "Y", {198, 10000}, DType::u16, 0, 5437, nullptr, 0},
      {"sr/aviris_90x90x224.mat", "hsi_img", {90, 90, 224}, DType::i16, -12, 8143, nullptr, 0},
  };
  if (test::shared_data("hsi").empty()) GTEST_SKIP() << "the hyperspectral scenes are not here";
  for (const Scene& s : scenes) {
    const MatFile mat(test::shared_data(concat("hsi/", s.file)));
    const Tensor t = mat.load(s.variable);
    EXPECT_EQ(t.shape(), s.shape) << s.file;
    EXPECT_EQ(t.dtype(), s.dtype) << s.file;
    const std::vector<double> values = to_doubles(t);
    const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
    EXPECT_NEAR(*least, s.least, 0.005) << s.file;
    EXPECT_NEAR(*greatest, s.greatest, 0.005) << s.file;
    if (!s.map) continue;
    const std::vector<double> map = to_doubles(mat.load(s.map));
    EXPECT_EQ(std::count_if(map.begin(), map.end(), [](double v) { return v != 0; }), s.anomalies)
        << s.file;
  }
}

}  // namespace
}  // namespace tessera
