#include "tessera/kernels/copy.hpp"

#include "tessera/kernels/conversion.hpp"
#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/tiles.hpp"
#include "tessera/kernels/elementwise_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

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
  if constexpr (is_half(dtype_of<D>) && wider_than_float<From>)
    return convert_tile_for_half<From>;
  else if constexpr (std::is_same_v<From, compute_t<D>>)
    return nullptr;
  else
    return convert_tile<From, compute_t<D>>;
}

void copy(Stream&, View x, View y) {
  check_copy(x, y);
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
