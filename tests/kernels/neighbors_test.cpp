#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/kernels/sort.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

/// Nearest neighbours among points, and among values of a class.
namespace tessera::kernels {
namespace {

using test::at;
using test::expect_close;
using test::from_doubles;
using test::integers;
using test::to_doubles;
using test::Values;

class NeighborBase : public test::TargetTest {
 protected:
  void SetUp() override {
    TargetTest::SetUp();
    if (!IsSkipped() && !backend(device()).sort)
      GTEST_SKIP() << "no sort kernels on " << to_string(device());
  }
};

class NeighborTest : public NeighborBase {};

TEST_P(NeighborTest, AgreesWithAllPairs) {
  for (const Metric metric : {Metric::squared_l2, Metric::cosine})
    for (const int64_t n : {1, 33, 300})
      for (const int64_t d : {1, 5, 40})
        for (const int64_t k : {int64_t{1}, std::min<int64_t>(n, 10), n}) {
          const Tensor queries = integers({21, d}, dtype(), 1, 2),
                       points = integers({n, d}, dtype(), 2, 2);
          const Tensor distance = empty({21, k}), index = empty({21, k}, DType::i64);
          nearest_neighbors(stream(), on_device(queries).view(), on_device(points).view(),
                            distance.view(), index.view(), {.metric = metric});
          const Values q = to_doubles(queries), p = to_doubles(points);
          Values wanted;
          const Values found = to_doubles(index);
          for (int64_t i = 0; i < 21; ++i) {
            Values all;
            for (int64_t j = 0; j < n; ++j) {
              double l2 = 0, dot = 0, qq = 0, pp = 0;
              for (int64_t c = 0; c < d; ++c) {
                const double a = q[at(i * d + c)], b = p[at(j * d + c)];
                l2 += (a - b) * (a - b), dot += a * b, qq += a * a, pp += b * b;
              }
              all.push_back(metric == Metric::squared_l2 ? l2
                            : qq * pp == 0               ? 1
                                                         : 1 - dot / std::sqrt(qq * pp));
            }
            std::vector<int64_t> order(at(n));
            std::iota(order.begin(), order.end(), 0);
            std::stable_sort(order.begin(), order.end(),
                             [&](int64_t a, int64_t b) { return all[at(a)] < all[at(b)]; });
            for (int64_t j = 0; j < k; ++j) {
              wanted.push_back(all[at(order[at(j)])]);
              const auto chosen = static_cast<size_t>(found[at(i * k + j)]);
              EXPECT_NEAR(all[chosen], wanted.back(), metric == Metric::cosine ? 1e-5 : 0);
              if (metric == Metric::squared_l2) {
                EXPECT_EQ(static_cast<int64_t>(chosen), order[at(j)]);
              }
            }
          }
          expect_close(distance, wanted, test::tolerance(dtype()));
        }
}

TEST_P(NeighborTest, WithoutTheQueryItself) {
  const int64_t n = 50;
  Tensor points = integers({n, 3}, dtype(), 1, 1);  // many coincide
  const Tensor there = on_device(points), distance = empty({n, n - 1}),
               index = empty({n, n - 1}, DType::i64);
  nearest_neighbors(stream(), there.view(), there.view(), distance.view(), index.view(),
                    {.exclude_same_index = true});
  const std::vector<int64_t> found = index.values<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    std::vector<int64_t> row(found.begin() + i * (n - 1), found.begin() + (i + 1) * (n - 1));
    std::sort(row.begin(), row.end());
    std::vector<int64_t> others(at(n));
    std::iota(others.begin(), others.end(), 0);
    others.erase(others.begin() + i);
    EXPECT_EQ(row, others);
  }
  EXPECT_THROW(nearest_neighbors(stream(), there.view(), there.view(), empty({n, n}).view(),
                                 empty({n, n}, DType::i64).view(), {.exclude_same_index = true}),
               Error);
}

TEST_P(NeighborTest, NanIsFarthest) {
  const Tensor points = on_device(from_doubles({NAN, 5, 1, 3}, {4, 1}, dtype())),
               query = on_device(from_doubles({0}, {1, 1}, dtype()));
  const Tensor distance = empty({1, 4}), index = empty({1, 4}, DType::i64);
  nearest_neighbors(stream(), query.view(), points.view(), distance.view(), index.view());
  EXPECT_EQ(index.values<int64_t>(), (std::vector<int64_t>{2, 3, 1, 0}));
  EXPECT_THROW(nearest_neighbors(stream(), query.view(), empty({4, 2}).view(), distance.view(),
                                 index.view()),
               Error);
}

class ClassNeighborTest : public NeighborBase {};

/// The number of `row` that are closer to z = own[p] than its k-th nearest in `own`, by definition.
template <class T>
int32_t naive_count(const std::vector<T>& row, const std::vector<T>& own, size_t p, size_t k) {
  if (own.size() == 1) return 0;
  std::vector<T> distances;
  for (size_t i = 0; i < own.size(); ++i)
    if (i != p) distances.push_back(std::abs(own[i] - own[p]));
  std::sort(distances.begin(), distances.end());
  const T r = std::nextafter(distances[std::min(k, distances.size()) - 1], T{0});
  return static_cast<int32_t>(
      std::count_if(row.begin(), row.end(), [&](T v) { return std::abs(v - own[p]) <= r; }));
}

TEST_P(ClassNeighborTest, AgreesWithTheDefinition) {
  const auto compare = [&]<class T>() {
    for (const std::vector<int64_t>& sizes :
         {std::vector<int64_t>{1}, {2}, {3, 1, 0, 4}, {40, 7, 1, 60}, {large(9000), 20, 1000}})
      for (const int64_t k : {1, 3, 10})
        for (const int limit : {4, 1 << 20}) {  // nearly all equal; nearly none
          std::vector<int64_t> cuts{0};
          for (const int64_t size : sizes) cuts.push_back(cuts.back() + size);
          const int64_t n = cuts.back(), rows = n < 500 ? 5 : 1;
          std::vector<T> grouped = integers({rows, n}, dtype(), 3, limit).values<T>();
          for (T& v : grouped) v *= T(0.1);  // differences are rounded
          std::vector<T> sorted = grouped;
          for (int64_t row = 0; row < rows; ++row) {
            std::sort(sorted.begin() + row * n, sorted.begin() + (row + 1) * n);
            for (size_t c = 0; c + 1 < cuts.size(); ++c)
              std::sort(grouped.begin() + row * n + cuts[c],
                        grouped.begin() + row * n + cuts[c + 1]);
          }
          const Tensor counts = empty({rows, n}, DType::i32);
          class_neighbors(stream(), Tensor::from(sorted, {rows, n}, device()).view(),
                          Tensor::from(grouped, {rows, n}, device()).view(),
                          Tensor::from(cuts, {static_cast<int64_t>(cuts.size())}, device()).view(),
                          counts.view(), {.k = k});
          const std::vector<int32_t> found = counts.values<int32_t>();
          const int64_t step = n < 500 ? 1 : 97;  // the definition takes n^2
          for (int64_t row = 0; row < rows; ++row)
            for (size_t c = 0; c + 1 < cuts.size(); ++c) {
              const std::vector<T> all(sorted.begin() + row * n, sorted.begin() + (row + 1) * n),
                  own(grouped.begin() + row * n + cuts[c], grouped.begin() + row * n + cuts[c + 1]);
              for (int64_t p = 0; p < static_cast<int64_t>(own.size()); p += step)
                ASSERT_EQ(found[at(row * n + cuts[c] + p)], naive_count(all, own, at(p), at(k)))
                    << n << " elements, k " << k << ", row " << row << " class " << c << " at "
                    << p;
            }
        }
  };
  if (dtype() == DType::f32)
    compare.operator()<float>();
  else
    compare.operator()<double>();
}

TEST_P(ClassNeighborTest, BadInput) {
  const Tensor x = on_device(from_doubles({0, 1, 2, 3}, {1, 4}, dtype()));
  const Tensor counts = empty({1, 4}, DType::i32);
  const auto with = [&](const std::vector<int64_t>& cuts) {
    class_neighbors(stream(), x.view(), x.view(),
                    Tensor::from(cuts, {static_cast<int64_t>(cuts.size())}, device()).view(),
                    counts.view());
    stream().synchronize();
  };
  for (const std::vector<int64_t>& cuts :
       {std::vector<int64_t>{0}, {0, 3}, {0, 5}, {1, 4}, {-1, 4}, {0, 3, 2, 4}, {0, 9, 4}})
    EXPECT_THROW(with(cuts), Error) << test::Values(cuts.begin(), cuts.end()).size();
  with({0, 2, 4});
  EXPECT_EQ(counts.values<int32_t>(), (std::vector<int32_t>{1, 1, 1, 1}));
  const Tensor offsets = on_device(Tensor::from<int64_t>({0, 4}, {2}, Device::cpu()));
  EXPECT_THROW(
      class_neighbors(stream(), x.view(), empty({1, 3}).view(), offsets.view(), counts.view()),
      Error);
  EXPECT_THROW(class_neighbors(stream(), x.view(), x.view(), offsets.view(),
                               empty({1, 4}, DType::i64).view()),
               Error);
  EXPECT_THROW(
      class_neighbors(stream(), x.view(), x.view(), offsets.view(), counts.view(), {.k = 0}),
      Error);
  const Tensor none = empty({0, 4});
  class_neighbors(stream(), none.view(), none.view(), offsets.view(),
                  empty({0, 4}, DType::i32).view());
}

constexpr DType neighbor_dtypes[] = {DType::f32, DType::f64};
INSTANTIATE_TEST_SUITE_P(Targets, ClassNeighborTest, test::targets(neighbor_dtypes, &Backend::sort),
                         test::target_name);
INSTANTIATE_TEST_SUITE_P(Targets, NeighborTest, test::targets(neighbor_dtypes, &Backend::sort),
                         test::target_name);

}  // namespace
}  // namespace tessera::kernels
