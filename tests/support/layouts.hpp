#pragma once

#include "tessera/tests/support/values.hpp"

/// Tensors whose elements lie in memory in every way that strides allow.
namespace tessera::test {

struct Layout {
  Tensor base;  // contiguous: all the memory
  Tensor view;  // what a kernel gets
};

/// A view of `shape` on integers in [-limit, limit]: axes in any order in memory, gaps between
/// elements, and, if asked for, axes with a stride of 0.
inline Layout random_layout(const Shape& shape, DType dtype, Device device, Numbers& next,
                            bool broadcast, int limit = 3) {
  const int rank = shape.rank();
  Shape order = Shape::filled(rank, 0), step = Shape::filled(rank, 1), extent = shape;
  for (int i = 0; i < rank; ++i) {
    const int at = static_cast<int>(next() % static_cast<uint32_t>(i + 1));
    order[i] = order[at];
    order[at] = i;
  }
  const bool shuffled = next() % 3 != 0;
  for (int i = 0; i < rank; ++i) {
    if (!shuffled) order[i] = i;
    if (next() % 4 == 0) step[i] = 2;
    if (broadcast && next() % 4 == 0) extent[i] = 1, step[i] = 0;
  }
  Shape memory = Shape::filled(rank, 1);  // extents in the order of memory, outermost first
  for (int i = 0; i < rank; ++i)
    memory[i] =
        extent[static_cast<int>(order[i])] * std::max<int64_t>(1, step[static_cast<int>(order[i])]);
  const int64_t offset = next() % 3;
  const Tensor base = integers({memory.numel() + offset}, dtype, next(), limit).to(device);
  const Shape dense = contiguous_strides(memory);
  Shape strides = Shape::filled(rank, 0);
  for (int i = 0; i < rank; ++i) {
    const int axis = static_cast<int>(order[i]);
    strides[axis] = dense[i] * step[axis];
  }
  return {base, Tensor::over(base.storage(), offset, shape, strides, dtype)};
}

/// The elements of `base` outside the view, in memory order.
inline std::vector<double> outside(const Layout& layout) {
  const std::vector<double> all = to_doubles(layout.base);
  std::vector<bool> inside(all.size());
  const auto start = (static_cast<const char*>(layout.view.data()) -
                      static_cast<const char*>(layout.base.data())) /
                     static_cast<int64_t>(size_of(layout.base.dtype()));
  const Shape shape = layout.view.shape(), dense = contiguous_strides(shape);
  for (int64_t i = 0; i < shape.numel(); ++i) {
    int64_t at = start;
    for (int d = 0; d < shape.rank(); ++d) at += i / dense[d] % shape[d] * layout.view.strides()[d];
    inside[static_cast<size_t>(at)] = true;
  }
  std::vector<double> rest;
  for (size_t i = 0; i < all.size(); ++i)
    if (!inside[i]) rest.push_back(all[i]);
  return rest;
}

/// Mostly small shapes of rank 0 to 5, some with an extent around the sizes where kernels cut.
inline Shape random_shape(Numbers& next) {
  const int rank = static_cast<int>(next() % 6);
  Shape shape = Shape::filled(rank, 1);
  for (int64_t& n : shape) n = 1 + next() % 7;
  if (rank > 0 && next() % 2 == 0)
    shape[static_cast<int>(next() % static_cast<uint32_t>(rank))] = 30 + next() % 120;
  if (rank > 0 && next() % 16 == 0)
    shape[static_cast<int>(next() % static_cast<uint32_t>(rank))] = 0;
  return shape;
}

}  // namespace tessera::test
