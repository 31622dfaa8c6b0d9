#include "tessera/kernels/elementwise.hpp"

#include <array>
#include <utility>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/cpu/tiles.hpp"
#include "tessera/kernels/elementwise_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

/// y[i] = f(x[i]...). Numbers of a floating type go by vectors, the last one partly filled, so that
/// a value does not depend on its position; everything else is left to the compiler.
template <class R, class T, class F, class... X>
void apply(int64_t n, R* y, F f, const T* x, const X*... more) {
  if constexpr (std::is_floating_point_v<R>) {
    using V = Vec<T>;
    int64_t i = 0;
    for (; i + V::width <= n; i += V::width) store(y + i, f(load(x + i), load(more + i)...));
    if (i < n) store(y + i, f(load(x + i, n - i), load(more + i, n - i)...), n - i);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = f(x[i], more[i]...);
  }
}

template <UnaryOp op, class T>
void unary_tile(const void* const* inputs, void* output, int64_t n, const void* parameters) {
  using R = std::conditional_t<functors::gives_bool(op), bool, T>;
  const auto& p = *static_cast<const UnaryParams*>(parameters);
  const T a = functors::parameter<op, T>(p.a), b = functors::parameter<op, T>(p.b);
  apply(
      n, static_cast<R*>(output),
      [=](auto x) { return functors::unary<op>(x, decltype(x)(a), decltype(x)(b)); },
      static_cast<const T*>(inputs[0]));
}

template <BinaryOp op, class T>
void binary_tile(const void* const* inputs, void* output, int64_t n, const void*) {
  using R = std::conditional_t<functors::gives_bool(op), bool, T>;
  apply(
      n, static_cast<R*>(output), [](auto x, auto y) { return functors::binary<op>(x, y); },
      static_cast<const T*>(inputs[0]), static_cast<const T*>(inputs[1]));
}

template <class T>
void select_tile(const void* const* inputs, void* output, int64_t n, const void*) {
  const auto* condition = static_cast<const bool*>(inputs[0]);
  const T *a = static_cast<const T*>(inputs[1]), *b = static_cast<const T*>(inputs[2]);
  T* y = static_cast<T*>(output);
  for (int64_t i = 0; i < n; ++i) y[i] = condition[i] ? a[i] : b[i];
}

struct Weights {
  double alpha, beta;
};
template <class T>
void axpby_tile(const void* const* inputs, void* output, int64_t n, const void* parameters) {
  const auto& w = *static_cast<const Weights*>(parameters);
  const Vec<T> alpha = static_cast<T>(w.alpha), beta = static_cast<T>(w.beta);
  apply(
      n, static_cast<T*>(output), [=](auto x, auto y) { return fma(alpha, x, beta * y); },
      static_cast<const T*>(inputs[0]), static_cast<const T*>(inputs[1]));
}

// --- tables: a row per compute type, null where the op does not take it ---

template <UnaryOp op, class T>
constexpr TileKernel unary_entry() {
  if constexpr (functors::accepts<T>(op))
    return unary_tile<op, T>;
  else
    return nullptr;
}
template <BinaryOp op, class T>
constexpr TileKernel binary_entry() {
  if constexpr (functors::accepts<T>(op))
    return binary_tile<op, T>;
  else
    return nullptr;
}

template <class T>
constexpr auto unary_table = []<int... i>(std::integer_sequence<int, i...>) {
  return std::array{unary_entry<static_cast<UnaryOp>(i), T>()...};
}
(std::make_integer_sequence<int, functors::unary_ops>{});

template <class T>
constexpr auto binary_table = []<int... i>(std::integer_sequence<int, i...>) {
  return std::array{binary_entry<static_cast<BinaryOp>(i), T>()...};
}
(std::make_integer_sequence<int, functors::binary_ops>{});

constexpr Bound bound_of(UnaryOp op) {
  const bool computes = (op >= UnaryOp::exp && op <= UnaryOp::power) ||
                        (op >= UnaryOp::elu && op <= UnaryOp::silu_derivative) ||
                        op == UnaryOp::elu_derivative;
  return computes ? Bound::arithmetic : Bound::memory;
}
constexpr Bound bound_of(BinaryOp op) {
  const bool computes =
      op == BinaryOp::power || op == BinaryOp::atan2 || op >= BinaryOp::gelu_gradient;
  return computes ? Bound::arithmetic : Bound::memory;
}

void unary(Stream&, UnaryOp op, View x, View y, const UnaryParams& parameters) {
  check_unary(op, x, y);
  const TileKernel kernel = for_computed(x.dtype, "unary", [&]<class S>() {
    return unary_table<compute_t<S>>[static_cast<size_t>(op)];
  });
  map_tiles({&x, 1}, y, kernel, &parameters, Halves::widened, bound_of(op));
}

void binary(Stream&, BinaryOp op, View x0, View x1, View y) {
  check_binary(op, x0, x1, y);
  const TileKernel kernel = for_computed(x0.dtype, "binary", [&]<class S>() {
    return binary_table<compute_t<S>>[static_cast<size_t>(op)];
  });
  const View inputs[] = {x0, x1};
  map_tiles(inputs, y, kernel, nullptr, Halves::widened, bound_of(op));
}

void select(Stream&, View condition, View a, View b, View y) {
  check_select(condition, a, b, y);
  constexpr TileKernel by_size[] = {select_tile<uint8_t>, select_tile<uint16_t>,
                                    select_tile<uint32_t>, select_tile<uint64_t>};
  const View inputs[] = {condition, a, b};
  map_tiles(inputs, y, by_size[std::countr_zero(size_of(y.dtype))], nullptr, Halves::as_bits);
}

void axpby(Stream&, double alpha, View x, double beta, View y) {
  check_axpby(x, y);
  const Weights weights{alpha, beta};
  const UnaryParams scaled{alpha, 0};
  for_float(y.dtype, "axpby", [&]<class S>() {
    using T = compute_t<S>;
    const View inputs[] = {x, y};
    if (beta == 0)
      map_tiles({&x, 1}, y, unary_tile<UnaryOp::affine, T>, &scaled);
    else
      map_tiles(inputs, y, axpby_tile<T>, &weights);
  });
}

}  // namespace

const ElementwiseKernels elementwise_kernels{
    .unary = unary,
    .binary = binary,
    .select = select,
    .axpby = axpby,
};

}  // namespace tessera::kernels::cpu
