#pragma once

#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/gemm.hpp"

/// What products do to finished sums while these are in the first-level cache.
namespace tessera::kernels::cpu {

/// Calls body(f) with f: Vec<T> -> Vec<T> the activation.
template <class T, class Body>
inline void with_activation(Activation activation, Body&& body) {
  switch (activation) {
    case Activation::none:
      return body([](Vec<T> x) { return x; });
    case Activation::relu:
      return body([](Vec<T> x) { return functors::relu(x); });
    case Activation::gelu:
      return body([](Vec<T> x) { return functors::gelu(x); });
    case Activation::gelu_tanh:
      return body([](Vec<T> x) { return functors::gelu_tanh(x); });
    case Activation::silu:
      return body([](Vec<T> x) { return functors::silu(x); });
  }
}

/// y[i] = activation(sums[i] + bias + biases[i] + beta * y[i]) for i < n; `biases` may be null, y
/// is not read when beta is 0, and y may be sums.
template <class T, class Out>
inline void finish_row(const T* sums, int64_t n, T bias, const Out* biases, T beta,
                       Activation activation, Out* y) {
  constexpr int64_t width = Vec<T>::width;
  with_activation<T>(activation, [&](auto f) {
    int64_t i = 0;
    for (; i + width <= n; i += width) {
      Vec<T> x = load(sums + i) + Vec<T>(bias);
      if (biases) x += load(biases + i);
      if (beta != 0) x += Vec<T>(beta) * load(y + i);
      store(y + i, f(x));
    }
    if (i == n) return;
    Vec<T> x = load(sums + i, n - i) + Vec<T>(bias);
    if (biases) x += load(biases + i, n - i);
    if (beta != 0) x += Vec<T>(beta) * load(y + i, n - i);
    store(y + i, f(x), n - i);
  });
}

}  // namespace tessera::kernels::cpu
