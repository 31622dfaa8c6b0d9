#include "tessera/models/data/cube.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

using test::expect_error;
using test::from_doubles;
using test::TemporaryFolder;

Tensor counting(const Shape& shape) {
  std::vector<double> values;
  for (int64_t i = 0; i < shape.numel(); ++i) values.push_back(static_cast<double>(i));
  return from_doubles(values, shape, DType::f64);
}

TEST(Cube, FindsImageTruthAndWavelengths) {
  const TemporaryFolder folder;
  std::map<std::string, Tensor> arrays{
      {"image", counting({2, 3, 4})},
      {"gt", from_doubles({0, 2, 0, 0, 0, 1}, {2, 3}, DType::i32)},
      {"wavelengths", from_doubles({400, 500, 600, 700}, {4, 1}, DType::f32)},
      {"other", counting({5, 5})}};
  save_npz(folder / "scene.npz", arrays);
  const Cube cube = load_cube(folder / "scene.npz");
  EXPECT_EQ(cube.name, "scene");
  EXPECT_EQ(cube.values.shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(test::to_doubles(cube.truth), (std::vector<double>{0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(cube.wavelengths, (std::vector<double>{400, 500, 600, 700}));
  EXPECT_FALSE(cube.valid.defined());

  arrays["image2"] = counting({2, 3, 2});
  save_npz(folder / "two.npz", arrays);
  expect_error([&] { load_cube(folder / "two.npz"); }, {"two.npz", "several", "image2"});
  EXPECT_EQ(load_cube(folder / "two.npz", {.variable = "image2"}).bands(), 2);
  expect_error([&] { load_cube(folder / "two.npz", {.variable = "image", .truth = "other"}); },
               {"'other'", "[5, 5]", "2 rows and 3"});
  expect_error([&] { load_cube(folder / "two.npz", {.variable = "x"}); }, {"no array 'x'"});
  expect_error([&] { load_cube(folder / "two.npz", {.variable = "image", .truth = "nowhere"}); },
               {"'nowhere'", "neither"});
}

TEST(Cube, WavelengthsAreInNanometres) {
  const TemporaryFolder folder;
  const auto of_envi = [&](const std::vector<double>& wavelengths, const std::string& unit) {
    EnviHeader header;
    header.wavelengths = wavelengths;
    header.wavelength_units = unit;
    save_envi(folder / "x.img", counting({1, 1, 2}), header);
    return load_cube(folder / "x.img").wavelengths;
  };
  const std::vector<double> wanted{500, 1250};
  EXPECT_EQ(of_envi({0.5, 1.25}, "Micrometers"), wanted);
  EXPECT_EQ(of_envi({0.5, 1.25}, "um"), wanted);
  EXPECT_EQ(of_envi({0.5, 1.25}, ""), wanted);
  EXPECT_EQ(of_envi({0.5, 1.25}, "Unknown"), wanted);
  EXPECT_EQ(of_envi({500, 1250}, "Nanometers"), wanted);
  EXPECT_EQ(of_envi({500, 1250}, ""), wanted);
  EXPECT_EQ(of_envi({1, 2}, "Index"), (std::vector<double>{1, 2}));
  save_npz(folder / "x.npz", {{"image", counting({1, 1, 2})},
                              {"wavelength", from_doubles({0.5, 1.25}, {2}, DType::f64)}});
  EXPECT_EQ(load_cube(folder / "x.npz").wavelengths, wanted);
}

// A map painted in any colour.
TEST(Cube, ColouredTruth) {
  const TemporaryFolder folder;
  const auto number = [](uint32_t value) {
    return std::string{static_cast<char>(value), static_cast<char>(value >> 8), 0, 0};
  };
  const std::string header = "BM" + number(62) + number(0) + number(54) + number(40) + number(2) +
                             number(1) + std::string("\1\0\x18\0", 4) + std::string(24, '\0');
  test::write_bytes(folder / "blue.bmp", header + std::string("\xff\0\0\0\0\0\0\0", 8));
  save_npy(folder / "x.npy", counting({1, 2, 3}));
  const Cube cube = load_cube(folder / "x.npy", {.truth = folder / "blue.bmp"});
  EXPECT_EQ(test::to_doubles(cube.truth), (std::vector<double>{1, 0}));
}

// Pixels go down the columns.
TEST(Cube, BandsByPixels) {
  const TemporaryFolder folder;
  save_npy(folder / "flat.npy", counting({2, 6}));
  expect_error([&] { load_cube(folder / "flat.npy"); }, {"flat.npy", "three dimensions"});
  const Cube cube = load_cube(folder / "flat.npy", {.rows = 3, .columns = 2});
  EXPECT_EQ(cube.values.shape(), (Shape{3, 2, 2}));
  EXPECT_EQ(test::to_doubles(cube.values.select(2, 0).clone()),
            (std::vector<double>{0, 3, 1, 4, 2, 5}));
  expect_error(
      [&] { load_cube(folder / "flat.npy", {.variable = "data", .rows = 4, .columns = 2}); },
      {"[2, 6]", "rows 4"});
}

TEST(Cube, SensorNumbersStaySmall) {
  const TemporaryFolder folder;
  const auto stored = [&](StoredType type) {
    save_envi(folder / "x", from_doubles(std::vector<double>(24, 7), {2, 3, 4}, DType::i32),
              {.type = type});
    return load_cube(folder / "x").values.dtype();
  };
  EXPECT_EQ(stored(StoredType::u16), DType::u16);
  EXPECT_EQ(stored(StoredType::i16), DType::i16);
  EXPECT_EQ(stored(StoredType::u8), DType::f64);
  EXPECT_EQ(stored(StoredType::i32), DType::i32);
  EXPECT_EQ(stored(StoredType::i64), DType::f64);
}

TEST(Cube, PixelsWithoutData) {
  const TemporaryFolder folder;
  Tensor values = counting({2, 3, 2});
  values.host_mutable<double>()[3] = NAN;
  save_npy(folder / "a.npy", values);
  const Cube cube = load_cube(folder / "a.npy");
  EXPECT_EQ(test::to_doubles(cube.valid), (std::vector<double>{1, 0, 1, 1, 1, 1}));

  EnviHeader header{.type = StoredType::f64};
  header.ignore_value = -1;
  Tensor image = counting({2, 3, 2});
  image.host_mutable<double>()[4] = image.host_mutable<double>()[5] = -1;  // a pixel
  image.host_mutable<double>()[6] = -1;                                    // one of its bands
  save_envi(folder / "b", image, header);
  EXPECT_EQ(test::to_doubles(load_cube(folder / "b").valid),
            (std::vector<double>{1, 1, 0, 1, 1, 1}));
  save_npy(folder / "c.npy", from_doubles(std::vector<double>(4, NAN), {1, 2, 2}, DType::f64));
  expect_error([&] { load_cube(folder / "c.npy"); }, {"c.npy", "no pixel"});
}

TEST(Cube, ConstantBands) {
  Cube cube = synthetic_cube({.rows = 8, .columns = 9, .bands = 6}, Rng(1));
  EXPECT_TRUE(constant_bands(cube).empty());
  const auto values = cube.values.host_mutable<float>();
  for (size_t i = 2; i < values.size(); i += 6) values[i] = 7;
  EXPECT_EQ(constant_bands(cube), (std::vector<int64_t>{2}));
  const Cube again = synthetic_cube({.rows = 8, .columns = 9, .bands = 6}, Rng(1));
  EXPECT_NE(test::to_doubles(cube.values), test::to_doubles(again.values));
  EXPECT_EQ(test::to_doubles(cube.truth), test::to_doubles(again.truth));
}

TEST(Cube, RealScenes) {
  if (test::shared_data("hsi").empty()) GTEST_SKIP() << "the hyperspectral scenes are not here";
  const Cube muufl = load_cube(test::shared_data("hsi/ad/muufl_gulfport_sub.mat"));
  EXPECT_EQ(muufl.values.shape(), (Shape{51, 88, 72}));
  int64_t valid = 0;
  for (int64_t p = 0; p < muufl.pixels(); ++p) valid += muufl.is_valid(p);
  EXPECT_EQ(valid, 3884);
  EXPECT_EQ(muufl.wavelengths.size(), 72u);
  EXPECT_FALSE(muufl.truth.defined());
  const Cube aviris = load_cube(test::shared_data("hsi/sr/aviris_90x90x224.mat"));
  EXPECT_EQ(constant_bands(aviris).size(), 43u);
  const Cube jasper = load_cube(test::shared_data("hsi/sr/jasperRidge2_R198.mat"),
                                {.variable = "Y", .rows = 100, .columns = 100});
  EXPECT_EQ(jasper.values.shape(), (Shape{100, 100, 198}));
  const Cube sd = load_cube(test::shared_data("hsi/envi/SDData.hdr"));
  int64_t anomalies = 0;
  for (const double v : test::to_doubles(sd.truth)) anomalies += v != 0;
  EXPECT_EQ(anomalies, 77);
  EXPECT_EQ(sd.good_bands.size(), 189u);
}

}  // namespace
}  // namespace tessera::models
