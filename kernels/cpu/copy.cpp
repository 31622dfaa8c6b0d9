#include "tessera/kernels/copy.hpp"

#include <bit>
#include <cmath>
#include <limits>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/tiles.hpp"

namespace tessera::kernels::cpu {
namespace {

template <class From, class To>
To converted(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != 0;
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
    constexpr From beyond = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
    if (std::isnan(x)) return 0;
    if (x < low) return std::numeric_limits<To>::min();
    if (x >= beyond) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

/// On the way to a half, wider numbers become float by rounding to odd: of the two neighbours of an
/// inexact value the one whose last bit is set. The rounding to half that follows then gives what a
/// single rounding of the value would have.
inline float rounded_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  const double error = x - static_cast<double>(nearest);
  const auto bits = std::bit_cast<uint32_t>(nearest);
  const bool exact = !(error > 0 || error < 0);  // NaN, and infinity, as they are
  if (exact || (bits & 1)) return nearest;
  return std::bit_cast<float>((error > 0) == !std::signbit(nearest) ? bits + 1 : bits - 1);
}
inline float rounded_to_odd(int64_t x) {
  const bool wide = x > (int64_t{1} << 52) || x < -(int64_t{1} << 52);
  const int64_t fits = wide ? (x & ~int64_t{0xfff}) | (x & 0xfff ? 0x800 : 0) : x;
  return rounded_to_odd(static_cast<double>(fits));
}
inline float rounded_to_odd(int32_t x) { return rounded_to_odd(static_cast<double>(x)); }

template <class From, class To>
void convert_tile(const void* const* inputs, void* output, int64_t n, const void*) {
  const From* x = static_cast<const From*>(inputs[0]);
  To* y = static_cast<To*>(output);
  for (int64_t i = 0; i < n; ++i) y[i] = converted<From, To>(x[i]);
}
template <class From>
void convert_tile_for_half(const void* const* inputs, void* output, int64_t n, const void*) {
  const From* x = static_cast<const From*>(inputs[0]);
  float* y = static_cast<float*>(output);
  for (int64_t i = 0; i < n; ++i) y[i] = rounded_to_odd(x[i]);
}

/// S and D are element types as stored; null where their compute types agree.
template <class S, class D>
constexpr TileKernel conversion() {
  using From = compute_t<S>;
  constexpr bool wide = std::is_same_v<From, double> || std::is_same_v<From, int64_t> ||
                        std::is_same_v<From, int32_t>;
  if constexpr (is_half(dtype_of<D>) && wide)
    return convert_tile_for_half<From>;
  else if constexpr (std::is_same_v<From, compute_t<D>>)
    return nullptr;
  else
    return convert_tile<From, compute_t<D>>;
}

void copy(Stream&, View x, View y) {
  TS_CHECK(x.dims() == y.dims(), "copy: from shape ", x.dims(), " to ", y.dims());
  if (x.dtype == y.dtype) return map_tiles({&x, 1}, y, nullptr, nullptr, Halves::as_bits);
  const TileKernel kernel = for_any(x.dtype, [&]<class S>() {
    return for_any(y.dtype, [&]<class D>() { return conversion<S, D>(); });
  });
  map_tiles({&x, 1}, y, kernel);
}

void fill(Stream& stream, double value, View y) {
  alignas(8) unsigned char element[8];
  copy(stream, View{.data = &value, .dtype = DType::f64}, View{.data = element, .dtype = y.dtype});
  View repeated = y;
  repeated.data = element;
  std::fill_n(repeated.stride, repeated.rank, 0);
  copy(stream, repeated, y);
}

}  // namespace

const CopyKernels copy_kernels{.copy = copy, .fill = fill};

}  // namespace tessera::kernels::cpu
