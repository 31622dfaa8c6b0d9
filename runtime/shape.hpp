#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tessera/runtime/error.hpp"

namespace tessera {

inline constexpr int max_rank = 6;

/// Up to six extents (or strides, or axis numbers) held inline: no heap.
class Shape {
 public:
  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<int64_t> dims)
      : Shape(std::span(dims.begin(), dims.size())) {}
  constexpr explicit Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    TS_CHECK(dims.size() <= max_rank, "a shape has at most ", max_rank, " dimensions, got ",
             dims.size());
    std::copy(dims.begin(), dims.end(), dims_);
  }
  static constexpr Shape filled(int rank, int64_t value) {
    Shape s;
    s.rank_ = rank;
    std::fill_n(s.dims_, rank, value);
    return s;
  }

  constexpr int rank() const { return rank_; }
  constexpr int64_t operator[](int axis) const { return dims_[axis]; }
  constexpr int64_t& operator[](int axis) { return dims_[axis]; }
  constexpr const int64_t* begin() const { return dims_; }
  constexpr const int64_t* end() const { return dims_ + rank_; }
  constexpr int64_t* begin() { return dims_; }
  constexpr int64_t* end() { return dims_ + rank_; }
  constexpr int64_t back() const { return dims_[rank_ - 1]; }
  constexpr void push_back(int64_t dim) {
    TS_CHECK(rank_ < max_rank, "a shape has at most ", max_rank, " dimensions");
    dims_[rank_++] = dim;
  }
  constexpr int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  friend constexpr bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && std::equal(a.begin(), a.end(), b.begin());
  }

 private:
  int64_t dims_[max_rank] = {};
  int rank_ = 0;
};

using Axes = Shape;

/// "[2, 3]"
std::string to_string(const Shape& shape);

/// Throws naming `operation` when an extent is negative or the number of elements, zeros not
/// counted, is beyond 2^60; otherwise no product of extents, strides and element sizes overflows.
void check_extents(std::string_view operation, const Shape& shape);

/// Row-major strides in elements.
Shape contiguous_strides(const Shape& shape);

/// The shape both operands broadcast to by the trailing-dimensions rule; throws naming `operation`
/// and both shapes when they do not.
Shape broadcast_shapes(std::string_view operation, const Shape& a, const Shape& b);

/// Maps an axis in [-rank, rank) to [0, rank); throws naming `operation` otherwise.
int normalize_axis(std::string_view operation, int64_t axis, int rank);

}  // namespace tessera
