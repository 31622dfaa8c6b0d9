// Elementwise kernels: one pass over operands of any strides, each element by itself. Floor: each
// operand once. A kernel per op and dtype, so that cheap ones need few registers.
#include "tessera/kernels/elementwise.hpp"

#include <array>

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/elementwise_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

template <UnaryOp op, class S>
__global__ void __launch_bounds__(element_threads, 2) unary_elements(Elements e, UnaryParams p) {
  using C = compute_t<S>;
  using R = std::conditional_t<functors::gives_bool(op), bool, S>;
  const C a = functors::parameter<op, C>(p.a), b = functors::parameter<op, C>(p.b);
  map_elements<R, S>(e, [=](C x) { return functors::unary<op>(x, a, b); });
}

template <BinaryOp op, class S>
__global__ void __launch_bounds__(element_threads, 2) binary_elements(Elements e) {
  using R = std::conditional_t<functors::gives_bool(op), bool, S>;
  map_elements<R, S, S>(e,
                        [](compute_t<S> x, compute_t<S> z) { return functors::binary<op>(x, z); });
}

template <class U>
__global__ void __launch_bounds__(element_threads, 2) select_elements(Elements e) {
  map_elements<U, bool, U, U>(e, [](bool condition, U a, U b) { return condition ? a : b; });
}

template <class S>
__global__ void __launch_bounds__(element_threads, 2)
    axpby_elements(Elements e, double alpha, double beta) {
  using C = compute_t<S>;
  const C a = static_cast<C>(alpha), b = static_cast<C>(beta);
  map_elements<S, S, S>(e, [=](C x, C y) { return functors::fma(a, x, b * y); });
}

// --- tables: null where the op does not take the dtype ---

using UnaryKernel = void (*)(Elements, UnaryParams);
using BinaryKernel = void (*)(Elements);

template <UnaryOp op, class S>
constexpr UnaryKernel unary_entry() {
  if constexpr (functors::accepts<compute_t<S>>(op))
    return unary_elements<op, S>;
  else
    return nullptr;
}
template <BinaryOp op, class S>
constexpr BinaryKernel binary_entry() {
  if constexpr (functors::accepts<compute_t<S>>(op))
    return binary_elements<op, S>;
  else
    return nullptr;
}

template <class S, int... op>
UnaryKernel unary_kernel(UnaryOp wanted, std::integer_sequence<int, op...>) {
  static constexpr UnaryKernel table[] = {unary_entry<static_cast<UnaryOp>(op), S>()...};
  return table[static_cast<size_t>(wanted)];
}
template <class S, int... op>
BinaryKernel binary_kernel(BinaryOp wanted, std::integer_sequence<int, op...>) {
  static constexpr BinaryKernel table[] = {binary_entry<static_cast<BinaryOp>(op), S>()...};
  return table[static_cast<size_t>(wanted)];
}

void unary(Stream& stream, UnaryOp op, View x, View y, const UnaryParams& parameters) {
  check_unary(op, x, y);
  for_computed(x.dtype, "unary", [&]<class S>() {
    launch_elements(stream, "unary", {&x, 1}, y, pack_length<S>,
                    unary_kernel<S>(op, std::make_integer_sequence<int, functors::unary_ops>{}),
                    parameters);
  });
}

void binary(Stream& stream, BinaryOp op, View x0, View x1, View y) {
  check_binary(op, x0, x1, y);
  const View inputs[] = {x0, x1};
  for_computed(x0.dtype, "binary", [&]<class S>() {
    launch_elements(stream, "binary", inputs, y, pack_length<S>,
                    binary_kernel<S>(op, std::make_integer_sequence<int, functors::binary_ops>{}));
  });
}

void select(Stream& stream, View condition, View a, View b, View y) {
  check_select(condition, a, b, y);
  const View inputs[] = {condition, a, b};
  for_bits(y.dtype, [&]<class U>() {
    launch_elements(stream, "select", inputs, y, pack_length<U>, select_elements<U>);
  });
}

void axpby(Stream& stream, double alpha, View x, double beta, View y) {
  check_axpby(x, y);
  const View inputs[] = {x, y};
  for_float(y.dtype, "axpby", [&]<class S>() {
    if (beta == 0)
      launch_elements(stream, "axpby", {&x, 1}, y, pack_length<S>,
                      unary_elements<UnaryOp::affine, S>, UnaryParams{alpha, 0});
    else
      launch_elements(stream, "axpby", inputs, y, pack_length<S>, axpby_elements<S>, alpha, beta);
  });
}

}  // namespace

extern const ElementwiseKernels elementwise_kernels{
    .unary = unary,
    .binary = binary,
    .select = select,
    .axpby = axpby,
};

}  // namespace tessera::kernels::cuda
