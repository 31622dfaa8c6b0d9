// Reshapes of values in any layout: the same numbers on every device, recorded or not; views stay.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/runtime/recording.hpp"
#include "tessera/tests/support/values.hpp"

namespace tessera::test {
namespace {

using namespace autograd;

const Shape targets[] = {{24},         {6, 4},     {2, 12}, {4, 3, 2},
                         {2, 3, 2, 2}, {1, 24, 1}, {-1, 2}, {24, 1}};

/// The 24 elements in some layouts that are not row-major, and one that is.
std::vector<Tensor> layouts(Device device) {
  const Tensor x = integers({2, 3, 4}, DType::f32, 1, 50).to(device);
  const Tensor wide = integers({4, 3, 4}, DType::f32, 2, 50).to(device);
  std::vector<Tensor> all{wide.narrow(0, 0, 2, 2), wide.narrow(0, 1, 2), x.unsqueeze(1),
                          integers({2, 3, 8}, DType::f32, 3, 50).to(device).narrow(2, 4, 4)};
  std::array<int, 3> axes{0, 1, 2};
  do all.push_back(x.permute({axes[0], axes[1], axes[2]}));
  while (std::next_permutation(axes.begin(), axes.end()));
  return all;
}

/// Whether numpy's rule calls for a copy: no strides for the new axes give every element's place.
bool needs_copy(const Tensor& x, const Shape& shape) {
  const int64_t n = x.numel();
  std::vector<int64_t> place;  // of each element, in row-major order
  for (int64_t i = 0; i < n; ++i) {
    int64_t at = 0, rest = i;
    for (int axis = x.rank() - 1; axis >= 0; --axis) {
      at += rest % x.size(axis) * x.strides()[axis];
      rest /= x.size(axis);
    }
    place.push_back(at);
  }
  std::vector<int64_t> steps(static_cast<size_t>(shape.rank()));
  int64_t run = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    if (shape[axis] > 1) steps[at(axis)] = place[at(run)] - place[0];
    run *= shape[axis];
  }
  for (int64_t i = 0; i < n; ++i) {
    int64_t where = place[0], rest = i;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      where += rest % shape[axis] * steps[at(axis)];
      rest /= shape[axis];
    }
    if (where != place[at(i)]) return true;
  }
  return false;
}

TEST(Reshape, ViewsWhereThereAreAny) {
  int copies = 0, views = 0;
  for (const Tensor& x : layouts(Device::cpu()))
    for (const Shape& target : targets) {
      const Tensor y = reshape(x, target).value();
      EXPECT_EQ(y.values<float>(), x.values<float>()) << to_string(x.strides());
      const bool copied = needs_copy(x, y.shape());
      EXPECT_EQ(y.same_storage(x), !copied)
          << to_string(x.shape()) << to_string(x.strides()) << to_string(target);
      ++(copied ? copies : views);
    }
  EXPECT_GT(copies, 10);
  EXPECT_GT(views, 10);
}

TEST(Reshape, CanBeRecorded) {
  const Device device = Device::simt();
  std::string reason;
  if (!available(device, &reason)) GTEST_SKIP() << reason;
  for (const Tensor& x : layouts(device))
    for (const Shape& target : targets) {
      Tensor y;
      Recording recording(current_stream(device),
                          [&] { y = contiguous(reshape(x, target).value()); });
      recording.replay();
      EXPECT_EQ(y.values<float>(), x.values<float>())
          << to_string(x.strides()) << to_string(target);
    }
}

}  // namespace
}  // namespace tessera::test
