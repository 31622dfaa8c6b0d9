// Super-resolution of eigenimages: turning, tiling, the iteration, degradations, samples.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tessera/algorithms/eigensr/degradation.hpp"
#include "tessera/algorithms/eigensr/eigenimages.hpp"
#include "tessera/algorithms/eigensr/leaves.hpp"
#include "tessera/algorithms/eigensr/samples.hpp"
#include "tessera/algorithms/eigensr/super_resolution.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::eigensr {
namespace {

using Doubles = std::vector<double>;
using test::expect_close;
using test::expect_error;

constexpr ErrorKind invalid = ErrorKind::invalid_argument;

float at(const Tensor& planes, int64_t n, int64_t r, int64_t c) {
  return planes.host<float>()[static_cast<size_t>((n * planes.size(1) + r) * planes.size(2) + c)];
}

/// Every pixel `scale` times in both directions, plus a number that tells rows from columns.
Tensor repeated(const Tensor& x, int64_t scale, float slope = 0) {
  Tensor y =
      Tensor::empty({x.size(0), scale * x.size(1), scale * x.size(2)}, DType::f32, Device::cpu());
  float* to = y.host_mutable<float>().data();
  for (int64_t n = 0; n < y.size(0); ++n)
    for (int64_t r = 0; r < y.size(1); ++r)
      for (int64_t c = 0; c < y.size(2); ++c)
        *to++ = at(x, n, r / scale, c / scale) + slope * static_cast<float>(r);
  return y;
}
PatchNetwork repeating(int64_t scale) {
  return [scale](const Tensor& x) {
    return repeated(x.reshape({x.size(0), x.size(2), x.size(3)}), scale).unsqueeze(1);
  };
}

// ---- orientations

TEST(Dihedral, IsThePermutationItSays) {
  const Tensor x = test::uniform({2, 3, 4}, DType::f32, 1);
  const auto quarter = [](const Tensor& t) {  // against the clock
    Tensor y = Tensor::empty({t.size(0), t.size(2), t.size(1)}, DType::f32, Device::cpu());
    float* to = y.host_mutable<float>().data();
    for (int64_t n = 0; n < y.size(0); ++n)
      for (int64_t r = 0; r < y.size(1); ++r)
        for (int64_t c = 0; c < y.size(2); ++c) *to++ = at(t, n, c, t.size(2) - 1 - r);
    return y;
  };
  const auto mirror = [](const Tensor& t) {  // rows reversed
    Tensor y = t.clone();
    float* to = y.host_mutable<float>().data();
    for (int64_t n = 0; n < y.size(0); ++n)
      for (int64_t r = 0; r < y.size(1); ++r)
        for (int64_t c = 0; c < y.size(2); ++c) *to++ = at(t, n, t.size(1) - 1 - r, c);
    return y;
  };
  const Tensor half = quarter(quarter(x));
  const Tensor wanted[] = {x,
                           quarter(x),
                           mirror(x),
                           half,
                           mirror(half),
                           quarter(half),
                           quarter(mirror(half)),
                           quarter(mirror(x))};
  std::set<std::vector<float>> different;
  for (size_t k = 0; k < 8; ++k) {
    const Tensor y = turned(x, dihedral_group[k]);
    EXPECT_EQ(y.shape(), wanted[k].shape()) << k;
    EXPECT_EQ(y.values<float>(), wanted[k].values<float>()) << k;
    const Tensor back = turned_back(y, dihedral_group[k]);
    EXPECT_EQ(back.shape(), x.shape());
    EXPECT_EQ(back.values<float>(), x.values<float>()) << k;
    different.insert(y.values<float>());
  }
  EXPECT_EQ(different.size(), 8u);
}

// ---- tiles

TEST(Tiling, TilesCoverWithTheRuleOfPadding) {
  for (const auto& [tile, step] : {std::pair<int64_t, int64_t>{48, 32}, {48, 48}, {5, 2}, {3, 1}})
    for (int64_t extent = 1; extent <= 150; ++extent) {
      const AxisTiles tiles = tiles_of(extent, tile, step);
      const int64_t padded = tiles.before + extent + tiles.after;
      EXPECT_TRUE(tiles.after == tiles.before || tiles.after == tiles.before + 1);
      EXPECT_EQ(tiles.starts.front(), 0);
      EXPECT_EQ(tiles.starts.back() + tile, padded);
      for (size_t k = 1; k < tiles.starts.size(); ++k)
        EXPECT_EQ(tiles.starts[k] - tiles.starts[k - 1], step);
      EXPECT_LT(padded - extent, extent <= tile ? tile : step);
    }
  EXPECT_EQ(tiles_of(22, 48, 32).before, 13);
  EXPECT_EQ(tiles_of(100, 48, 32).starts, (std::vector<int64_t>{0, 32, 64}));
  expect_error([] { tiles_of(10, 4, 5); }, {"every 5"}, invalid);
}

TEST(Tiling, MirrorsAsOftenAsNeeded) {
  int64_t i = -5;
  for (const int64_t wanted : {1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1})
    EXPECT_EQ(mirrored(i++, 3), wanted);
  EXPECT_EQ(mirrored(-7, 1), 0);
}

TEST(Tiling, RepeatingInTilesIsRepeatingTheWhole) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{22, 22}, {1, 1}, {3, 50}, {60, 9}, {48, 48}, {49, 100}})
    for (const int64_t tile : {48, 20, 0}) {
      const Tensor x = test::uniform({3, rows, columns}, DType::f32, 7);
      const Tensor y = tiled(repeating(2), 2, {.tile = tile, .step = 15, .batch = 4})(x);
      expect_close(test::to_doubles(y), test::to_doubles(repeated(x, 2)), {1e-6, 1e-6},
                   concat(rows, " x ", columns, ", tile ", tile));
    }
  const Tensor x = test::uniform({1, 8, 8}, DType::f32, 7);
  expect_error([&] { tiled(repeating(3), 2, {})(x); }, {"scale 2", "48"}, invalid);
}

// Every tile is seen with mean 0 and deviation 1, a constant one as zeros, and comes back as it
// was.
TEST(Tiling, PatchesAreNormalised) {
  Tensor x = test::uniform({1, 12, 24}, DType::f32, 8);
  for (int64_t i = 0; i < x.numel(); ++i) {
    float& v = x.host_mutable<float>()[static_cast<size_t>(i)];
    v = i % 24 < 12 ? 5 : 100 + 30 * v;
  }
  const PatchNetwork network = [](const Tensor& patches) {
    EXPECT_EQ(patches.shape(), (Shape{2, 1, 12, 12}));
    for (int64_t n = 0; n < 2; ++n) {
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < 144; ++i) {
        const double v = patches.host<float>()[static_cast<size_t>(144 * n + i)];
        sum += v, squares += v * v;
      }
      EXPECT_NEAR(sum, 0, 1e-4);
      EXPECT_NEAR(squares, n == 0 ? 0 : 143, 1e-3);
    }
    return patches;
  };
  const Tensor y = tiled(network, 1, {.tile = 12, .step = 12})(x);
  expect_close(test::to_doubles(y), test::to_doubles(x), {1e-6, 1e-6});
}

// ---- eigenimages

TEST(Eigenimages, CubesComeBack) {
  const Tensor cube = test::uniform({6, 7, 4}, DType::f32, 1);
  const models::SpectralBasis basis = models::spectral_basis(cube);
  const Tensor all = models::eigenimages(cube, basis, 4);
  expect_close(test::to_doubles(from_eigenimages(all, basis)), test::to_doubles(cube),
               {1e-6, 1e-6});
  // a cube of rank 2 needs two
  Tensor flat = Tensor::empty({6, 7, 4}, DType::f32, Device::cpu());
  for (int64_t p = 0; p < 42; ++p)
    for (int64_t b = 0; b < 4; ++b)
      flat.host_mutable<float>()[static_cast<size_t>(4 * p + b)] = static_cast<float>(p * b + 3);
  const models::SpectralBasis two = models::spectral_basis(flat);
  EXPECT_LT(two.sigma[2], 1e-4 * two.sigma[0]);
  expect_close(test::to_doubles(from_eigenimages(models::eigenimages(flat, two, 2), two)),
               test::to_doubles(flat), {1e-5, 1e-4});
}

TEST(Eigenimages, InvalidPixelsTakeTheMean) {
  models::Cube cube;
  cube.values = test::from_doubles({1, 2, NAN, 7, 3, 6}, {1, 3, 2}, DType::f64);
  cube.valid = test::from_doubles({1, 0, 1}, {1, 3}, DType::bool_);
  const Spectra spectra = spectra_of(cube);
  EXPECT_EQ(spectra.filled, 1);
  EXPECT_EQ(test::to_doubles(spectra.values), (Doubles{1, 2, 2, 4, 3, 6}));
  for (const DType dtype : {DType::u16, DType::i16, DType::i32, DType::f32}) {
    cube.values = test::from_doubles({1, 2, 30000, 7, 3, 6}, {1, 3, 2}, dtype);
    EXPECT_EQ(test::to_doubles(spectra_of(cube).values), (Doubles{1, 2, 2, 4, 3, 6}));
  }
}

// ---- the iteration

TEST(SuperResolution, WithBicubicAsNetworkIsBicubic) {
  const Tensor cube = leaves_scene({.rows = 20, .columns = 14, .bands = 6}, Rng(3));
  for (const int64_t scale : {2, 3, 4}) {
    const Tensor wanted = resized_cube(cube, scale * 20, scale * 14);
    for (const int64_t iterations : {1, 2, 5, 9})
      for (const double beta : {0.8, 0.1}) {
        const Tensor y = super_resolve(
            cube, scale, {.iterations = iterations, .beta = beta, .rank = 0}, bicubic(scale));
        expect_close(test::to_doubles(y), test::to_doubles(wanted), {1e-6, 2e-6},
                     concat("x", scale, ", T ", iterations));
      }
  }
}

// Three passes written out, with an operator that tells rows from columns.
TEST(SuperResolution, IsItsEquations) {
  const Tensor x = test::uniform({5, 4, 4}, DType::f32, 9);
  const Upscaler upscale = [](const Tensor& planes) { return repeated(planes, 2, 0.125F); };
  const int64_t rank = 2;
  const auto pass = [&](const Tensor& z, const auto& turn, const auto& back) {
    const models::SpectralBasis basis = models::spectral_basis(z);
    return from_eigenimages(back(upscale(turn(models::eigenimages(x, basis, rank)))), basis);
  };
  const auto same = [](const Tensor& t) { return t; };
  const auto quarter = [](const Tensor& t) {
    Tensor y = Tensor::empty({t.size(0), t.size(2), t.size(1)}, DType::f32, Device::cpu());
    float* to = y.host_mutable<float>().data();
    for (int64_t n = 0; n < y.size(0); ++n)
      for (int64_t r = 0; r < y.size(1); ++r)
        for (int64_t c = 0; c < y.size(2); ++c) *to++ = at(t, n, c, t.size(2) - 1 - r);
    return y;
  };
  const auto thrice = [&](const Tensor& t) { return quarter(quarter(quarter(t))); };
  const auto rows = [](const Tensor& t) {
    Tensor y = t.clone();
    float* to = y.host_mutable<float>().data();
    for (int64_t n = 0; n < y.size(0); ++n)
      for (int64_t r = 0; r < y.size(1); ++r)
        for (int64_t c = 0; c < y.size(2); ++c) *to++ = at(t, n, t.size(1) - 1 - r, c);
    return y;
  };
  const auto blend = [](const Tensor& y, const Tensor& z) {
    Tensor out = y.clone();
    for (size_t i = 0; i < out.host<float>().size(); ++i)
      out.host_mutable<float>()[i] = 0.75F * y.host<float>()[i] + 0.25F * z.host<float>()[i];
    return out;
  };
  const Tensor first = pass(x, same, same);
  Tensor z = blend(first, resized_cube(x, 10, 8));
  z = blend(pass(z, quarter, thrice), z);
  z = blend(pass(z, rows, rows), z);
  Regularisation options{.iterations = 1, .beta = 0.75, .rank = rank};
  expect_close(test::to_doubles(super_resolve(x, 2, options, upscale)), test::to_doubles(first),
               {1e-6, 1e-6}, "T 1");
  options.iterations = 3;
  int64_t passes = 0;
  expect_close(
      test::to_doubles(super_resolve(x, 2, options, upscale, [&](int64_t done) { passes = done; })),
      test::to_doubles(z), {1e-5, 1e-5}, "T 3");
  EXPECT_EQ(passes, 3);
}

// ---- degradations

TEST(Degradation, NoiseHasItsDeviation) {
  const Tensor cube = leaves_scene({.rows = 40, .columns = 40, .bands = 8}, Rng(1));
  const auto deviation = [&](const Tensor& noisy) {
    double squares = 0;
    for (size_t i = 0; i < noisy.host<float>().size(); ++i)
      squares += std::pow(noisy.host<float>()[i] - cube.host<float>()[i], 2);
    return std::sqrt(squares / static_cast<double>(cube.numel()));
  };
  EXPECT_NEAR(deviation(with_noise(cube, 0.2, Rng(1))), 0.2, 0.2 * 4 / std::sqrt(2 * 12800));
  const double at20 = deviation(with_noise(cube, deviation_at(cube, 20), Rng(1)));
  double power = 0;
  for (const float v : cube.host<float>()) power += std::pow(v, 2) / 12800;
  EXPECT_NEAR(10 * std::log10(power / (at20 * at20)), 20, 0.3);
  EXPECT_EQ(with_noise(cube, 0.2, Rng(1)).values<float>(),
            with_noise(cube, 0.2, Rng(1)).values<float>());
}

TEST(Degradation, WhatIsSetToZero) {
  const int64_t rows = 12, columns = 50, bands = 40;
  Tensor cube = Tensor::empty({rows, columns, bands}, DType::f32, Device::cpu());
  for (float& v : cube.host_mutable<float>()) v = 1;
  const auto count = [](const Tensor& t) {
    double zeros = 0;
    for (const float v : t.host<float>()) zeros += v == 0;
    return zeros;
  };
  // four standard deviations of a binomial count
  const auto bound = [](double n, double p) { return 4 * std::sqrt(n * p * (1 - p)); };
  const Tensor stripes = with_stripes(cube, 0.1, Rng(1));
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t b = 0; b < bands; ++b)
      for (int64_t r = 1; r < rows; ++r)
        ASSERT_EQ(stripes.host<float>()[static_cast<size_t>((r * columns + c) * bands + b)],
                  stripes.host<float>()[static_cast<size_t>(c * bands + b)]);
  EXPECT_NEAR(count(stripes) / rows, 200, bound(2000, 0.1));
  const Tensor pixels = with_zeros(cube, 0.3, Dropped::pixels, Rng(1));
  for (size_t p = 0; p < 600; ++p)
    for (size_t b = 1; b < 40; ++b)
      ASSERT_EQ(pixels.host<float>()[40 * p + b], pixels.host<float>()[40 * p]);
  EXPECT_NEAR(count(pixels) / bands, 180, bound(600, 0.3));
  EXPECT_NEAR(count(with_zeros(cube, 0.3, Dropped::elements, Rng(1))), 7200, bound(24000, 0.3));
  EXPECT_EQ(count(cube), 0);

  const Tensor all =
      degraded(cube, 2, {.stripes = 0.1, .zeros = 0.2, .missing_pixels = 0.3}, Rng(2));
  EXPECT_EQ(all.shape(), (Shape{6, 25, 40}));
  EXPECT_NEAR(count(all), 6000 * (1 - 0.9 * 0.8 * 0.7), 400);
  const Tensor again =
      degraded(cube, 2, {.stripes = 0.1, .zeros = 0.2, .missing_pixels = 0.3}, Rng(2));
  EXPECT_EQ(all.values<float>(), again.values<float>());
  expect_error([&] { degraded(cube, 16, {}, Rng(1)); }, {"12 x 50", "16"}, invalid);
}

// ---- samples

TEST(Samples, PairsAreCropsOfThePlanes) {
  // steps of 100 down and 1 across: orientation and place show in the numbers
  std::vector<Tensor> scenes;
  for (const int64_t rows : {40, 16}) {
    Tensor t = Tensor::empty({2, rows, 30}, DType::f32, Device::cpu());
    float* to = t.host_mutable<float>().data();
    for (int64_t i = 0; i < t.numel(); ++i)
      to[i] = static_cast<float>(100 * (i / 30 % rows) + i % 30);
    scenes.push_back(t);
  }
  const PatchDataset data(scenes, 2, 8, 5);
  EXPECT_EQ(data.size(), 6);
  std::set<std::vector<float>> different;
  for (int64_t i = 0; i < 40; ++i) {
    const models::Sample sample = data.get(i, Rng(static_cast<uint64_t>(i)));
    ASSERT_EQ(sample[0].shape(), (Shape{1, 8, 8}));
    ASSERT_EQ(sample[1].shape(), (Shape{1, 16, 16}));
    const Tensor small = resized_planes(sample[1], 8, 8);
    expect_close(test::to_doubles(sample[0]), test::to_doubles(small), {1e-4, 1e-5});
    const PatchScale scale = scale_of(sample[0].host<float>());
    EXPECT_NEAR(scale.mean, 0, 1e-5);
    EXPECT_NEAR(scale.deviation, 1, 1e-5);
    const double down = at(sample[1], 0, 5, 7) - at(sample[1], 0, 4, 7),
                 across = at(sample[1], 0, 4, 8) - at(sample[1], 0, 4, 7);
    const double ratio = std::abs(down) > std::abs(across) ? down / across : across / down;
    EXPECT_NEAR(std::abs(ratio), 100, 0.5);
    different.insert(sample[1].values<float>());
  }
  EXPECT_GE(different.size(), 8u);
  // a scene smaller than a crop is mirrored about its middle
  const models::Sample sample = PatchDataset({scenes[1]}, 2, 12, 1).get(0, Rng(1));
  EXPECT_EQ(sample[1].shape(), (Shape{1, 24, 24}));
}

TEST(Samples, PlanesOfCubesAndPictures) {
  // three materials and no noise: three eigenimages hold everything
  const Tensor cube =
      leaves_scene({.rows = 16, .columns = 16, .bands = 12, .materials = 3, .noise = 0}, Rng(5));
  const models::SpectralBasis basis = models::spectral_basis(cube);
  EXPECT_GT(basis.sigma[2], 1e-3 * basis.sigma[0]);
  EXPECT_LT(basis.sigma[3], 1e-5 * basis.sigma[0]);
  EXPECT_EQ(training_planes(cube, 1).size(0), 12);
  const Tensor one = training_planes(cube, 0.01);
  EXPECT_EQ(one.shape(), (Shape{1, 16, 16}));
  EXPECT_EQ(one.values<float>(), models::eigenimages(cube, basis, 1).values<float>());
  const Tensor picture = Tensor::from<uint8_t>({0, 51, 255, 102, 0, 51}, {1, 2, 3}, Device::cpu());
  const Tensor planes = channel_planes(picture);
  EXPECT_EQ(planes.shape(), (Shape{3, 1, 2}));
  expect_close(test::to_doubles(planes), {0, .4, .2, 0, 1, .2}, {1e-6, 0});
  EXPECT_EQ(channel_planes(picture.select(2, 0).clone()).shape(), (Shape{1, 1, 2}));
}

}  // namespace
}  // namespace tessera::algorithms::eigensr
