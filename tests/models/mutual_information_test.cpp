#include "tessera/models/mutual_information.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "tessera/models/init.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/golden.hpp"

namespace tessera::models {
namespace {

using test::expect_error;

struct Sample {
  Tensor x, labels;
};

/// Rows of class i % classes: mean(class, f) + deviation(class, f) * normal.
template <class Mean, class Deviation>
Sample normal_classes(int64_t rows, int64_t width, int64_t classes, const Mean& mean,
                      const Deviation& deviation, uint64_t seed) {
  Rng rng(seed);
  std::vector<double> x;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < rows; ++i) {
    labels.push_back(static_cast<int32_t>(i % classes));
    for (int64_t f = 0; f < width; ++f)
      x.push_back(mean(labels.back(), f) + deviation(labels.back(), f) * normal(rng));
  }
  return {Tensor::from(x, {rows, width}, Device::cpu()),
          Tensor::from(labels, {rows}, Device::cpu())};
}
constexpr auto one = [](int32_t, int64_t) { return 1.0; };

double joint(const Sample& s, int64_t k = 3) {
  return mutual_information(s.x, s.labels, {.k = k}, Rng(1));
}
double single(const Sample& s) { return mean_mutual_information(s.x, s.labels, {}, Rng(1)); }

/// I(x; y) of two equally frequent normal classes, by integrating p ln(p / q).
double of_two_normals(double mean0, double deviation0, double mean1, double deviation1) {
  const auto density = [](double x, double mean, double deviation) {
    const double z = (x - mean) / deviation;
    return std::exp(-z * z / 2) / (deviation * std::sqrt(2 * std::numbers::pi));
  };
  double sum = 0;
  const double step = 1e-3;
  for (int i = 0; i < 80000; ++i) {
    const double x = -40 + i * step;
    const double p0 = density(x, mean0, deviation0), p1 = density(x, mean1, deviation1),
                 q = (p0 + p1) / 2;
    for (const double p : {p0, p1})
      if (p > 1e-300) sum += 0.5 * p * std::log(p / q) * step;
  }
  return sum;
}

TEST(MutualInformation, IsThatOfScikitLearnAndOfTrees) {
  const test::Golden golden("mutual_information");
  const Tensor x = golden.tensor("x"), labels = golden.tensor("labels");
  for (const int64_t k : {1, 3, 7}) {
    const MutualInformationOptions options{.k = k};
    EXPECT_NEAR(mutual_information(x, labels, options, Rng(2)),
                golden.values(concat("joint.", k))[0], 1e-9);
    EXPECT_NEAR(mutual_information(x, golden.tensor("labels_small"), options, Rng(2)),
                golden.values(concat("joint_small.", k))[0], 1e-9);
    const std::vector<double> expected = golden.values(concat("single.", k));
    double mean = 0;
    for (size_t f = 0; f < expected.size(); ++f) {
      const Tensor column = x.narrow(1, static_cast<int64_t>(f), 1).clone();
      EXPECT_NEAR(mutual_information(column, labels, options, Rng(2)), expected[f], 1e-9);
      mean += expected[f] / static_cast<double>(expected.size());
    }
    EXPECT_NEAR(mean_mutual_information(x, labels, options, Rng(2)), mean, 1e-9);
  }
}

TEST(MutualInformation, OfNormalClassesIsItsIntegral) {
  const auto shifted = normal_classes(
      2000, 1, 2, [](int32_t y, int64_t) { return y == 0 ? -1.0 : 1.0; }, one, 1);
  EXPECT_NEAR(joint(shifted), of_two_normals(-1, 1, 1, 1), 0.03);
  // Equal means, other variances: nothing linear would see it.
  const auto wider = normal_classes(
      2000, 1, 2, [](int32_t, int64_t) { return 0.0; },
      [](int32_t y, int64_t) { return y == 0 ? 1.0 : 5.0; }, 2);
  EXPECT_NEAR(joint(wider), of_two_normals(0, 1, 0, 5), 0.03);
  // A second coordinate without information leaves the joint as it is and halves the mean.
  const auto plane = normal_classes(
      2000, 2, 2, [](int32_t y, int64_t f) { return f == 0 ? (y == 0 ? -1.0 : 1.0) : 0.0; }, one,
      3);
  EXPECT_NEAR(joint(plane), of_two_normals(-1, 1, 1, 1), 0.04);
  EXPECT_NEAR(single(plane), of_two_normals(-1, 1, 1, 1) / 2, 0.03);
}

// The sum and the difference of two normals: what only the two together tell.
TEST(MutualInformation, JointSeesWhatNoDimensionShows) {
  Rng rng(4);
  std::vector<double> x;
  std::vector<int32_t> labels;
  for (int i = 0; i < 1200; ++i) {
    const double a = normal(rng), b = normal(rng) * 0.1;
    labels.push_back(i % 2);
    x.insert(x.end(), {a, (i % 2 == 0 ? a : -a) + b});
  }
  const Sample s{Tensor::from(x, {1200, 2}, Device::cpu()),
                 Tensor::from(labels, {1200}, Device::cpu())};
  EXPECT_GT(joint(s), 0.5);
  EXPECT_LT(single(s), 0.05);
}

TEST(MutualInformation, OfNothingAndOfEverything) {
  const auto same = [](int32_t, int64_t) { return 0.0; };
  EXPECT_LT(joint(normal_classes(1500, 2, 3, same, one, 5)), 0.05);
  // Classes far apart: every ball holds k of its own class, so I = psi(n) - psi(n / C), near ln C.
  const auto apart = normal_classes(
      900, 2, 3, [](int32_t y, int64_t) { return 100.0 * y; }, one, 6);
  double harmonic = 0;
  for (int m = 300; m < 900; ++m) harmonic += 1.0 / m;
  EXPECT_NEAR(joint(apart), harmonic, 1e-12);
  EXPECT_NEAR(joint(apart, 8), harmonic, 1e-12);
  EXPECT_NEAR(joint(apart), label_entropy(apart.labels.host<int32_t>()), 2e-3);
}

TEST(MutualInformation, ClassesOfOneAndEqualRows) {
  // Class 2 has one member: the result is that without its row.
  const auto s = normal_classes(
      40, 2, 2, [](int32_t y, int64_t) { return 1.0 * y; }, one, 7);
  auto labels = s.labels.values<int32_t>();
  labels[39] = 2;
  const Tensor with_one = Tensor::from(labels, {40}, Device::cpu());
  EXPECT_NEAR(mutual_information(s.x, with_one, {}, Rng(1)),
              mutual_information(s.x.narrow(0, 0, 39).clone(), s.labels.narrow(0, 0, 39).clone(),
                                 {}, Rng(1)),
              1e-12);
  EXPECT_EQ(mutual_information(test::uniform({1, 2}, DType::f64, 1),
                               Tensor::zeros({1}, DType::i32, Device::cpu()), {}, Rng(0)),
            0);
  EXPECT_EQ(mean_mutual_information(test::uniform({1, 2}, DType::f64, 1),
                                    Tensor::zeros({1}, DType::i32, Device::cpu()), {}, Rng(0)),
            0);
  EXPECT_EQ(mean_mutual_information(Tensor::zeros({4, 0}, DType::f32, Device::cpu()),
                                    Tensor::zeros({4}, DType::i32, Device::cpu()), {}, Rng(0)),
            0);
  EXPECT_EQ(mean_mutual_information(Tensor::zeros({40, 2}, DType::f16, Device::cpu()), s.labels, {},
                                    Rng(0)),
            0);
  // Constant columns tell nothing, and the same numbers come out each time.
  const Tensor constant = Tensor::zeros({40, 1}, DType::f32, Device::cpu());
  EXPECT_LT(mutual_information(constant, s.labels, {}, Rng(3)), 0.35);
  EXPECT_EQ(mutual_information(constant, s.labels, {}, Rng(3)),
            mutual_information(constant, s.labels, {}, Rng(3)));
}

TEST(MutualInformation, BadInputIsNamed) {
  const auto kind = ErrorKind::invalid_argument;
  const Tensor x = test::from_doubles({1, 2, test::infinity, 4}, {4, 1}, DType::f32);
  const Tensor labels = Tensor::zeros({4}, DType::i32, Device::cpu());
  expect_error([&] { mutual_information(x, labels, {}, Rng(0)); }, {"element 0 of row 2"}, kind);
  const Tensor good = test::uniform({4, 1}, DType::f32, 1);
  expect_error([&] { mutual_information(good, labels.narrow(0, 0, 3), {}, Rng(0)); }, {"i32 [n]"},
               kind);
  expect_error([&] { mean_mutual_information(x, labels, {}, Rng(0)); }, {"element 0 of row 2"},
               kind);
  expect_error([&] { mean_mutual_information(good, labels, {.k = 0}, Rng(0)); }, {"0 neighbours"},
               kind);
  expect_error([&] { fano_accuracy(0.1, 0.2, 1); }, {"1 classes"}, kind);
}

TEST(MutualInformation, OfCodesIsThatOfTheirTable) {
  // p(0, 0) = 3/8, p(0, 1) = 1/8, p(1, 0) = 1/8, p(1, 1) = 3/8
  const std::vector<int64_t> codes{5, 5, 5, 5, -2, -2, -2, -2};
  const std::vector<int32_t> labels{0, 0, 0, 1, 0, 1, 1, 1};
  const double expected = 2 * (3 / 8.0 * std::log(3 / 8.0 / 0.25) + 1 / 8.0 * std::log(0.5));
  EXPECT_NEAR(discrete_mutual_information(codes, labels), expected, 1e-12);
  EXPECT_NEAR(label_entropy(labels), std::numbers::ln2, 1e-12);
  const std::vector<int64_t> same(8, 3), own{0, 0, 0, 1, 0, 1, 1, 1};
  EXPECT_NEAR(discrete_mutual_information(same, labels), 0, 1e-12);
  EXPECT_NEAR(discrete_mutual_information(own, labels), std::numbers::ln2, 1e-12);
}

TEST(MutualInformation, FanosBoundHoldsWithEquality) {
  for (const int64_t classes : {2, 3, 10}) {
    const double entropy = std::log(static_cast<double>(classes));
    EXPECT_EQ(fano_accuracy(entropy, entropy, classes), 1);
    EXPECT_NEAR(fano_accuracy(0, entropy, classes), 1.0 / static_cast<double>(classes), 1e-9);
    const double error = 1 - fano_accuracy(0.4 * entropy, entropy, classes);
    EXPECT_NEAR(-error * std::log(error) - (1 - error) * std::log(1 - error) +
                    error * std::log(static_cast<double>(classes) - 1),
                0.6 * entropy, 1e-9);
  }
}

}  // namespace
}  // namespace tessera::models
