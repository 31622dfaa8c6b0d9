#include "tessera/runtime/shape.hpp"

namespace tessera {

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (int i = 0; i < shape.rank(); ++i) out += concat(i ? ", " : "", shape[i]);
  return out + "]";
}

void check_extents(std::string_view operation, const Shape& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    TS_CHECK(extent >= 0, operation, ": negative extent in shape ", shape);
    TS_CHECK(!__builtin_mul_overflow(count, std::max<int64_t>(extent, 1), &count) &&
                 count <= int64_t{1} << 60,
             operation, ": shape ", shape, " has more elements than memory can address");
  }
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = Shape::filled(shape.rank(), 1);
  for (int i = shape.rank() - 2; i >= 0; --i) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

Shape broadcast_shapes(std::string_view operation, const Shape& a, const Shape& b) {
  if (a == b) return a;
  const int rank = std::max(a.rank(), b.rank());
  Shape out = Shape::filled(rank, 1);
  for (int i = 1; i <= rank; ++i) {
    const int64_t da = i <= a.rank() ? a[a.rank() - i] : 1;
    const int64_t db = i <= b.rank() ? b[b.rank() - i] : 1;
    TS_CHECK(da == db || da == 1 || db == 1, operation, ": shapes ", a, " and ", b,
             " do not broadcast (dimension ", rank - i, ": ", da, " against ", db, ")");
    out[rank - i] = da == 1 ? db : da;
  }
  return out;
}

int normalize_axis(std::string_view operation, int64_t axis, int rank) {
  TS_CHECK(axis >= -rank && axis < rank, operation, ": axis ", axis, " is out of range for rank ",
           rank);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace tessera
