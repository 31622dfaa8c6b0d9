#include "tessera/algorithms/picture.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/runtime/error.hpp"
#include "tessera/tests/support/values.hpp"

namespace tessera::algorithms {
namespace {

using Doubles = std::vector<double>;
using Colour = std::vector<int>;

Colour pixel(const Tensor& picture, int64_t row, int64_t column) {
  const auto bytes = picture.host<uint8_t>();
  const auto at = static_cast<size_t>((row * picture.size(1) + column) * 3);
  return {bytes[at], bytes[at + 1], bytes[at + 2]};
}

const Colour darkest{68, 1, 84}, brightest{253, 231, 37}, grey{128, 128, 128}, white{255, 255, 255},
    black{0, 0, 0};

TEST(Picture, ColoursOfNumbers) {
  const Doubles values{2, 4, 1, 5, NAN, INFINITY, 3, 3};
  const Tensor map = colour_map(values, 2, 4, 2, 4);
  EXPECT_EQ(map.shape(), (Shape{2, 4, 3}));
  EXPECT_EQ(pixel(map, 0, 0), darkest);
  EXPECT_EQ(pixel(map, 0, 1), brightest);
  EXPECT_EQ(pixel(map, 0, 2), darkest);
  EXPECT_EQ(pixel(map, 0, 3), brightest);
  EXPECT_EQ(pixel(map, 1, 0), grey);
  EXPECT_EQ(pixel(map, 1, 1), brightest);
  EXPECT_EQ(pixel(map, 1, 2), (Colour{35, 144, 140}));  // between (38, 130, 142), (31, 158, 137)
  for (int64_t c = 0; c < 4; ++c)                       // no range
    EXPECT_EQ(pixel(colour_map(Doubles(4, 7.0), 1, 4, 7, 7), 0, c), darkest);
  EXPECT_THROW(colour_map(values, 2, 3, 0, 1), Error);
}

TEST(Picture, TheBarIsBrightAbove) {
  const Tensor bar = colour_bar(1000, 2);
  EXPECT_EQ(pixel(bar, 0, 0), brightest);
  EXPECT_EQ(pixel(bar, 999, 1), darkest);
  int before = 256;  // green falls from top to bottom
  for (int64_t r = 0; r < 1000; r += 100) {
    const int green = pixel(bar, r, 0)[1];
    EXPECT_LT(green, before);
    before = green;
  }
}

models::Cube cube_of(const Doubles& values, const Shape& shape, DType dtype = DType::f64) {
  models::Cube cube;
  cube.values = test::from_doubles(values, shape, dtype);
  return cube;
}

// One bright band at a time tells which bands were taken.
TEST(Picture, BandsByWavelength) {
  const auto chosen = [](const Doubles& wavelengths) {
    const auto bands = wavelengths.empty() ? 5 : std::ssize(wavelengths);
    std::vector<int64_t> found(3, -1);
    for (int64_t b = 0; b < bands; ++b) {
      Doubles values(static_cast<size_t>(10 * bands));
      for (int64_t p = 5; p < 10; ++p) values[static_cast<size_t>(p * bands + b)] = 1;
      models::Cube cube = cube_of(values, {1, 10, bands});
      cube.wavelengths = wavelengths;
      const Tensor picture = pseudo_rgb(cube);
      for (size_t c = 0; c < 3; ++c)
        if (pixel(picture, 0, 9)[c] != pixel(picture, 0, 0)[c]) found[c] = b;
    }
    return found;
  };
  EXPECT_EQ(chosen({}), (std::vector<int64_t>{4, 2, 0}));
  EXPECT_EQ(chosen({400, 455, 470, 560, 500, 645, 2000}), (std::vector<int64_t>{5, 3, 1}));
  EXPECT_EQ(chosen({900, 1000, 1100}), (std::vector<int64_t>{2, 1, 0}));  // no visible light
}

TEST(Picture, StretchFromThe2ndToThe98thPercentile) {
  Doubles values;
  for (int i = 0; i <= 100; ++i) values.push_back(i);
  values.push_back(30000);
  for (const DType dtype : {DType::f64, DType::f32, DType::i32, DType::i16, DType::u16}) {
    models::Cube cube = cube_of(values, {1, 102, 1}, dtype);
    cube.valid = Tensor::zeros({1, 102}, DType::bool_, Device::cpu());
    std::fill_n(static_cast<uint8_t*>(cube.valid.data()), 101, uint8_t{1});  // all but the last
    const Tensor picture = pseudo_rgb(cube);
    for (int i = 0; i <= 100; ++i) {
      const double share = std::min(std::max((i - 2) / 96.0, 0.0), 1.0);
      EXPECT_EQ(pixel(picture, 0, i),
                Colour(3, static_cast<int>(std::lround(255 * std::sqrt(share)))));
    }
    EXPECT_EQ(pixel(picture, 0, 101), black);
  }
}

TEST(Picture, PanelsSideBySide) {
  const Tensor first = black_and_white(std::vector<uint8_t>{1, 0}, 1, 2),
               second = black_and_white(std::vector<uint8_t>{0, 1, 0}, 3, 1);
  const Tensor large = enlarged(first, 2);
  EXPECT_EQ(large.shape(), (Shape{2, 4, 3}));
  EXPECT_EQ(pixel(large, 1, 1), white);
  EXPECT_EQ(pixel(large, 1, 2), black);
  const Tensor all = side_by_side({first, second}, 4);
  EXPECT_EQ(all.shape(), (Shape{3, 7, 3}));
  EXPECT_EQ(pixel(all, 0, 0), white);
  EXPECT_EQ(pixel(all, 0, 1), black);
  for (int64_t c = 2; c < 6; ++c) EXPECT_EQ(pixel(all, 0, c), white);  // the gap
  EXPECT_EQ(pixel(all, 0, 6), black);
  EXPECT_EQ(pixel(all, 1, 6), white);
  EXPECT_EQ(pixel(all, 2, 6), black);
  EXPECT_EQ(pixel(all, 2, 0), white);  // below the lower picture
  EXPECT_THROW(side_by_side({}), Error);
  EXPECT_THROW(black_and_white(std::vector<uint8_t>{1}, 1, 2), Error);
}

}  // namespace
}  // namespace tessera::algorithms
