#pragma once

#include <cmath>

#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/functors.hpp"

/// The maximum of some numbers and the sum of their exponentials, found in one pass (Milakov and
/// Gimelshein, "Online normalizer calculation for softmax", 2018).
namespace tessera::kernels::cuda {

/// log(sum(exp(x))) = top + log(sum), sum being that of exp(x - top). NaN and +inf make the sum
/// NaN; over -inf alone it is 0.
template <class C>
struct Exponentials {
  C top = -INFINITY, sum = 0;

  /// Makes `to` what the sum refers to.
  TS_DEVICE void raise(C to) {
    if (to > top) {
      if (sum != 0) sum *= functors::exp(top - to);
      top = to;
    }
  }
  template <class T, int n>
  TS_DEVICE void add(const Pack<T, n>& x) {
    C most = widen(x.lane[0]);
#pragma unroll
    for (int i = 1; i < n; ++i) most = max_of(most, widen(x.lane[i]));
    raise(most);
    const C origin = top == -INFINITY ? C{0} : top;
#pragma unroll
    for (int i = 0; i < n; ++i) sum += functors::exp(widen(x.lane[i]) - origin);
  }

 private:
  /// b where a is NaN: the sum will tell.
  TS_DEVICE static C max_of(C a, C b) { return a > b ? a : b; }
};

struct JoinExponentials {
  template <class C>
  TS_DEVICE Exponentials<C> operator()(Exponentials<C> a, Exponentials<C> b) const {
    const C top = a.top > b.top ? a.top : b.top;
    a.raise(top), b.raise(top);
    return {top, a.sum + b.sum};
  }
};

}  // namespace tessera::kernels::cuda
