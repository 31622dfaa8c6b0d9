#pragma once

#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/gemm.hpp"

/// What products do to finished sums while these are in the first-level cache.
namespace tessera::kernels::cpu {

/// Calls body(f) with f: Vec<T> -> Vec<T> the activation.
template <class T, class Body>
inline void with_activation(Activation activation, Body&& body) {
  using V = Vec<T>;
  switch (activation) {
    case Activation::none:
      return body([](V x) { return x; });
    case Activation::relu:
      return body([](V x) { return where(x <= V(0), V(0), x); });
    case Activation::gelu:
      return body([](V x) { return V(T(0.5)) * x * (V(1) + erf(x * V(T(0.70710678118654752)))); });
    case Activation::gelu_tanh:
      return body([](V x) {
        const V cube = x * x * x;
        return V(T(0.5)) * x *
               (V(1) + tanh(V(T(0.79788456080286536)) * (x + V(T(0.044715)) * cube)));
      });
    case Activation::silu:
      return body([](V x) { return x * sigmoid(x); });
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
