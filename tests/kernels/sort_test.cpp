#include "tessera/kernels/sort.hpp"

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

constexpr test::Tolerance exact{0, 0};

/// NaN is larger than everything; -0 equals 0.
bool less(double a, double b) { return !std::isnan(a) && (std::isnan(b) || a < b); }

class SortBase : public test::TargetTest {
 protected:
  void SetUp() override {
    TargetTest::SetUp();
    if (!IsSkipped() && !backend(device()).sort)
      GTEST_SKIP() << "no sort kernels on " << to_string(device());
  }
  Tensor vector(const Values& values, DType type) {
    return on_device(from_doubles(values, {static_cast<int64_t>(values.size())}, type));
  }
};

class SortTest : public SortBase {  // every dtype
 protected:
  // Many equal elements; with special values in floating dtypes.
  Tensor sample(const Shape& shape, uint64_t seed, int limit = 60) {
    Values x = to_doubles(integers(shape, dtype(), seed, limit));
    const double special[] = {NAN, -0.0, INFINITY, 0.0, -INFINITY, -NAN, 1e-7};
    for (size_t i = 0; is_float(dtype()) && i < x.size(); i += 13) x[i] = special[i / 13 % 7];
    return from_doubles(x, shape, dtype());
  }
};

std::vector<int64_t> stable_order(const Values& x, int64_t begin, int64_t end, bool descending) {
  std::vector<int64_t> order(at(end - begin));
  std::iota(order.begin(), order.end(), begin);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return descending ? less(x[at(b)], x[at(a)]) : less(x[at(a)], x[at(b)]);
  });
  return order;
}

TEST_P(SortTest, StableAlongTheLastAxis) {
  for (const Shape& shape : {Shape{0}, Shape{1}, Shape{3, 0}, Shape{7, 33}, Shape{2, 2, 600},
                             Shape{large(70000)}, Shape{300, 40}})
    for (const bool descending : {false, true})
      for (const DType index_dtype : {DType::i32, DType::i64}) {
        const Tensor x = sample(shape, 1), there = on_device(x);
        const Tensor y = empty(shape), index = empty(shape, index_dtype);
        sort(stream(), there.view(), y.view(), index.view(), {.descending = descending});
        const Values xs = to_doubles(x);
        Values values, positions;
        const int64_t n = shape.back();
        for (int64_t begin = 0; begin < x.numel(); begin += n)
          for (const int64_t i : stable_order(xs, begin, begin + n, descending)) {
            values.push_back(xs[at(i)]);
            positions.push_back(static_cast<double>(i - begin));
          }
        expect_close(y, values, exact, to_string(shape));
        EXPECT_EQ(to_doubles(index), positions) << to_string(shape);
        const Tensor alone = empty(shape);  // values without positions, and the other way round
        sort(stream(), there.view(), alone.view(), {}, {.descending = descending});
        expect_close(alone, values, exact);
        sort(stream(), there.view(), {}, index.view(), {.descending = descending});
        EXPECT_EQ(to_doubles(index), positions);
      }
}

TEST_P(SortTest, FullRangeOfTheDtype) {
  Values x;
  for_any(dtype(), [&]<class T>() {
    if constexpr (is_float(dtype_of<T>)) {
      test::Numbers next(5);
      for (int i = 0; i < 3000; ++i) {
        const int exponent = static_cast<int>(next() % 30) - 15;
        x.push_back(std::ldexp(next() * 0x1p-31 - 1, exponent));
      }
    } else {
      using Limits = std::numeric_limits<T>;
      for (int i = 0; i < 600; ++i)
        for (const double v :
             {double(Limits::min()), double(Limits::min()) / 2, -1.0 * (Limits::min() < 0), 0.0,
              1.0, double(int64_t{Limits::max()} / 2 / 1024 * 1024)})
          x.push_back(v);
    }
  });
  const Tensor there = vector(x, dtype()), y = empty(there.shape());
  sort(stream(), there.view(), y.view(), {});
  Values wanted = to_doubles(there);
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(to_doubles(y), wanted);
}

// Thrust's functions are proven on the host by tests/vendor; here, how they are asked for.
TEST_P(SortTest, VendorAgreesOrIsRefused) {
  const Shape shape{7, 700};
  const Tensor x = on_device(sample(shape, 8)), y = empty(shape), index = empty(shape, DType::i64),
               cuts = vector({0, 3, 4900}, DType::i32), line = x.reshape({4900}),
               count = empty({1}, DType::i64);
  const auto vendor = SortVariant::vendor;
  const auto calls = {
      std::function<void()>(
          [&] { sort(stream(), x.view(), y.view(), index.view(), {.variant = vendor}); }),
      std::function<void()>([&] {
        segmented_sort(stream(), line.view(), cuts.view(), y.reshape({4900}).view(), {},
                       {.variant = vendor});
      }),
      std::function<void()>([&] {
        unique(stream(), line.view(), y.reshape({4900}).view(), {}, {}, count.view(), vendor);
      }),
      std::function<void()>([&] {
        scan(stream(), on_device(integers({9}, DType::i32, 1)).view(),
             empty({9}, DType::i32).view(), {.variant = vendor});
      })};
  for (const auto& call : calls) {
    try {
      call();
      EXPECT_EQ(device().type, Device::Type::cuda) << "an implementation without a library";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unsupported) << error.what();
      EXPECT_NE(std::string(error.what()).find("no vendor variant on "), std::string::npos)
          << error.what();
      EXPECT_NE(device().type, Device::Type::cuda);
    }
  }
  if (device().type != Device::Type::cuda) return;
  const Tensor own = empty(shape), places = empty(shape, DType::i64);
  sort(stream(), x.view(), own.view(), places.view());
  sort(stream(), x.view(), y.view(), index.view(), {.variant = vendor});
  expect_close(y, to_doubles(own), exact);
  EXPECT_EQ(to_doubles(index), to_doubles(places));
}

TEST_P(SortTest, Segments) {
  const Values cuts{0, 0, 5, 700, 701, 701, 4000, 4100, 4100};
  const Tensor x = sample({4100}, 2), there = on_device(x);
  for (const DType offset_dtype : {DType::i32, DType::i64})
    for (const bool descending : {false, true}) {
      const Tensor y = empty({4100}), index = empty({4100}, DType::i32);
      segmented_sort(stream(), there.view(), vector(cuts, offset_dtype).view(), y.view(),
                     index.view(), {.descending = descending});
      const Values xs = to_doubles(x);
      Values values, positions;
      for (size_t s = 0; s + 1 < cuts.size(); ++s)
        for (const int64_t i :
             stable_order(xs, int64_t(cuts[s]), int64_t(cuts[s + 1]), descending)) {
          values.push_back(xs[at(i)]);
          positions.push_back(static_cast<double>(i));
        }
      expect_close(y, values, exact);
      EXPECT_EQ(to_doubles(index), positions);
    }
  const Tensor y = empty({4100});
  for (const Values& bad :
       {Values{0, 10}, Values{1, 4100}, Values{0, 20, 10, 4100}, Values{0, 5000, 4100}})
    EXPECT_THROW(
        {
          segmented_sort(stream(), there.view(), vector(bad, DType::i64).view(), y.view(), {});
          stream().synchronize();  // a GPU's findings
        },
        Error);
}

TEST_P(SortTest, UniqueWithInverseAndCounts) {
  for (const int64_t n : {0, 1, 2000}) {
    const Tensor x = sample({n}, 3), there = on_device(x);
    const Tensor values = empty({n}), inverse = empty({n}, DType::i64),
                 counts = empty({n}, DType::i64), count = empty({1}, DType::i64),
                 count_alone = empty({1}, DType::i64);
    unique(stream(), there.view(), values.view(), inverse.view(), counts.view(), count.view());
    const Values xs = to_doubles(x);
    Values distinct, sizes;
    for (const int64_t i : stable_order(xs, 0, n, false)) {
      if (distinct.empty() || less(distinct.back(), xs[at(i)]))
        distinct.push_back(xs[at(i)]), sizes.push_back(0);
      ++sizes.back();
    }
    const auto found = static_cast<int64_t>(distinct.size());
    ASSERT_EQ(count.item(), static_cast<double>(found));
    expect_close(values.narrow(0, 0, found), distinct, exact);
    EXPECT_EQ(to_doubles(counts.narrow(0, 0, found)), sizes);
    const Values back = to_doubles(inverse);
    for (size_t i = 0; i < back.size(); ++i) {
      const double v = distinct[static_cast<size_t>(back[i])];
      EXPECT_FALSE(less(v, xs[i]) || less(xs[i], v)) << i;
    }
    unique(stream(), there.view(), values.view(), {}, {}, count_alone.view());
    EXPECT_EQ(count_alone.item(), static_cast<double>(found));
  }
}

TEST_P(SortTest, Searchsorted) {
  for (const int64_t m : {0, 1, 500}) {
    Values sorted = to_doubles(sample({m}, 4));
    std::stable_sort(sorted.begin(), sorted.end(), less);
    const Tensor keys = sample({20, 30}, 5, 70), there = on_device(keys),
                 index = empty({20, 30}, DType::i64);
    for (const bool right : {false, true}) {
      searchsorted(stream(), vector(sorted, dtype()).view(), there.view(), right, index.view());
      Values wanted;
      for (const double x : to_doubles(keys))
        wanted.push_back(
            static_cast<double>(std::count_if(sorted.begin(), sorted.end(), [&](double v) {
              return right ? !less(x, v) : less(v, x);
            })));
      EXPECT_EQ(to_doubles(index), wanted);
    }
  }
}

TEST_P(SortTest, RejectsWhatDoesNotFit) {
  const Tensor x = empty({4, 5});
  const DType other = dtype() == DType::i64 ? DType::f32 : DType::i64;
  EXPECT_THROW(sort(stream(), x.view(), empty({4, 6}).view(), {}), Error);
  EXPECT_THROW(sort(stream(), x.view(), empty({4, 5}, other).view(), {}), Error);
  EXPECT_THROW(sort(stream(), x.view(), {}, empty({4, 5}, DType::f32).view()), Error);
  EXPECT_THROW(sort(stream(), x.transpose(0, 1).view(), empty({5, 4}).view(), {}), Error);
  EXPECT_THROW(sort(stream(), empty({}).view(), empty({}).view(), {}), Error);
  EXPECT_THROW(unique(stream(), x.view(), x.view(), {}, {}, empty({1}, DType::i64).view()), Error);
  EXPECT_THROW(searchsorted(stream(), x.view(), x.view(), false, empty({4, 5}, DType::i64).view()),
               Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, SortTest, test::targets(test::all_dtypes, &Backend::sort),
                         test::target_name);

class ScanTest : public SortBase {};

TEST_P(ScanTest, InclusiveAndExclusive) {
  for (const Shape& shape : {Shape{0}, Shape{1}, Shape{3, 5}, Shape{2, 40000}, Shape{50, 100}})
    for (const bool exclusive : {false, true}) {
      const Tensor x = integers(shape, dtype(), 1, 1), y = empty(shape);
      scan(stream(), on_device(x).view(), y.view(), {.exclusive = exclusive});
      const Values xs = to_doubles(x);
      Values wanted;
      double sum = 0;
      for (size_t i = 0; i < xs.size(); ++i) {
        if (i % at(shape.back()) == 0) sum = 0;
        if (exclusive) wanted.push_back(sum);
        sum += xs[i];
        if (!exclusive) wanted.push_back(sum);
      }
      expect_close(y, wanted, {test::roundoff(dtype()), 0}, to_string(shape));
    }
}

TEST_P(ScanTest, SameBitsForAnyThreadCount) {
  if (!is_float(dtype())) GTEST_SKIP() << "integers sum exactly in any order";
  const Tensor x = on_device(test::uniform({200000}, dtype(), 1));
  Values first;
  for (const int threads : {1, 2, 3}) {
    test::Threads scope(threads);
    const Tensor y = empty({200000});
    scan(stream(), x.view(), y.view());
    if (threads == 1) first = to_doubles(y);
    EXPECT_EQ(to_doubles(y), first);
  }
}

constexpr DType scan_dtypes[] = {DType::f32,  DType::f64, DType::f16,
                                 DType::bf16, DType::i32, DType::i64};
INSTANTIATE_TEST_SUITE_P(Targets, ScanTest, test::targets(scan_dtypes, &Backend::sort),
                         test::target_name);

class CountTest : public SortBase {};

TEST_P(CountTest, Bincount) {
  for (const int64_t n : {0, 10, 100000})
    for (const int64_t bins : {1, 7, 3000}) {
      test::Numbers next(n + bins);
      Values x(at(n)), counts(at(bins)), sums(at(bins));
      const Tensor weights = integers({n}, dtype(), 3);
      const Values w = to_doubles(weights);
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = next() % static_cast<uint32_t>(bins);
        ++counts[static_cast<size_t>(x[i])];
        sums[static_cast<size_t>(x[i])] += w[i];
      }
      for (const DType index : {DType::i32, DType::i64}) {
        const Tensor y = empty({bins}, DType::i64), z = empty({bins}, DType::f64);
        bincount(stream(), vector(x, index).view(), {}, y.view());
        bincount(stream(), vector(x, index).view(), on_device(weights).view(), z.view());
        EXPECT_EQ(to_doubles(y), counts);
        EXPECT_EQ(to_doubles(z), sums);
      }
    }
  const auto message = [&](const Values& x) -> std::string {
    try {
      bincount(stream(), vector(x, DType::i64).view(), {}, empty({4}, DType::i64).view());
      stream().synchronize();  // a GPU's findings
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_NE(message({1, 2, 4, 0}).find("element 2 is 4"), std::string::npos);
  EXPECT_NE(message({1, -2}).find("element 1 is -2"), std::string::npos);
}

TEST_P(CountTest, HistogramBinsHaveTheirLeftEdge) {
  // multiples of 1/8 are exact in every dtype; with 16 bins of 1/4 from -2 every other one is an
  // edge
  Values x;
  for (int i = -20; i <= 20; ++i) x.push_back(i / 8.0);
  x.insert(x.end(), {NAN, INFINITY, -INFINITY, 100, 2, 2});
  const Tensor counts = empty({16}, DType::i64);
  histogram(stream(), vector(x, dtype()).view(), -2, 2, counts.view());
  Values wanted(16, 2);
  wanted[15] = 2 + 1 + 2;  // the upper edge, and twice more
  EXPECT_EQ(to_doubles(counts), wanted);
  EXPECT_THROW(histogram(stream(), vector(x, dtype()).view(), 2, 2, counts.view()), Error);
  EXPECT_THROW(histogram(stream(), vector(x, dtype()).view(), NAN, 2, counts.view()), Error);
}

TEST_P(CountTest, HistogramEdgesThatAreNotExact) {
  if (dtype() != DType::f64) GTEST_SKIP() << "edges are f64";
  Values x;
  for (int b = 0; b <= 10; ++b) {
    const double edge = b == 10 ? 0.7 : std::fma(0.7 - 0.1, b / 10.0, 0.1);
    x.insert(x.end(), {std::nextafter(edge, 0), edge, std::nextafter(edge, 1)});
  }
  const Tensor counts = empty({10}, DType::i64);
  histogram(stream(), vector(x, DType::f64).view(), 0.1, 0.7, counts.view());
  EXPECT_EQ(to_doubles(counts), (Values{3, 3, 3, 3, 3, 3, 3, 3, 3, 4}));
}

INSTANTIATE_TEST_SUITE_P(Targets, CountTest, test::targets(test::float_dtypes, &Backend::sort),
                         test::target_name);

}  // namespace
}  // namespace tessera::kernels
