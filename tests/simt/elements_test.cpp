#include "tessera/kernels/cuda/elements.cuh"

#include <gtest/gtest.h>

namespace tessera::kernels::cuda {
namespace {

TEST(Divisor, EqualsDivision) {
  constexpr uint32_t last = (uint32_t{1} << 31) - 1;
  uint32_t state = 1;
  const auto next = [&] { return state = state * 1664525u + 1013904223u; };
  for (int round = 0; round < 2000; ++round) {
    const uint32_t value = round < 70 ? round + 1 : round % 3 ? next() % 5000 + 1 : next() / 2 + 1;
    const uint32_t divisor = value > last ? last : value;
    const Divisor by(divisor);
    for (uint32_t n : {0u, 1u, divisor - 1, divisor, last / divisor * divisor,
                       last / divisor * divisor - 1, last, next() / 2, next() % 100000})
      if (n <= last) {
        EXPECT_EQ(by.quotient(n), n / divisor) << n << " / " << divisor;
      }
  }
}

// Views that no memory backs: only the positions of elements are looked at.
View view(std::initializer_list<int64_t> shape, std::initializer_list<int64_t> stride) {
  View v{.data = reinterpret_cast<void*>(uintptr_t{1} << 20), .dtype = DType::f32};
  for (int64_t n : shape) v.shape[v.rank++] = n;
  std::copy(stride.begin(), stride.end(), v.stride);
  return v;
}

// The position in operand k of element `number` of a part.
int64_t position(const Elements& e, int k, uint32_t number, int pack) {
  int64_t at[2];
  const uint32_t lanes = e.packed ? static_cast<uint32_t>(pack) : 1;
  e.locate(number / lanes, at);
  const int64_t lane = e.stride[k][0] == 0 ? 0 : number % lanes;
  return (e.data[k] - reinterpret_cast<char*>(uintptr_t{1} << 20)) / 4 + at[k] + lane;
}

TEST(Elements, LargeOperandsAreCutIntoPartsThatCoverThem) {
  constexpr int64_t n = int64_t{1} << 30;
  struct Case {
    View x, y;
  };
  const Case cases[] = {
      {view({5, n}, {n, 1}), view({5, n}, {n, 1})},              // one dense dimension
      {view({5, n}, {0, 1}), view({5, n}, {n, 1})},              // broadcast
      {view({7, n - 3}, {1, 7}), view({7, n - 3}, {n - 3, 1})},  // transposed, odd extents
      {view({2, 3, n}, {n, 2 * n, 1}), view({2, 3, n}, {3 * n, n, 1})},
  };
  for (const Case& c : cases) {
    int64_t elements = 0, lowest = std::numeric_limits<int64_t>::max(), highest = -1;
    for (const Elements& e : cut_elements({&c.x, 1}, c.y, 4)) {
      EXPECT_LT(int64_t{e.size}, int64_t{1} << 31);
      elements += e.size;
      lowest = std::min(lowest, position(e, 1, 0, 4));
      highest = std::max(highest, position(e, 1, e.size - 1, 4));
      // x and y agree on which element it is
      for (uint32_t number : {uint32_t{0}, uint32_t{5}, e.size / 3, e.size - 1}) {
        int64_t rest = position(e, 1, number, 4), expected = 0;
        for (int d = 0; d < c.y.rank; ++d) {
          expected += rest / c.y.stride[d] * c.x.stride[d];
          rest %= c.y.stride[d];
        }
        EXPECT_EQ(position(e, 0, number, 4), expected) << number;
      }
    }
    EXPECT_EQ(elements, c.y.numel());
    EXPECT_EQ(lowest, 0);
    EXPECT_EQ(highest, c.y.numel() - 1);
  }
}

TEST(Elements, PacksNeedDenseAlignedDimensions) {
  const auto packed = [](const View& x, const View& y) {
    return cut_elements({&x, 1}, y, 4)[0].packed;
  };
  const View dense = view({6, 8}, {8, 1});
  EXPECT_TRUE(packed(dense, dense));
  EXPECT_TRUE(packed(view({6, 8}, {0, 1}), dense));     // a row for all
  EXPECT_TRUE(packed(view({6, 8}, {1, 0}), dense));     // a column for all
  EXPECT_TRUE(packed(view({7}, {1}), view({7}, {1})));  // the last pack is partial
  EXPECT_FALSE(packed(view({6, 7}, {0, 1}), view({6, 7}, {7, 1})));
  EXPECT_FALSE(packed(view({6, 8}, {9, 1}), dense));
  EXPECT_FALSE(packed(view({6, 8}, {1, 6}), dense));
  View shifted = dense;
  shifted.data = static_cast<char*>(shifted.data) + 4;
  EXPECT_FALSE(packed(shifted, dense));
}

}  // namespace
}  // namespace tessera::kernels::cuda
