#pragma once

#include <cstdint>

#include "tessera/runtime/dtype.hpp"
#include "tessera/runtime/host_device.hpp"
#include "tessera/runtime/shape.hpp"

namespace tessera {

/// What kernels see of a tensor: a pointer, a dtype, extents and strides in elements. Trivially
/// copyable, owns nothing; plain arrays because device code cannot index std::array. Whether a
/// kernel may write through it is part of that kernel's contract. A default View (data == nullptr,
/// rank 0) stands for an absent optional operand.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  int64_t shape[max_rank] = {};
  int64_t stride[max_rank] = {};

  template <class T>
  TS_HD T* as() const {
    return static_cast<T*>(data);
  }
  TS_HD explicit operator bool() const { return data != nullptr; }
  TS_HD int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  /// True when elements lie in row-major order without gaps; extents of 1 have any stride, and so
  /// have all where there is no element.
  TS_HD bool contiguous() const {
    int64_t expected = 1;
    bool dense = true;
    for (int i = rank - 1; i >= 0; --i) {
      dense = dense && (shape[i] == 1 || stride[i] == expected);
      expected *= shape[i];
    }
    return dense || expected == 0;
  }
  Shape dims() const { return Shape(std::span<const int64_t>(shape, rank)); }
};

}  // namespace tessera
