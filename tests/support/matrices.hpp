#pragma once

#include "tessera/tests/support/values.hpp"

/// Plain matrices of doubles, row by row, and some whose properties are known.
namespace tessera::test {

struct Plain {
  int64_t rows, cols;
  Values v;
  Plain(int64_t m, int64_t n) : rows(m), cols(n), v(at(m * n)) {}
  Plain(int64_t m, int64_t n, Values values) : rows(m), cols(n), v(std::move(values)) {}
  double& operator()(int64_t i, int64_t j) { return v[at(i * cols + j)]; }
  double operator()(int64_t i, int64_t j) const { return v[at(i * cols + j)]; }
};

inline Plain operator*(const Plain& a, const Plain& b) {
  Plain c(a.rows, b.cols);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t k = 0; k < a.cols; ++k)
      for (int64_t j = 0; j < b.cols; ++j) c(i, j) += a(i, k) * b(k, j);
  return c;
}
inline Plain transpose(const Plain& a) {
  Plain t(a.cols, a.rows);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.cols; ++j) t(j, i) = a(i, j);
  return t;
}
inline Plain identity(int64_t n) {
  Plain e(n, n);
  for (int64_t i = 0; i < n; ++i) e(i, i) = 1;
  return e;
}
inline Plain scaled_columns(Plain a, const Values& s) {
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.cols; ++j) a(i, j) *= s[at(j)];
  return a;
}
inline double largest(const Plain& a) {
  double m = 0;
  for (const double x : a.v) m = std::isnan(x) ? INFINITY : std::max(m, std::abs(x));
  return m;
}
inline double distance(const Plain& a, const Plain& b) {
  EXPECT_EQ(a.v.size(), b.v.size());
  double m = 0;
  for (size_t i = 0; i < std::min(a.v.size(), b.v.size()); ++i) {
    const double d = std::abs(a.v[i] - b.v[i]);
    m = std::isnan(d) ? INFINITY : std::max(m, d);
  }
  return m;
}
/// Orthonormal columns, by Gram-Schmidt twice on random numbers.
inline Plain orthonormal(int64_t m, int64_t n, uint64_t seed) {
  Plain q = transpose(Plain(m, n, to_doubles(uniform({m, n}, DType::f64, seed))));
  for (int64_t i = 0; i < n; ++i)
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t k = 0; k < i; ++k) {
        double inner = 0;
        for (int64_t j = 0; j < m; ++j) inner += q(i, j) * q(k, j);
        for (int64_t j = 0; j < m; ++j) q(i, j) -= inner * q(k, j);
      }
      double norm = 0;
      for (int64_t j = 0; j < m; ++j) norm += q(i, j) * q(i, j);
      for (int64_t j = 0; j < m; ++j) q(i, j) /= std::sqrt(norm);
    }
  return transpose(q);
}
/// n numbers from 1 down to 1 / condition, geometrically.
inline Values spectrum(int64_t n, double condition) {
  Values s;
  for (int64_t i = 0; i < n; ++i)
    s.push_back(std::pow(
        condition, -static_cast<double>(i) / static_cast<double>(std::max<int64_t>(n - 1, 1))));
  return s;
}

/// Sine of the largest angle between the spans of the first k columns, both orthonormal.
inline double subspace_angle(const Plain& a, const Plain& b, int64_t k) {
  Plain left(a.rows, k), right(b.rows, k);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < k; ++j) left(i, j) = a(i, j), right(i, j) = b(i, j);
  const Plain inner = transpose(left) * right, kept = left * inner;
  double largest = 0;
  for (int64_t j = 0; j < k; ++j) {
    double square = 0;
    for (int64_t i = 0; i < a.rows; ++i) square += std::pow(right(i, j) - kept(i, j), 2);
    largest = std::max(largest, std::sqrt(square));
  }
  return largest;
}

}  // namespace tessera::test
