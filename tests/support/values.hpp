#pragma once

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "tessera/runtime/tensor.hpp"

/// Tensors of any dtype as plain doubles, and what tests compare them with.
namespace tessera::test {

using Values = std::vector<double>;

inline constexpr double infinity = std::numeric_limits<double>::infinity();
inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// A vector's index from an extent or an offset.
constexpr size_t at(int64_t i) { return static_cast<size_t>(i); }

/// What results of `dtype` are computed in.
constexpr DType compute_dtype(DType dtype) { return is_half(dtype) ? DType::f32 : dtype; }

inline View view_or_none(const Tensor& t) { return t.defined() ? t.view() : View{}; }

inline std::vector<double> to_doubles(const Tensor& t) {
  return for_any(t.dtype(), [&]<class T>() {
    std::vector<double> out;
    for (const T x : t.values<T>()) out.push_back(static_cast<double>(x));
    return out;
  });
}

inline Tensor from_doubles(const std::vector<double>& values, const Shape& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype, Device::cpu());
  for_any(dtype, [&]<class T>() {
    T* out = static_cast<T*>(t.data());
    for (size_t i = 0; i < values.size(); ++i) {
      if constexpr (is_half(dtype_of<T>))
        out[i] = T(static_cast<float>(values[i]));
      else
        out[i] = static_cast<T>(values[i]);
    }
  });
  return t;
}

/// A fixed pseudo-random sequence of 32-bit numbers per seed.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u) {}
  uint32_t operator()() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    const auto x = static_cast<uint32_t>((state_ >> 33) ^ (state_ >> 20));
    return x * 0x85ebca6bu ^ x >> 13;
  }

 private:
  uint64_t state_;
};

/// Integers in [-limit, limit], in [0, limit] for u8: sums and products of few of them are exact in
/// every dtype.
inline Tensor integers(const Shape& shape, DType dtype, uint64_t seed, int limit = 3) {
  Numbers next(seed);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (double& x : values) {
    x = static_cast<int>(next() % static_cast<uint32_t>(2 * limit + 1)) - limit;
    if (dtype == DType::u8 || dtype == DType::u16) x = std::abs(x);
  }
  return from_doubles(values, shape, dtype);
}

/// Uniform in [-1, 1).
inline Tensor uniform(const Shape& shape, DType dtype, uint64_t seed) {
  Numbers next(seed);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (double& x : values) x = next() * 0x1p-31 - 1;
  return from_doubles(values, shape, dtype);
}

/// |a - b| <= tolerance * (1 + |b|) everywhere; NaN equals NaN. Names the worst element otherwise.
inline void expect_close(const std::vector<double>& got, const std::vector<double>& wanted,
                         double tolerance, const std::string& what = "") {
  ASSERT_EQ(got.size(), wanted.size()) << what;
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == wanted[i] || (std::isnan(got[i]) && std::isnan(wanted[i]))) continue;
    double error = std::abs(got[i] - wanted[i]) / (1 + std::abs(wanted[i]));
    if (std::isnan(error)) error = INFINITY;
    if (error > worst) worst = error, at = i;
  }
  if (worst > tolerance)
    ADD_FAILURE() << what << ": element " << at << " of " << got.size() << " is " << got[at]
                  << ", expected " << wanted[at] << " (error " << worst << ", allowed " << tolerance
                  << ")";
}

/// d/dx sum(gy * f(x)) by central differences, good to about 1e-9.
inline Values numeric_gradient(const std::function<Values(const Values&)>& f, Values x,
                               const Values& gy) {
  constexpr double h = 1e-5;
  Values gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double middle = x[i];
    x[i] = middle + h;
    const Values above = f(x);
    x[i] = middle - h;
    const Values below = f(x);
    x[i] = middle;
    for (size_t j = 0; j < gy.size(); ++j) gradient[i] += gy[j] * (above[j] - below[j]) / (2 * h);
  }
  return gradient;
}

/// Unit roundoff of a dtype: the error of one rounding.
inline double roundoff(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 0x1p-53;
    case DType::f32:
      return 0x1p-24;
    case DType::f16:
      return 0x1p-11;
    case DType::bf16:
      return 0x1p-8;
    default:
      return 0;
  }
}

/// The kernels run on this many threads while the object lives.
class Threads {
 public:
  explicit Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

inline constexpr DType float_dtypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16};

}  // namespace tessera::test
