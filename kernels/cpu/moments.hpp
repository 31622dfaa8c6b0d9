#pragma once

#include "tessera/kernels/cpu/rows.hpp"

/// Mean and variance for the normalisations, and the two passes they make over a run of elements
/// that share one gamma and beta (a plane).
namespace tessera::kernels::cpu {

/// Number, mean and sum of squared deviations; parts join by Chan's formula, in double.
struct Moments {
  double count = 0, mean = 0, squares = 0;

  void join(const Moments& other) {
    if (other.count == 0) return;
    const double total = count + other.count, delta = other.mean - mean;
    mean += delta * (other.count / total);
    squares += other.squares + delta * delta * (count * (other.count / total));
    count = total;
  }
  double variance() const { return count > 0 ? squares / count : 0; }
};

/// From sums over n values of d = x - guess and of d^2.
inline Moments moments_about(double guess, double n, double sum, double sum_of_squares) {
  return {n, guess + sum / n, std::max(0.0, sum_of_squares - sum * sum / n)};
}

/// In blocks that stay in the first-level cache: the block's mean, then the deviations from it.
template <class T, class C = compute_t<T>>
Moments moments(const T* x, int64_t n) {
  constexpr int64_t block = 4096;
  Moments all;
  for (int64_t begin = 0; begin < n; begin += block) {
    const int64_t size = std::min(block, n - begin);
    const T* from = x + begin;
    const C guess =
        row_sum<C>(size, [=](auto at) { return read(from, at); }) / static_cast<C>(size);
    const auto [sum, squares] = row_sums<C>(size, [=, origin = Vec<C>(guess)](auto at) {
      const Vec<C> d = read(from, at) - origin;
      return Two<Vec<C>>{d, d * d};
    });
    all.join(moments_about(guess, static_cast<double>(size), sum, squares));
  }
  return all;
}

/// sum(gy) and sum(gy * (x - mean)).
template <class T, class C = compute_t<T>>
Two<double> gradient_sums(const T* x, const T* gy, int64_t n, C mean) {
  constexpr int64_t block = 4096;
  Two<double> all{0, 0};
  for (int64_t begin = 0; begin < n; begin += block) {
    const int64_t size = std::min(block, n - begin);
    const auto [sum, dot] =
        row_sums<C>(size, [x = x + begin, gy = gy + begin, origin = Vec<C>(mean)](auto at) {
          const Vec<C> g = read(gy, at);
          return Two<Vec<C>>{g, g * (read(x, at) - origin)};
        });
    all.first += sum, all.second += dot;
  }
  return all;
}

/// y = (x - mean) * scale + beta
template <class T, class Store, class C = compute_t<T>>
void normalize_plane(const T* x, T* y, int64_t n, C mean, C scale, C beta, Store store) {
  row_each<C>(n, [=, m = Vec<C>(mean), s = Vec<C>(scale), b = Vec<C>(beta)](auto at) {
    store(y, at, fma(read(x, at) - m, s, b));
  });
}

/// gx = a * gy + b * (x - mean) + d
template <class T, class Store, class C = compute_t<T>>
void gradient_plane(const T* x, const T* gy, T* gx, int64_t n, C mean, C a, C b, C d, Store store) {
  row_each<C>(n, [=, m = Vec<C>(mean), va = Vec<C>(a), vb = Vec<C>(b), vd = Vec<C>(d)](auto at) {
    store(gx, at, fma(va, read(gy, at), fma(vb, read(x, at) - m, vd)));
  });
}

}  // namespace tessera::kernels::cpu
