#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "tessera/models/data/image.hpp"
#include "tessera/models/data/synthetic.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

using test::expect_error;
using test::TemporaryFolder;

const Device cpu = Device::cpu();

TEST(SyntheticImages, ClassesDifferAndAreSharedBetweenSeeds) {
  SyntheticImageOptions o;
  o.images = 60;
  o.classes = 3;
  o.height = o.width = 16;
  const ImageData train = synthetic_images(o, Rng(1)), test = synthetic_images(o, Rng(2));
  EXPECT_EQ(train.images.shape(), (Shape{60, 3, 16, 16}));
  EXPECT_NE(train.images.values<uint8_t>(), test.images.values<uint8_t>());
  EXPECT_EQ(train.images.values<uint8_t>(), synthetic_images(o, Rng(1)).images.values<uint8_t>());
  // The spectrum's magnitude ignores the phase: the nearest class mean of it must name the class.
  const auto features = [](const ImageData& data, int64_t i) {
    std::vector<double> out;
    const auto pixels = data.images.select(0, i).values<uint8_t>();
    for (size_t c = 0; c < 3; ++c)
      for (int u = 0; u < 8; ++u)
        for (int v = -7; v < 8; ++v) {
          double re = 0, im = 0;
          for (int y = 0; y < 16; ++y)
            for (int x = 0; x < 16; ++x) {
              const double angle = 2 * 3.141592653589793 * (u * y + v * x) / 16;
              const double p = pixels[c * 256 + static_cast<size_t>(y * 16 + x)] / 255.0 - 0.5;
              re += p * std::cos(angle);
              im += p * std::sin(angle);
            }
          out.push_back(std::hypot(re, im));
        }
    return out;
  };
  std::vector<std::vector<double>> means(3, std::vector<double>(360));
  for (int64_t i = 0; i < 60; ++i) {
    const auto f = features(train, i);
    auto& mean = means[static_cast<size_t>(train.labels.host<int32_t>()[static_cast<size_t>(i)])];
    for (size_t k = 0; k < f.size(); ++k) mean[k] += f[k] / 20;
  }
  int right = 0;
  for (int64_t i = 0; i < 60; ++i) {
    const auto f = features(test, i);
    double best = 1e300;
    int chosen = -1;
    for (int c = 0; c < 3; ++c) {
      double distance = 0;
      for (size_t k = 0; k < f.size(); ++k)
        distance += std::pow(f[k] - means[static_cast<size_t>(c)][k], 2);
      if (distance < best) best = distance, chosen = c;
    }
    right += chosen == test.labels.host<int32_t>()[static_cast<size_t>(i)];
  }
  EXPECT_GE(right, 54) << "of 60";
}

// Two channels of 4 x 5 pixels, all different.
ImageData numbered_images(int64_t n) {
  ImageData data{Tensor::empty({n, 2, 4, 5}, DType::u8, cpu), Tensor::zeros({n}, DType::i32, cpu),
                 3};
  int value = 0;
  for (uint8_t& pixel : data.images.host_mutable<uint8_t>())
    pixel = static_cast<uint8_t>(++value * 37 % 251 + 1);
  for (int64_t i = 0; i < n; ++i)
    data.labels.host_mutable<int32_t>()[static_cast<size_t>(i)] = static_cast<int32_t>(i % 3);
  return data;
}

TEST(Images, StatisticsAndNormalisation) {
  const ImageData data = numbered_images(7);
  const ChannelStatistics s = channel_statistics(data);
  for (size_t c = 0; c < 2; ++c) {
    std::vector<double> values;
    for (int64_t i = 0; i < 7; ++i)
      for (const uint8_t p :
           data.images.select(0, i).select(0, static_cast<int64_t>(c)).values<uint8_t>())
        values.push_back(p / 255.0);
    double mean = 0, variance = 0;
    for (const double v : values) mean += v / 140;
    for (const double v : values) variance += (v - mean) * (v - mean) / 140;
    EXPECT_NEAR(s.mean[c], mean, 1e-6);
    EXPECT_NEAR(s.std[c], std::sqrt(variance), 1e-6);
  }
  const ImageDataset dataset(data, s);
  EXPECT_EQ(dataset.size(), 7);
  const Sample sample = dataset.get(4, Rng(0));
  EXPECT_EQ(sample[1].item(), 1);
  EXPECT_EQ(sample[1].rank(), 0);
  const auto raw = data.images.select(0, 4).values<uint8_t>();
  const auto x = sample[0].values<float>();
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_NEAR(x[i], (raw[i] / 255.0 - s.mean[i / 20]) / s.std[i / 20], 1e-5);
}

TEST(Images, AugmentationIsACropOfThePaddedImageOrItsMirror) {
  const ImageData data = numbered_images(1);
  const ChannelStatistics plain{{0, 0}, {1.0f / 255, 1.0f / 255}};  // values stay bytes
  const ImageDataset dataset(data, plain, {.crop_padding = 2, .flip = true});
  const auto raw = data.images.values<uint8_t>();
  std::set<std::tuple<int, int, bool>> seen;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    const auto x = dataset.get(0, Rng(seed))[0].values<float>();
    bool found = false;
    for (int top = -2; top <= 2; ++top)
      for (int left = -2; left <= 2; ++left)
        for (const bool flip : {false, true}) {
          bool same = true;
          for (int c = 0; c < 2; ++c)
            for (int i = 0; i < 4; ++i)
              for (int j = 0; j < 5; ++j) {
                const int row = i + top, column = (flip ? 4 - j : j) + left;
                const bool inside = row >= 0 && row < 4 && column >= 0 && column < 5;
                const int to = c * 20 + i * 5 + j, from = c * 20 + row * 5 + column;
                const float expected = inside ? raw[static_cast<size_t>(from)] : 0.0f;
                same = same && std::abs(x[static_cast<size_t>(to)] - expected) < 1e-3f;
              }
          if (!same) continue;
          found = true;
          seen.insert({top, left, flip});
        }
    EXPECT_TRUE(found) << "seed " << seed;
  }
  EXPECT_EQ(seen.size(), 50u) << "every offset and both mirrorings occur";
}

TEST(Images, LoadersCheckWhatTheyRead) {
  const TemporaryFolder folder;
  using std::string;
  const string images = string("\0\0\x08\3\0\0\0\2\0\0\0\1\0\0\0\3", 16) + "abcdef";
  test::write_bytes(folder / "images", images);
  test::write_bytes(folder / "labels", string("\0\0\x08\1\0\0\0\2", 8) + "\1\2");
  test::write_bytes(folder / "three", string("\0\0\x08\1\0\0\0\3", 8) + "\1\2\3");
  test::write_bytes(folder / "large", string("\0\0\x08\1\0\0\0\2", 8) + "\1\x0a");
  const ImageData data = load_idx_images(folder / "images", folder / "labels");
  EXPECT_EQ(data.images.shape(), (Shape{2, 1, 1, 3}));
  EXPECT_EQ(data.labels.values<int32_t>(), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(take_images(data, 1).size(), 1);
  EXPECT_EQ(take_images(data, 9).size(), 2);
  expect_error([&] { load_idx_images(folder / "images", folder / "three"); },
               {"three", "3 labels", "2 images"});
  expect_error([&] { load_idx_images(folder / "images", folder / "large"); },
               {"large", "label 10", "image 1"});
  expect_error([&] { load_idx_images(folder / "labels", folder / "labels"); },
               {"labels", "[n, height, width]"});
  expect_error([&] { load_idx_images(folder / "images", folder / "images"); }, {"labels u8 [n]"});

  string record(3073, '\7');
  test::write_bytes(folder / "a.bin", record + record);
  record[0] = '\3';
  test::write_bytes(folder / "b.bin", record);
  const ImageData cifar = load_cifar10({folder / "a.bin", folder / "b.bin"});
  EXPECT_EQ(cifar.images.shape(), (Shape{3, 3, 32, 32}));
  EXPECT_EQ(cifar.labels.values<int32_t>(), (std::vector<int32_t>{7, 7, 3}));
  EXPECT_EQ(cifar.classes, 10);
  const ErrorKind kind = ErrorKind::invalid_argument;
  expect_error([&] { ImageDataset(cifar, {{0}, {1}}); }, {"1 channels"}, kind);
  expect_error(
      [&] {
        ImageDataset(cifar, {{0, 0, 0}, {1, 1, 1}}).get(3, Rng(0));
      },
      {"example 3"}, kind);
}

}  // namespace
}  // namespace tessera::models
