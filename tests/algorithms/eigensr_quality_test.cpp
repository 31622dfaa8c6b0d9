// How near a cube is to another: closed forms, the definition window by window, published scenes.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tessera/algorithms/eigensr/degradation.hpp"
#include "tessera/algorithms/eigensr/eigenimages.hpp"
#include "tessera/algorithms/eigensr/quality.hpp"
#include "tessera/algorithms/eigensr/super_resolution.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::eigensr {
namespace {

using Doubles = std::vector<double>;
using test::expect_error;

constexpr ErrorKind invalid = ErrorKind::invalid_argument;

double value(const Tensor& t, int64_t r, int64_t c, int64_t b) {
  return t.host<double>()[static_cast<size_t>((r * t.size(1) + c) * t.size(2) + b)];
}

TEST(Quality, OfAConstantErrorIsAClosedForm) {
  // X runs from 2 to 12, Y = X + 0.5
  Tensor x = Tensor::empty({8, 9, 2}, DType::f64, Device::cpu());
  for (int64_t i = 0; i < x.numel(); ++i)
    x.host_mutable<double>()[static_cast<size_t>(i)] =
        2 + 10 * static_cast<double>(i) / static_cast<double>(x.numel() - 1);
  Tensor y = x.clone();
  for (double& v : y.host_mutable<double>()) v += 0.5;
  const Quality q = quality(x, y, 4);
  EXPECT_NEAR(q.psnr, 20 * std::log10(20), 1e-10);
  EXPECT_NEAR(q.rmse, 0.05, 1e-12);
  EXPECT_NEAR(q.cc, 1, 1e-12);
  double relative = 0;
  for (int64_t b = 0; b < 2; ++b) {
    double sum = 0;
    for (int64_t r = 0; r < 8; ++r)
      for (int64_t c = 0; c < 9; ++c) sum += value(x, r, c, b);
    relative += std::pow(0.5 / (sum / 72), 2) / 2;
  }
  EXPECT_NEAR(q.ergas, 25 * std::sqrt(relative), 1e-10);
  double angle = 0;
  for (int64_t r = 0; r < 8; ++r)
    for (int64_t c = 0; c < 9; ++c) {
      if (r == 0 && c == 0) continue;  // its first band maps to 0, its second does not
      const long double a = (value(x, r, c, 0) - 2) / 10, b = (value(x, r, c, 1) - 2) / 10;
      angle +=
          static_cast<double>(std::acos(std::min<long double>(
                                  1, (a * (a + .05L) + b * (b + .05L)) /
                                         std::sqrt((a * a + b * b) * ((a + .05L) * (a + .05L) +
                                                                      (b + .05L) * (b + .05L))))) *
                              180 / std::numbers::pi_v<long double>);
    }
  const double b = (value(x, 0, 0, 1) - 2) / 10;
  angle += std::atan2(.05, b + .05) * 180 / std::numbers::pi;
  EXPECT_NEAR(q.sam, angle / 72, 1e-9);
  EXPECT_EQ(q.exact_bands, 0);
  for (const double error : error_map(x, y).values<double>()) EXPECT_NEAR(error, 0.5, 1e-12);
}

// Angles of which arccos in f32, and almost in f64, sees nothing.
TEST(Quality, TinyAngles) {
  Tensor x = Tensor::empty({7, 7, 2}, DType::f64, Device::cpu()), y = x.clone();
  const double angle = 1e-6;
  for (size_t p = 0; p < 49; ++p) {
    const double length = 0.5 + 0.01 * static_cast<double>(p);
    x.host_mutable<double>()[2 * p] = length;
    x.host_mutable<double>()[2 * p + 1] = p == 0 ? 0 : 1e-3;
    const double at = std::atan2(p == 0 ? 0 : 1e-3, length) + angle;
    y.host_mutable<double>()[2 * p] = length * std::cos(at);
    y.host_mutable<double>()[2 * p + 1] = length * std::sin(at);
  }
  const Quality q = quality(x, y, 2);
  EXPECT_NEAR(q.sam / (angle * 180 / std::numbers::pi), 1, 1e-3);
}

// Means and covariances of each window by two passes, as the definition has them.
TEST(Quality, SimilarityWindowByWindow) {
  const Tensor x = test::uniform({11, 9, 3}, DType::f64, 1);
  Tensor y = x.clone();
  const Tensor noise = test::uniform({11, 9, 3}, DType::f64, 2);
  for (size_t i = 0; i < y.host<double>().size(); ++i)
    y.host_mutable<double>()[i] = 0.8 * x.host<double>()[i] + 0.3 * noise.host<double>()[i];
  const Doubles values = test::to_doubles(x);
  const double low = *std::min_element(values.begin(), values.end()),
               range = *std::max_element(values.begin(), values.end()) - low;
  double sum = 0, correlations = 0;
  int64_t windows = 0;
  for (int64_t b = 0; b < 3; ++b) {
    const auto moments = [&](int64_t top, int64_t left, int64_t height, int64_t width) {
      Doubles u, v;
      for (int64_t r = top; r < top + height; ++r)
        for (int64_t c = left; c < left + width; ++c) {
          u.push_back((value(x, r, c, b) - low) / range);
          v.push_back((value(y, r, c, b) - low) / range);
        }
      const auto n = static_cast<double>(u.size());
      double mu = 0, mv = 0, uu = 0, vv = 0, uv = 0;
      for (size_t i = 0; i < u.size(); ++i) mu += u[i] / n, mv += v[i] / n;
      for (size_t i = 0; i < u.size(); ++i) {
        uu += (u[i] - mu) * (u[i] - mu) / (n - 1);
        vv += (v[i] - mv) * (v[i] - mv) / (n - 1);
        uv += (u[i] - mu) * (v[i] - mv) / (n - 1);
      }
      return std::array{mu, mv, uu, vv, uv};
    };
    for (int64_t r = 0; r + 7 <= 11; ++r)
      for (int64_t c = 0; c + 7 <= 9; ++c, ++windows) {
        const auto [mu, mv, uu, vv, uv] = moments(r, c, 7, 7);
        sum += (2 * mu * mv + 1e-4) * (2 * uv + 9e-4) /
               ((mu * mu + mv * mv + 1e-4) * (uu + vv + 9e-4));
      }
    const auto [mu, mv, uu, vv, uv] = moments(0, 0, 11, 9);
    correlations += uv / std::sqrt(uu * vv) / 3;
  }
  const Quality q = quality(x, y, 2);
  EXPECT_EQ(windows, 3 * 5 * 3);
  EXPECT_NEAR(q.ssim, sum / static_cast<double>(windows), 1e-10);
  EXPECT_NEAR(q.cc, correlations, 1e-10);
  const Quality same = quality(x, x, 2);
  EXPECT_NEAR(same.ssim, 1, 1e-12);
  EXPECT_EQ(same.exact_bands, 3);
  EXPECT_TRUE(std::isnan(same.psnr));
  EXPECT_EQ(same.sam, 0);
}

TEST(Quality, CountsWhatHasNoValue) {
  Tensor x = test::uniform({7, 8, 3}, DType::f64, 3), y = test::uniform({7, 8, 3}, DType::f64, 4);
  const auto set = [](Tensor& t, size_t pixel, size_t band, double v) {
    t.host_mutable<double>()[pixel * 3 + band] = v;
  };
  for (size_t p = 0; p < 56; ++p) {
    set(x, p, 1, 0.25);
    set(y, p, 1, 0.3);
  }
  for (size_t b = 0; b < 3; ++b)
    if (b != 1) set(x, 5, b, -1.5);
  const Quality q = quality(x, y, 2);
  EXPECT_EQ(q.exact_bands, 1);
  EXPECT_EQ(q.zero_spectra, 0);  // band 1 is above the least number
  set(x, 5, 1, -1.5);
  EXPECT_EQ(quality(x, y, 2).zero_spectra, 1);
  // only the bands that vary
  double psnr = 0;
  for (size_t b = 0; b < 3; b += 2) {
    double mse = 0;
    for (size_t p = 0; p < 56; ++p) {
      const double d = x.host<double>()[p * 3 + b] - y.host<double>()[p * 3 + b];
      mse += d * d / 56;
    }
    const Doubles values = test::to_doubles(x);
    const double range = *std::max_element(values.begin(), values.end()) + 1.5;
    psnr += 10 * std::log10(range * range / mse) / 2;
  }
  EXPECT_NEAR(q.psnr, psnr, 1e-10);
}

TEST(Quality, NamesWhatIsWrong) {
  const Tensor x = test::uniform({8, 8, 2}, DType::f32, 1);
  expect_error(
      [&] {
        quality(x, test::uniform({8, 8, 3}, DType::f32, 1), 2);
      },
      {"quality", "[8, 8, 2]", "[8, 8, 3]"}, invalid);
  const Tensor small = test::uniform({6, 8, 2}, DType::f32, 1);
  expect_error([&] { quality(small, small, 2); }, {"[6, 8, 2]", "7 x 7"}, invalid);
  const Tensor zeros = Tensor::zeros({8, 8, 2}, DType::f32, Device::cpu());
  expect_error([&] { quality(zeros, x, 2); }, {"every number", "0"}, invalid);
  Tensor bad = x.clone();
  bad.host_mutable<float>()[17] = NAN;
  expect_error([&] { quality(x, bad, 2); }, {"estimate", "not finite"}, invalid);
}

struct Published {
  const char* file;
  double values[3][3];  // PSNR, SSIM, SAM at 2, 4, 8
};

// Bicubic down and up again, computed elsewhere from the same files.
TEST(Quality, BicubicTableOfRealScenes) {
  const Published scenes[] = {
      {"sr/jasperRidge2_R198.mat",
       {{32.782, .9247, 3.915}, {27.638, .7540, 6.892}, {24.345, .5403, 11.077}}},
      {"ad/pavia_71.mat",
       {{37.313, .9554, 9.687}, {33.500, .9006, 11.523}, {31.385, .8263, 12.511}}},
      {"ad/abu-urban-1.mat",
       {{43.797, .9604, 1.884}, {40.137, .9016, 2.949}, {37.691, .8396, 4.087}}},
      {"ad/abu-airport-1.mat",
       {{44.257, .9608, 1.545}, {39.901, .8911, 2.439}, {37.059, .8136, 3.193}}},
      {"ad/abu-beach-1.mat",
       {{43.128, .9889, 1.007}, {39.554, .9758, 1.353}, {35.999, .9537, 1.821}}},
      {"ad/sandiego_58.mat",
       {{32.702, .9173, 1.095}, {28.581, .7792, 1.549}, {25.466, .6170, 1.973}}}};
  int found = 0;
  for (const Published& scene : scenes) {
    const std::string path = test::shared_data(std::string("hsi/") + scene.file);
    if (path.empty()) continue;
    ++found;
    const Tensor cube = spectra_of(models::load_cube(path, {.rows = 100, .columns = 100})).values;
    for (int k = 0; k < 3; ++k) {
      const int64_t scale = 2 << k;
      const Tensor reference = cropped_to(cube, scale);
      const Tensor small = degraded(cube, scale, {}, Rng(0));
      const Quality q =
          quality(reference, resized_cube(small, reference.size(0), reference.size(1)),
                  static_cast<double>(scale));
      EXPECT_NEAR(q.psnr, scene.values[k][0], 6e-4) << scene.file << " x" << scale;
      EXPECT_NEAR(q.ssim, scene.values[k][1], 6e-5) << scene.file << " x" << scale;
      EXPECT_NEAR(q.sam, scene.values[k][2], 6e-4) << scene.file << " x" << scale;
    }
  }
  if (found == 0) GTEST_SKIP() << "no scenes: set TESSERA_DATA to the folder that holds hsi/";
}

}  // namespace
}  // namespace tessera::algorithms::eigensr
