#include "tessera/runtime/shape.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
constexpr ErrorKind invalid = ErrorKind::invalid_argument;

TEST(Shape, HoldsUpToSixExtents) {
  Shape s{2, 3};
  EXPECT_EQ(s.rank(), 2);
  EXPECT_EQ(s.numel(), 6);
  EXPECT_EQ(s.back(), 3);
  EXPECT_EQ(to_string(s), "[2, 3]");
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_EQ((Shape{4, 0, 2}).numel(), 0);
  EXPECT_NE(s, (Shape{2, 3, 1}));
  EXPECT_EQ(Shape::filled(3, 7), (Shape{7, 7, 7}));
  for (int64_t i = 0; i < 4; ++i) s.push_back(i);
  EXPECT_EQ(s, (Shape{2, 3, 0, 1, 2, 3}));
  expect_error([&] { s.push_back(1); }, {"6 dimensions"}, invalid);
  expect_error([] { Shape{1, 2, 3, 4, 5, 6, 7}; }, {"6 dimensions", "7"}, invalid);
}

TEST(Shape, ContiguousStrides) {
  EXPECT_EQ(contiguous_strides({2, 3, 4}), (Shape{12, 4, 1}));
  EXPECT_EQ(contiguous_strides({}), Shape{});
  EXPECT_EQ(contiguous_strides({5}), Shape{1});
}

// Broadcasting by its definition: pad with ones in front, then equal or one.
std::optional<std::vector<int64_t>> broadcast(std::vector<int64_t> a, std::vector<int64_t> b) {
  while (a.size() < b.size()) a.insert(a.begin(), 1);
  while (b.size() < a.size()) b.insert(b.begin(), 1);
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && a[i] != 1 && b[i] != 1) return std::nullopt;
    a[i] = a[i] == 1 ? b[i] : a[i];
  }
  return a;
}

TEST(Shape, BroadcastsAsDefined) {
  std::vector<std::vector<int64_t>> shapes{{}};
  for (const int64_t x : {0, 1, 2, 3}) {
    shapes.push_back({x});
    for (const int64_t y : {0, 1, 2, 3}) {
      shapes.push_back({x, y});
      for (const int64_t z : {1, 3}) shapes.push_back({x, y, z});
    }
  }
  for (const auto& a : shapes)
    for (const auto& b : shapes) {
      const Shape left{std::span<const int64_t>(a)}, right{std::span<const int64_t>(b)};
      if (const auto expected = broadcast(a, b))
        EXPECT_EQ(broadcast_shapes("add", left, right), Shape(std::span<const int64_t>(*expected)));
      else
        expect_error([&] { broadcast_shapes("add", left, right); },
                     {"add", to_string(left), to_string(right)}, invalid);
    }
}

TEST(Shape, NormalizesAxes) {
  EXPECT_EQ(normalize_axis("sum", -1, 3), 2);
  EXPECT_EQ(normalize_axis("sum", 0, 3), 0);
  expect_error([] { normalize_axis("sum", 3, 3); }, {"sum", "axis 3", "rank 3"}, invalid);
  expect_error([] { normalize_axis("sum", -4, 3); }, {"-4"}, invalid);
  expect_error([] { normalize_axis("sum", 0, 0); }, {"rank 0"}, invalid);
}

TEST(Shape, ChecksExtents) {
  EXPECT_NO_THROW(check_extents("op", {int64_t{1} << 30, int64_t{1} << 30}));
  EXPECT_NO_THROW(check_extents("op", {0, 5}));
  expect_error([] { check_extents("op", {2, -1}); }, {"op", "negative", "[2, -1]"}, invalid);
  expect_error(
      [] {
        check_extents("op", {int64_t{1} << 31, int64_t{1} << 30});
      },
      {"memory"}, invalid);
  expect_error([] { check_extents("op", {INT64_MAX, INT64_MAX, 0}); }, {"memory"}, invalid);
}

}  // namespace
}  // namespace tessera
