// The estimate of mutual information against its definition, written out over all pairs.
#include "tessera/autograd/ops/information.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "tessera/autograd/ops/random.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::autograd {
namespace {

using test::at;
using test::Values;

constexpr double euler = 0.57721566490153286061;

double harmonic_digamma(int64_t m) {
  double sum = -euler;
  for (int64_t i = 1; i < m; ++i) sum += 1 / static_cast<double>(i);
  return sum;
}

/// Ross's estimate for one column by comparing all pairs.
double naive(Values z, const std::vector<int32_t>& label, int64_t k, const Values& noise) {
  const auto n = static_cast<double>(z.size());
  double mean = 0, squares = 0, magnitude = 0;
  for (const double v : z) mean += v / n;
  for (const double v : z) squares += (v - mean) * (v - mean) / n;
  for (double& v : z) v /= std::sqrt(squares);
  for (const double v : z) magnitude += std::abs(v) / n;
  for (size_t i = 0; i < z.size(); ++i) z[i] += 1e-10 * std::max(1.0, magnitude) * noise[i];
  std::map<int32_t, int64_t> size;
  for (const int32_t c : label) ++size[c];
  double kept = 0, sum = 0;
  for (size_t i = 0; i < z.size(); ++i) kept += size[label[i]] > 1;
  for (size_t i = 0; i < z.size(); ++i) {
    if (size[label[i]] < 2) continue;
    Values own;
    for (size_t j = 0; j < z.size(); ++j)
      if (j != i && label[j] == label[i]) own.push_back(std::abs(z[j] - z[i]));
    std::sort(own.begin(), own.end());
    const int64_t ki = std::min<int64_t>(k, static_cast<int64_t>(own.size()));
    const double r = std::nextafter(own[at(ki - 1)], 0.0);
    int64_t m = 0;
    for (size_t j = 0; j < z.size(); ++j) m += size[label[j]] > 1 && std::abs(z[j] - z[i]) <= r;
    sum += harmonic_digamma(ki) - harmonic_digamma(size[label[i]]) - harmonic_digamma(m);
  }
  return std::max(0.0, harmonic_digamma(static_cast<int64_t>(kept)) + sum / kept);
}

class ClassInformation : public test::TargetTest {};

TEST_P(ClassInformation, AgreesWithAllPairs) {
  for (const int64_t n : {int64_t{12}, int64_t{120}, large(1600)}) {
    constexpr int64_t columns = 5;
    test::Numbers next(static_cast<uint64_t>(n));
    std::vector<int32_t> label;
    for (int64_t i = 0; i < n; ++i) label.push_back(static_cast<int32_t>(next() % 4));
    label[0] = 7;  // alone in its class; classes 4 to 6 have no one
    Values x;
    for (int64_t i = 0; i < n; ++i) {
      const double u = next() * 0x1p-32, v = next() * 0x1p-32;
      const int32_t c = label[at(i)];
      x.push_back(c + u);                                       // tells the class
      x.push_back(100 + 3 * c * u + v);                         // tells something
      x.push_back(u - v);                                       // tells nothing
      x.push_back(static_cast<double>(next() % 3 + (c == 1)));  // nearly all ties
      x.push_back(1e-6 * c * (u > 0.5));
    }
    for (const int64_t k : {1, 3}) {
      if (n > 1000 && k == 1) continue;
      const Tensor there = on_device(Tensor::from(x, {n, columns}, Device::cpu()));
      const Tensor labels = Tensor::from(label, {n}, Device::cpu());
      const ClassInformationOptions options{.neighbors = k, .seed = 5};
      const Values found = class_information(there, labels, options).values<double>();
      ASSERT_EQ(found.size(), at(columns));
      for (int64_t f = 0; f < columns; ++f) {
        Values column;
        for (int64_t i = 0; i < n; ++i) column.push_back(x[at(i * columns + f)]);
        const Values noise =
            normal({n}, 0, 1, Rng(5).split(static_cast<uint64_t>(f)).take(n), DType::f64, device())
                .values<double>();
        EXPECT_NEAR(found[at(f)], naive(column, label, k, noise), 1e-11)
            << n << " samples, column " << f << ", k " << k;
      }
      // Columns do not depend on the others, nor on the call.
      ClassInformationOptions later = options;
      later.first = 3;
      const Values part = class_information(there.narrow(1, 3, 2), labels, later).values<double>();
      EXPECT_EQ(part, (Values{found[3], found[4]}));
    }
  }
}

TEST_P(ClassInformation, OfKnownDistributions) {
  // Two classes of equal chance, uniform on [0, 1) and on [s, 1 + s): I = s ln 2.
  const int64_t n = large(20000);
  for (const double shift : {0.0, 0.25, 0.5, 2.0}) {
    test::Numbers next(17);
    std::vector<int32_t> label;
    std::vector<float> x;
    for (int64_t i = 0; i < n; ++i) {
      label.push_back(static_cast<int32_t>(i % 2));
      x.push_back(static_cast<float>(next() * 0x1p-32 + shift * (i % 2)));
    }
    const double found = class_information(on_device(Tensor::from(x, {n, 1}, Device::cpu())),
                                           Tensor::from(label, {n}, Device::cpu()))
                             .item();
    EXPECT_NEAR(found, std::min(shift, 1.0) * std::log(2.0), 2.5 / std::sqrt(n)) << shift;
  }
}

TEST_P(ClassInformation, EdgeCases) {
  const auto of = [&](const Values& x, const std::vector<int32_t>& label) {
    const auto n = static_cast<int64_t>(label.size());
    return class_information(
               on_device(Tensor::from(x, {n, n > 0 ? static_cast<int64_t>(x.size()) / n : 2},
                                      Device::cpu())),
               Tensor::from(label, {n}, Device::cpu()))
        .values<double>();
  };
  EXPECT_EQ(of({}, {}), (Values{0, 0}));
  EXPECT_EQ(of({3}, {0}), Values{0});
  EXPECT_EQ(of({0.1, 0.1, 0.1, 0.1}, {0, 0, 1, 1}), Values{0});          // does not vary
  EXPECT_EQ(of({1, 2, 3, 4}, {0, 0, 0, 0}), Values{0});                  // one class
  EXPECT_EQ(of({1, 2, 3, 4}, {0, 1, 2, 3}), Values{0});                  // all alone
  EXPECT_EQ(of({1, 2, 30, 40}, {0, 0, 0, 9}), Values{0});                // one class left
  EXPECT_GT(of({1, 2, 1.5, 10, 11, 10.5}, {0, 0, 0, 1, 1, 1})[0], 0.5);  // k = 2 of 3
  const Tensor x = on_device(Tensor::from<double>({1, 2}, {2, 1}, Device::cpu()));
  EXPECT_THROW(class_information(x, Tensor::from<int32_t>({0, -1}, {2}, Device::cpu())), Error);
  EXPECT_THROW(class_information(x, Tensor::from<int32_t>({0}, {1}, Device::cpu())), Error);
  EXPECT_THROW(class_information(x, Tensor::from<int64_t>({0, 1}, {2}, Device::cpu())), Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, ClassInformation,
                         test::targets(test::any_dtype, &kernels::Backend::sort),
                         test::target_name);

TEST(Digamma, OfIntegers) {
  const Values psi = digamma_of_integers(1000);
  ASSERT_EQ(psi.size(), 1001u);
  EXPECT_NEAR(psi[1], -euler, 1e-15);
  EXPECT_NEAR(psi[10], 2.2517525890667211, 1e-14);
  // Its asymptotic series, independent of the recurrence.
  const double x = 1000;
  EXPECT_NEAR(psi[1000], std::log(x) - 1 / (2 * x) - 1 / (12 * x * x), 1e-13);
}

}  // namespace
}  // namespace tessera::autograd
