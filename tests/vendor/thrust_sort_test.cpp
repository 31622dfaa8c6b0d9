// The functions that vendor_sort.cu queues on a GPU, run by Thrust on the host and compared with
// the CPU's kernels, which sort, scan and count in ways of their own.
#include "tessera/kernels/cuda/thrust_sort.cuh"

#include <gtest/gtest.h>
#include <thrust/execution_policy.h>

#include <cmath>

#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::from_doubles;
using test::integers;
using test::to_doubles;
using test::Values;

/// As bits would be, but for NaN.
void expect_same(const Tensor& got, const Tensor& wanted, const std::string& what) {
  const Values a = to_doubles(got), b = to_doubles(wanted);
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_TRUE(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])))
        << what << ": element " << i << " is " << a[i] << ", not " << b[i];
}

class ThrustSort : public testing::TestWithParam<DType> {
 protected:
  static DType dtype() { return GetParam(); }
  static Stream& stream() { return current_stream(Device::cpu()); }
  static Tensor empty(const Shape& shape, DType type) {
    return Tensor::empty(shape, type, Device::cpu());
  }
  /// Many equal elements; with special values in floating dtypes.
  static Tensor sample(const Shape& shape, uint64_t seed) {
    Values x = to_doubles(integers(shape, dtype(), seed, 60));
    const double special[] = {NAN, -0.0, INFINITY, 0.0, -INFINITY, -NAN, 1e-7};
    for (size_t i = 0; is_float(dtype()) && i < x.size(); i += 13) x[i] = special[i / 13 % 7];
    return from_doubles(x, shape, dtype());
  }
  static constexpr auto on_host = thrust::seq;
};

TEST_P(ThrustSort, StableAlongTheLastAxis) {
  for (const Shape& shape : {Shape{0}, Shape{1}, Shape{3, 0}, Shape{7, 33}, Shape{2, 2, 600},
                             Shape{5000}, Shape{300, 1}})
    for (const bool descending : {false, true})
      for (const DType index_dtype : {DType::i32, DType::i64}) {
        const std::string what = to_string(shape);
        const Tensor x = sample(shape, 1), y = empty(shape, dtype()),
                     wanted = empty(shape, dtype()), index = empty(shape, index_dtype),
                     places = empty(shape, index_dtype);
        sort(stream(), x.view(), wanted.view(), places.view(), {.descending = descending});
        cuda::by_thrust::sort(on_host, stream(), x.view(), y.view(), index.view(), descending);
        expect_same(y, wanted, what);
        expect_same(index, places, what);
        const Tensor alone = empty(shape, dtype()), argsort = empty(shape, index_dtype);
        cuda::by_thrust::sort(on_host, stream(), x.view(), alone.view(), {}, descending);
        expect_same(alone, wanted, what);
        cuda::by_thrust::sort(on_host, stream(), x.view(), {}, argsort.view(), descending);
        expect_same(argsort, places, what);
      }
}

TEST_P(ThrustSort, Segments) {
  const Values cuts{0, 0, 5, 700, 701, 701, 4000, 4100, 4100};
  const Tensor x = sample({4100}, 2);
  for (const DType offset_dtype : {DType::i32, DType::i64})
    for (const bool descending : {false, true}) {
      const Tensor offsets = from_doubles(cuts, {9}, offset_dtype), y = empty({4100}, dtype()),
                   wanted = empty({4100}, dtype()), index = empty({4100}, DType::i64),
                   places = empty({4100}, DType::i64);
      segmented_sort(stream(), x.view(), offsets.view(), wanted.view(), places.view(),
                     {.descending = descending});
      cuda::by_thrust::segmented_sort(on_host, stream(), x.view(), offsets.view(), y.view(),
                                      index.view(), descending);
      expect_same(y, wanted, "values");
      expect_same(index, places, "positions");
    }
}

TEST_P(ThrustSort, RunningSums) {
  if (!is_float(dtype()) && dtype() != DType::i32 && dtype() != DType::i64) return;
  for (const Shape& shape : {Shape{0}, Shape{1}, Shape{3000}, Shape{7, 33}, Shape{40, 1}})
    for (const bool exclusive : {false, true}) {
      const Tensor x = integers(shape, dtype(), 3, 20), y = empty(shape, dtype()),
                   wanted = empty(shape, dtype());
      scan(stream(), x.view(), wanted.view(), {.exclusive = exclusive});
      cuda::by_thrust::scan(on_host, x.view(), y.view(), exclusive);
      expect_same(y, wanted, to_string(shape));
    }
}

TEST_P(ThrustSort, DistinctElements) {
  for (const int64_t n : {0, 1, 5000}) {
    const Tensor x = sample({n}, 4), values = empty({n}, dtype()), distinct = empty({n}, dtype()),
                 inverse = empty({n}, DType::i64), counts = empty({n}, DType::i64),
                 count = empty({1}, DType::i64), groups = empty({n}, DType::i64),
                 numbers = empty({n}, DType::i64), number = empty({1}, DType::i64);
    unique(stream(), x.view(), distinct.view(), groups.view(), numbers.view(), number.view());
    cuda::by_thrust::unique(on_host, stream(), x.view(), values.view(), inverse.view(),
                            counts.view(), count.view());
    const int64_t m = static_cast<int64_t>(number.item());
    ASSERT_EQ(static_cast<int64_t>(count.item()), m);
    expect_same(values.narrow(0, 0, m), distinct.narrow(0, 0, m), "values");
    expect_same(inverse, groups, "inverse");
    expect_same(counts.narrow(0, 0, m), numbers.narrow(0, 0, m), "counts");
    const Tensor again = empty({n}, dtype());  // optional outputs left out
    cuda::by_thrust::unique(on_host, stream(), x.view(), again.view(), {}, {}, count.view());
    expect_same(again.narrow(0, 0, m), distinct.narrow(0, 0, m), "values alone");
  }
}

INSTANTIATE_TEST_SUITE_P(Host, ThrustSort, testing::ValuesIn(test::all_dtypes),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace tessera::kernels
