#pragma once

#include <algorithm>
#include <cstdint>

#include "tessera/kernels/order_key.hpp"

namespace tessera::kernels::cpu {

/// The k best of one row by key, best first; equal keys by position. A sorted list of the best so
/// far is kept while k is small, since nearly every element fails its first comparison with the
/// worst of them.
template <class T, bool largest>
void top_k_row(const T* x, int64_t n, int64_t k, T* values, int64_t* index, int64_t* order) {
  const auto key = [x](int64_t i) {
    const order_key_t<T> ascending = order_key(x[i]);
    return largest ? ascending : static_cast<order_key_t<T>>(~ascending);
  };
  if (k <= 64) {
    order_key_t<T> best[64];
    int64_t filled = 0;
    for (int64_t i = 0; i < n; ++i) {
      const auto candidate = key(i);
      if (filled == k && candidate <= best[k - 1]) [[likely]]
        continue;
      int64_t at = filled < k ? filled++ : k - 1;
      for (; at > 0 && best[at - 1] < candidate; --at) {
        best[at] = best[at - 1];
        index[at] = index[at - 1];
      }
      best[at] = candidate;
      index[at] = i;
    }
  } else {
    const auto before = [&](int64_t a, int64_t b) {
      const auto key_a = key(a), key_b = key(b);
      return key_a != key_b ? key_a > key_b : a < b;
    };
    for (int64_t i = 0; i < n; ++i) order[i] = i;
    if (k < n) std::nth_element(order, order + k, order + n, before);
    std::sort(order, order + k, before);
    std::copy_n(order, k, index);
  }
  for (int64_t j = 0; j < k; ++j) values[j] = x[index[j]];
}

}  // namespace tessera::kernels::cpu
