#include "tessera/kernels/indexing.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::at;
using test::expect_close;
using test::from_doubles;
using test::integers;
using test::to_doubles;
using test::Values;

class IndexingBase : public test::TargetTest {
 protected:
  void SetUp() override {
    TargetTest::SetUp();
    if (!IsSkipped() && !backend(device()).indexing)
      GTEST_SKIP() << "no indexing kernels on " << to_string(device());
  }
  Tensor indices(const std::vector<int64_t>& values, const Shape& shape, DType dtype) {
    return on_device(from_doubles(Values(values.begin(), values.end()), shape, dtype));
  }
  // The rows of x on the device, `gap` elements apart.
  Tensor wide(const Tensor& x, int64_t gap) {
    const int64_t width = x.size(1);
    const Tensor memory = Tensor::empty({x.size(0), width + gap}, x.dtype(), Device::cpu());
    Tensor rows = memory.narrow(1, 0, width);
    rows.copy_from(x);
    return on_device(memory).narrow(1, 0, width);
  }
  void expect_error(const std::function<void()>& call, const std::string& part) {
    try {
      call();
      stream().synchronize();  // a GPU's findings
      ADD_FAILURE() << "no error; expected '" << part << "'";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
};

std::vector<int64_t> random_indices(int64_t count, int64_t limit, uint64_t seed) {
  test::Numbers next(seed);
  std::vector<int64_t> index(at(count));
  for (int64_t& i : index) i = next() % static_cast<uint64_t>(limit);
  return index;
}

constexpr DType index_dtypes[] = {DType::i32, DType::i64};

class MoveTest : public IndexingBase {};  // every dtype
class FloatIndexTest : public IndexingBase {};

TEST_P(MoveTest, GatherRows) {
  for (const DType index_dtype : index_dtypes)
    for (const int64_t width : {0, 1, 3, 10, 16, 40})
      for (const int64_t count : {0, 5, 3000}) {
        const Tensor x = integers({37, width}, dtype(), 1);
        const std::vector<int64_t> rows = random_indices(count, 37, 2);
        const Tensor from = wide(x, 2),
                     y = wide(Tensor::zeros({count, width}, dtype(), Device::cpu()), 3);
        gather(stream(), from.view(), indices(rows, {count}, index_dtype).view(), y.view());
        const Values xs = to_doubles(x);
        Values wanted;
        for (const int64_t r : rows)
          wanted.insert(wanted.end(), xs.begin() + r * width, xs.begin() + (r + 1) * width);
        EXPECT_EQ(to_doubles(y), wanted);
      }
}

struct AlongCase {
  Shape full;
  int axis;
  int64_t chosen;
};
const AlongCase along_cases[] = {{{7}, 0, 12},       {{5, 6}, 0, 4},      {{5, 6}, 1, 9},
                                 {{4, 3, 70}, 1, 5}, {{2, 300, 3}, 1, 2}, {{3, 2, 4, 5}, 3, 1},
                                 {{900, 130}, 0, 7}, {{3, 4}, 1, 0}};

// body(chosen position, full position or -1)
void each_along(const AlongCase& c, const std::vector<int64_t>& index,
                const std::function<void(int64_t, int64_t)>& body) {
  int64_t inner = 1;
  for (int i = c.axis + 1; i < c.full.rank(); ++i) inner *= c.full[i];
  for (int64_t p = 0; p < static_cast<int64_t>(index.size()); ++p) {
    const int64_t outer = p / inner / c.chosen;
    const int64_t i = index[at(p)];
    body(p, i < 0 ? -1 : (outer * c.full[c.axis] + i) * inner + p % inner);
  }
}

TEST_P(MoveTest, TakeAndPutAlongAnAxis) {
  for (const AlongCase& c : along_cases)
    for (const DType index_dtype : index_dtypes) {
      Shape shape = c.full;
      shape[c.axis] = c.chosen;
      std::vector<int64_t> index = random_indices(shape.numel(), c.full[c.axis], 3);
      const Tensor x = integers(c.full, dtype(), 4), u = integers(shape, dtype(), 5);
      const Values xs = to_doubles(x), us = to_doubles(u);

      Values put = xs;
      each_along(c, index, [&](int64_t p, int64_t f) { put[at(f)] = us[at(p)]; });
      const Tensor y = on_device(x).clone();
      put_along(stream(), on_device(u).view(), c.axis, indices(index, shape, index_dtype).view(),
                y.view());
      EXPECT_EQ(to_doubles(y), put);

      if (!index.empty()) index[index.size() / 2] = -1;
      Values taken(at(shape.numel()));
      each_along(c, index, [&](int64_t p, int64_t f) { taken[at(p)] = f < 0 ? 0 : xs[at(f)]; });
      const Tensor z = empty(shape);
      take_along(stream(), on_device(x).view(), c.axis, indices(index, shape, index_dtype).view(),
                 z.view());
      EXPECT_EQ(to_doubles(z), taken);
    }
}

TEST_P(MoveTest, OneHot) {
  const std::vector<int64_t> labels{3, 0, 3, 4, 1, 2};
  const Tensor y = empty({2, 3, 5});
  one_hot(stream(), indices(labels, {2, 3}, DType::i64).view(), y.view());
  Values wanted(30);
  for (size_t k = 0; k < labels.size(); ++k) wanted[k * 5 + at(labels[k])] = 1;
  EXPECT_EQ(to_doubles(y), wanted);
  one_hot(stream(), indices({2}, {}, DType::i32).view(), empty({4}).view());
}

TEST_P(MoveTest, TopKAgreesWithASort) {
  for (const int64_t n : {1, 10, 700})
    for (const int64_t k :
         {int64_t{0}, int64_t{1}, std::min<int64_t>(n, 9), std::min<int64_t>(n, 200), n})
      for (const bool largest : {true, false}) {
        const int64_t rows = 5;
        Values xs = to_doubles(integers({rows, n}, dtype(), 6, 50));
        if (is_float(dtype()) && n > 5)
          xs[3] = NAN, xs[5] = NAN, xs[1] = INFINITY, xs[2] = -INFINITY, xs[4] = -0.0;
        const Tensor x = from_doubles(xs, {rows, n}, dtype());
        const Tensor values = empty({rows, k}), index = empty({rows, k}, DType::i64);
        top_k(stream(), on_device(x).view(), largest, values.view(), index.view());
        xs = to_doubles(x);
        Values wanted_values, wanted_index;
        for (int64_t r = 0; r < rows; ++r) {
          std::vector<int64_t> order(at(n));
          std::iota(order.begin(), order.end(), 0);
          const auto value = [&](int64_t i) { return xs[at(r * n + i)]; };
          const auto less = [&](int64_t a, int64_t b) {  // NaN is larger than everything
            return !std::isnan(value(a)) && (std::isnan(value(b)) || value(a) < value(b));
          };
          std::stable_sort(order.begin(), order.end(),
                           [&](int64_t a, int64_t b) { return largest ? less(b, a) : less(a, b); });
          for (int64_t j = 0; j < k; ++j) {
            wanted_index.push_back(static_cast<double>(order[at(j)]));
            wanted_values.push_back(value(order[at(j)]));
          }
        }
        expect_close(values, wanted_values, {0, 0}, concat(n, " choose ", k));
        EXPECT_EQ(to_doubles(index), wanted_index)
            << n << " choose " << k << " largest " << largest;
      }
}

INSTANTIATE_TEST_SUITE_P(Targets, MoveTest, test::targets(test::all_dtypes, &Backend::indexing),
                         test::target_name);

TEST_P(FloatIndexTest, ScatterAddIsTheTransposeOfGather) {
  for (const DType index_dtype : index_dtypes)
    for (const int64_t width : {1, 7, 64})
      for (const int64_t n : {1, 50, 5000})
        for (const int64_t count : {0, 3, 4000}) {
          const std::vector<int64_t> rows = random_indices(count, n, 7);
          const Tensor x = integers({count, width}, dtype(), 8, 1),
                       y0 = integers({n, width}, dtype(), 9);
          const Tensor y = wide(y0, 1);
          scatter_add(stream(), on_device(x).view(), indices(rows, {count}, index_dtype).view(),
                      y.view());
          Values wanted = to_doubles(y0);
          const Values xs = to_doubles(x);
          for (int64_t k = 0; k < count; ++k)
            for (int64_t j = 0; j < width; ++j)
              wanted[at(rows[at(k)] * width + j)] += xs[at(k * width + j)];
          expect_close(y, wanted, {test::roundoff(dtype()), 0}, concat(count, " rows into ", n));
        }
}

TEST_P(FloatIndexTest, AddAlongAnAxis) {
  for (const AlongCase& c : along_cases) {
    Shape shape = c.full;
    shape[c.axis] = c.chosen;
    std::vector<int64_t> index = random_indices(shape.numel(), c.full[c.axis], 3);
    if (!index.empty()) index[0] = -1;
    const Tensor x = integers(shape, dtype(), 4), y0 = integers(c.full, dtype(), 5);
    Values wanted = to_doubles(y0);
    const Values xs = to_doubles(x);
    each_along(c, index, [&](int64_t p, int64_t f) {
      if (f >= 0) wanted[at(f)] += xs[at(p)];
    });
    const Tensor y = on_device(y0).clone();
    add_along(stream(), on_device(x).view(), c.axis, indices(index, shape, DType::i64).view(),
              y.view());
    EXPECT_EQ(to_doubles(y), wanted);
  }
}

TEST_P(FloatIndexTest, SameBitsForAnyThreadCount) {
  const std::vector<int64_t> rows = random_indices(20000, 300, 1);
  const Tensor index = indices(rows, {20000}, DType::i64),
               along = indices(rows, {200, 100}, DType::i64);
  const Tensor x = on_device(test::uniform({20000, 24}, dtype(), 2)),
               z = on_device(test::uniform({200, 100}, dtype(), 3));
  Values sums, lines;
  for (const int threads : {1, 2, 3}) {
    test::Threads scope(threads);
    const Tensor y = Tensor::zeros({300, 24}, dtype(), device()),
                 w = Tensor::zeros({300, 100}, dtype(), device());
    scatter_add(stream(), x.view(), index.view(), y.view());
    add_along(stream(), z.view(), 0, along.view(), w.view());
    if (threads == 1) sums = to_doubles(y), lines = to_doubles(w);
    EXPECT_EQ(to_doubles(y), sums);
    EXPECT_EQ(to_doubles(w), lines);
  }
}

TEST_P(FloatIndexTest, IndicesOutOfRangeAreNamed) {
  const Tensor x = empty({5, 2}), y = on_device(test::integers({3, 2}, dtype(), 1));
  const auto three = [&](std::vector<int64_t> v) { return indices(v, {3}, DType::i64); };
  expect_error(
      [&] {
        gather(stream(), x.view(), three({0, 5, 1}).view(), y.view());
      },
      "gather: index 1 is 5, outside [0, 5)");
  expect_error(
      [&] {
        gather(stream(), x.view(), three({0, 4, -1}).view(), y.view());
      },
      "index 2 is -1");
  const Values before = to_doubles(y);
  expect_error(
      [&] {
        scatter_add(stream(), y.view(), three({0, 1, 99}).view(), x.view());
      },
      "index 2 is 99");
  expect_error(
      [&] {
        one_hot(stream(), three({0, 2, 1}).view(), empty({3, 2}).view());
      },
      "index 1 is 2");
  const Tensor index = indices({0, 0, 0, 1, -2, 0}, {3, 2}, DType::i32);
  expect_error([&] { take_along(stream(), x.view(), 0, index.view(), y.view()); }, "index 4 is -2");
  expect_error([&] { add_along(stream(), y.view(), 0, index.view(), x.view()); }, "index 4 is -2");
  expect_error([&] { put_along(stream(), y.view(), 0, index.view(), x.view()); }, "index 4 is -2");
  if (device() == Device::cpu()) {  // others leave elements out
    EXPECT_EQ(to_doubles(y), before);
  }
  // far into a parallel check
  std::vector<int64_t> many(100000);
  many[77777] = 5;
  expect_error(
      [&] {
        gather(stream(), x.view(), indices(many, {100000}, DType::i64).view(),
               empty({100000, 2}).view());
      },
      "index 77777 is 5");
}

TEST_P(FloatIndexTest, RejectsWhatDoesNotFit) {
  const Tensor x = empty({5, 2}), index = indices({0, 1, 2}, {3}, DType::i64);
  EXPECT_THROW(gather(stream(), x.view(), index.view(), empty({4, 2}).view()), Error);
  EXPECT_THROW(gather(stream(), x.view(), index.view(), empty({3, 3}).view()), Error);
  EXPECT_THROW(gather(stream(), x.view(), empty({3}).view(), empty({3, 2}).view()), Error);
  EXPECT_THROW(gather(stream(), x.view(), index.view(), empty({3, 2}, DType::i8).view()), Error);
  EXPECT_THROW(scatter_add(stream(), empty({4, 2}).view(), index.view(), x.view()), Error);
  EXPECT_THROW(one_hot(stream(), index.view(), empty({4, 3}).view()), Error);
  EXPECT_THROW(take_along(stream(), x.view(), 2, index.view(), x.view()), Error);
  EXPECT_THROW(take_along(stream(), x.view(), 0, index.view(), empty({3, 2}).view()), Error);
  EXPECT_THROW(
      top_k(stream(), x.view(), true, empty({5, 3}).view(), empty({5, 3}, DType::i64).view()),
      Error);
  EXPECT_THROW(
      top_k(stream(), x.view(), true, empty({5, 1}).view(), empty({5, 1}, DType::i32).view()),
      Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, FloatIndexTest,
                         test::targets(test::float_dtypes, &Backend::indexing), test::target_name);

class NonzeroTest : public IndexingBase {};

TEST_P(NonzeroTest, PositionsInOrder) {
  for (const int64_t n : {0, 1, 100, 70001})
    for (const uint32_t one_in : {1u, 3u, 1000u}) {
      test::Numbers next(n + one_in);
      Values set(at(n)), wanted;
      for (int64_t i = 0; i < n; ++i)
        if (next() % one_in == 0) set[at(i)] = 1, wanted.push_back(static_cast<double>(i));
      const Tensor index = empty({n}, DType::i64), count = empty({1}, DType::i64);
      nonzero(stream(), on_device(from_doubles(set, {n}, DType::bool_)).view(), index.view(),
              count.view());
      ASSERT_EQ(count.item(), static_cast<double>(wanted.size()));
      EXPECT_EQ(to_doubles(index.narrow(0, 0, static_cast<int64_t>(wanted.size()))), wanted);
    }
  EXPECT_THROW(nonzero(stream(), empty({3}, DType::u8).view(), empty({3}, DType::i64).view(),
                       empty({1}, DType::i64).view()),
               Error);
}

constexpr DType bool_dtype[] = {DType::bool_};
INSTANTIATE_TEST_SUITE_P(Targets, NonzeroTest, test::targets(bool_dtype, &Backend::indexing),
                         test::target_name);

}  // namespace
}  // namespace tessera::kernels
