// The kernels between row-major operands and column-major libraries, against plain loops.
#include "tessera/kernels/cuda/column_major.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tessera::kernels::cuda {
namespace {

Stream& stream() { return current_stream(Device::cpu()); }

template <class T>
std::vector<T> random(int64_t n, uint64_t seed) {
  std::vector<T> values(static_cast<size_t>(n));
  uint64_t state = seed;
  for (T& v : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    v = static_cast<T>(static_cast<double>(state >> 11) * 0x1p-52 - 1);
  }
  return values;
}
size_t at(int64_t i) { return static_cast<size_t>(i); }

template <class T>
class ColumnMajor : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ColumnMajor, Reals);

constexpr int64_t extents[][3] = {{1, 1, 1}, {3, 5, 7}, {2, 33, 70}, {1, 130, 65}, {40, 4, 4}};

TYPED_TEST(ColumnMajor, CopiesAndTransposes) {
  using T = TypeParam;
  for (const auto& [count, rows, cols] : extents)
    for (const bool transposed : {false, true}) {
      std::vector<T> a = random<T>(count * rows * cols, 1), to(a.size(), T{9});
      std::vector<int32_t> status(at(count), 0);
      copy_finite<T>(stream(),
                     {.a = {a.data(), count, rows, cols},
                      .to = {to.data(), count, transposed ? cols : rows, transposed ? rows : cols},
                      .transposed = transposed},
                     status.data());
      for (int64_t b = 0; b < count; ++b)
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < cols; ++j)
            ASSERT_EQ(to[at(b * rows * cols + (transposed ? j * rows + i : i * cols + j))],
                      a[at((b * rows + i) * cols + j)]);
      EXPECT_EQ(status, std::vector<int32_t>(at(count), 0));
    }
}

TYPED_TEST(ColumnMajor, BringsMagnitudesNearOneByPowersOfTwo) {
  using T = TypeParam;
  constexpr int64_t count = 6, n = 37;
  const T scales[] = {
      T{1},  std::numeric_limits<T>::max() / 4, std::numeric_limits<T>::min() * 8, T(1e-9), T(3e7),
      T(0.5)};
  std::vector<T> a = random<T>(count * n * n, 2), to(a.size()), factors(count);
  for (int64_t i = 0; i < count * n * n; ++i) a[at(i)] *= scales[i / n / n];
  std::vector<int32_t> status(count, 0);
  copy_finite<T>(
      stream(),
      {.a = {a.data(), count, n, n}, .to = {to.data(), count, n, n}, .factors = factors.data()},
      status.data());
  for (int64_t b = 0; b < count; ++b) {
    T largest = 0;
    for (int64_t i = b * n * n; i < (b + 1) * n * n; ++i) {
      largest = std::max(largest, std::abs(to[at(i)]));
      ASSERT_EQ(to[at(i)] / factors[at(b)], a[at(i)]) << b;
    }
    int exponent = 0;
    EXPECT_EQ(std::frexp(factors[at(b)], &exponent), T(0.5)) << b;
    EXPECT_GE(largest, T(0.5)) << b;
    EXPECT_LT(largest, T{4}) << b;
  }
}

TYPED_TEST(ColumnMajor, ReplacesWhatIsNotFiniteOrZero) {
  using T = TypeParam;
  constexpr int64_t count = 5, n = 35;
  std::vector<T> a = random<T>(count * n * n, 3), to(a.size()), factors(count);
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  a[at(n * n + 34 * n)] = nan;               // matrix 1, lower triangle
  a[at(2 * n * n + 34)] = nan;               // matrix 2, upper triangle
  a[at(3 * n * n + 5 * n + 5)] = -infinity;  // matrix 3, diagonal
  for (int64_t i = 0; i < n * n; ++i) a[at(4 * n * n + i)] = 0;
  const auto is_identity = [&](int64_t b) {
    for (int64_t i = 0; i < n * n; ++i)
      if (to[at(b * n * n + i)] != (i / n == i % n ? T{1} : T{0})) return false;
    return true;
  };
  for (const bool lower : {false, true})
    for (const bool scaled : {false, true}) {
      std::vector<int32_t> status(count, 0);
      copy_finite<T>(stream(),
                     {.a = {a.data(), count, n, n},
                      .to = {to.data(), count, n, n},
                      .lower = lower,
                      .factors = scaled ? factors.data() : nullptr},
                     status.data());
      EXPECT_EQ(status, (std::vector<int32_t>{0, -1, lower ? 0 : -1, -1, 0}));
      for (int64_t b = 0; b < count; ++b)
        EXPECT_EQ(is_identity(b), b == 1 || (b == 2 && !lower) || b == 3 || (b == 4 && scaled))
            << b;
      if (!scaled) continue;
      EXPECT_EQ(factors[4], infinity);
      EXPECT_EQ(factors[0], T{2});  // the largest lies in [0.5, 1)
    }
}

TYPED_TEST(ColumnMajor, SignsVectorsOfAnyLayout) {
  using T = TypeParam;
  constexpr int64_t count = 3, vectors = 9, length = 41, other = 17;
  const std::vector<T> left = random<T>(count * vectors * length, 4),
                       right = random<T>(count * vectors * other, 5);
  std::vector<T> u(left.size()), v = right;
  // left: vectors as rows, to columns; right: in place, as columns
  sign_vectors<T>(stream(), {.count = count,
                             .vectors = vectors,
                             .length = length,
                             .right_length = other,
                             .left = {left.data(), vectors * length, length, 1},
                             .to_left = {u.data(), vectors * length, 1, vectors},
                             .right = {v.data(), vectors * other, 1, vectors},
                             .to_right = {v.data(), vectors * other, 1, vectors}});
  for (int64_t b = 0; b < count; ++b)
    for (int64_t i = 0; i < vectors; ++i) {
      const auto component = [&](int64_t j) { return left[at((b * vectors + i) * length + j)]; };
      T most = component(0);
      for (int64_t j = 1; j < length; ++j)
        if (std::abs(component(j)) > std::abs(most)) most = component(j);
      const T sign = most < 0 ? T{-1} : T{1};
      for (int64_t j = 0; j < length; ++j)
        ASSERT_EQ(u[at((b * length + j) * vectors + i)], sign * component(j));
      for (int64_t j = 0; j < other; ++j)
        ASSERT_EQ(v[at((b * other + j) * vectors + i)],
                  sign * right[at((b * other + j) * vectors + i)]);
    }
  // without a second set, in place; of equal magnitudes the first decides
  std::vector<T> pair{T{-2}, T{2}, T{1}, T{-1}};
  sign_vectors<T>(stream(), {.count = 1,
                             .vectors = 2,
                             .length = 2,
                             .right_length = 0,
                             .left = {pair.data(), 4, 2, 1},
                             .to_left = {pair.data(), 4, 2, 1},
                             .right = {},
                             .to_right = {}});
  EXPECT_EQ(pair, (std::vector<T>{2, -2, 1, -1}));
}

TYPED_TEST(ColumnMajor, TakesTheUpperTriangleWithADiagonalThatIsNotNegative) {
  using T = TypeParam;
  const int64_t shapes[][3] = {{7, 5, 5}, {7, 5, 7}, {5, 7, 5}, {6, 6, 6}};  // m, n, k
  for (const auto& [m, n, k] : shapes) {
    constexpr int64_t count = 3;
    const int64_t width = std::max(n, k), p = std::min(m, n);
    std::vector<T> columns = random<T>(count * width * m, 6), r(at(count * k * n)),
                   signs(at(count * k));
    take_upper<T>(stream(), {columns.data(), count, width, m}, {r.data(), count, k, n}, k,
                  signs.data());
    for (int64_t b = 0; b < count; ++b)
      for (int64_t i = 0; i < k; ++i) {
        const auto factored = [&](int64_t row, int64_t column) {
          return columns[at((b * width + column) * m + row)];
        };
        const T sign = i < p && factored(i, i) < 0 ? T{-1} : T{1};
        EXPECT_EQ(signs[at(b * k + i)], sign);
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(r[at((b * k + i) * n + j)], j < i ? T{0} : sign * factored(i, j));
      }
  }
}

TYPED_TEST(ColumnMajor, FinishesCholesky) {
  using T = TypeParam;
  constexpr int64_t count = 5, n = 300;
  std::vector<T> l = random<T>(count * n * n, 7);
  const auto diagonal = [&](int64_t b, int64_t i) -> T& { return l[at((b * n + i) * n + i)]; };
  for (int64_t b = 0; b < count; ++b)
    for (int64_t i = 0; i < n; ++i) diagonal(b, i) = 1;
  diagonal(1, 299) = std::numeric_limits<T>::quiet_NaN();
  diagonal(2, 17) = std::numeric_limits<T>::infinity();
  diagonal(2, 290) = -1;
  diagonal(3, 4) = 0;
  const std::vector<T> before = l;
  const std::vector<int32_t> info{0, 0, 0, 2, 9};
  std::vector<int32_t> status(count, 0);
  finish_cholesky<T>(stream(), {l.data(), count, n, n}, info.data(), status.data());
  EXPECT_EQ(status, (std::vector<int32_t>{0, 300, 18, 2, 9}));
  for (int64_t b = 0; b < count; ++b)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const size_t place = at((b * n + i) * n + j);
        if (j > i)
          ASSERT_EQ(l[place], 0);
        else if (!std::isnan(before[place]))
          ASSERT_EQ(l[place], before[place]);
      }
}

TYPED_TEST(ColumnMajor, ListsPointers) {
  using T = TypeParam;
  std::vector<T> data(1000);
  std::vector<T*> pointers(100);
  list_pointers(stream(), data.data(), 10, 100, pointers.data());
  for (int64_t b = 0; b < 100; ++b) EXPECT_EQ(pointers[at(b)], data.data() + 10 * b);
}

TEST(ColumnMajorStatus, TheFirstWordStands) {
  const std::vector<int32_t> info{0, 3, 5, 0};
  std::vector<int32_t> plain{0, 0, -1, -1}, spectral = plain;
  merge_info(stream(), info.data(), 4, false, plain.data());
  merge_info(stream(), info.data(), 4, true, spectral.data());
  EXPECT_EQ(plain, (std::vector<int32_t>{0, 3, -1, -1}));
  EXPECT_EQ(spectral, (std::vector<int32_t>{0, -1, -1, -1}));
}

}  // namespace
}  // namespace tessera::kernels::cuda
