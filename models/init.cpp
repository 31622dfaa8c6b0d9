#include "tessera/models/init.hpp"

#include <cmath>
#include <numbers>
#include <vector>

namespace tessera::models {
namespace {

template <class Draw>
Tensor filled(const Shape& shape, Draw&& draw) {
  Tensor t = Tensor::empty(shape, DType::f32, Device::cpu());
  if (t.numel() == 0) return t;
  for (float& v : t.host_mutable<float>()) v = static_cast<float>(draw());
  return t;
}

}  // namespace

double normal(Rng& rng) {
  const double radius = std::sqrt(-2.0 * std::log(rng.uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * rng.uniform());
}

Tensor uniform(const Shape& shape, double bound, Rng& rng) {
  return filled(shape, [&] { return bound * (2.0 * rng.uniform() - 1.0); });
}

Tensor normal(const Shape& shape, double stddev, Rng& rng) {
  return filled(shape, [&] { return stddev * normal(rng); });
}

Tensor truncated_normal(const Shape& shape, double stddev, Rng& rng) {
  return filled(shape, [&] {
    double z = normal(rng);
    while (std::abs(z) > 2.0) z = normal(rng);
    return stddev * z;
  });
}

Tensor glorot_uniform(const Shape& shape, int64_t fan_in, int64_t fan_out, Rng& rng, double gain) {
  return uniform(shape, gain * std::sqrt(6.0 / static_cast<double>(fan_in + fan_out)), rng);
}

Tensor he_normal(const Shape& shape, int64_t fan, Rng& rng) {
  return normal(shape, std::sqrt(2.0 / static_cast<double>(fan)), rng);
}

Tensor orthogonal(const Shape& shape, Rng& rng, double gain) {
  TS_CHECK(shape.rank() == 2, "orthogonal: needs rank 2, got ", shape);
  const bool wide = shape[0] < shape[1];
  const auto count = static_cast<size_t>(wide ? shape[0] : shape[1]);
  const auto length = static_cast<size_t>(wide ? shape[1] : shape[0]);
  // Gram-Schmidt, twice for full precision, on Gaussian vectors.
  std::vector<std::vector<double>> basis;
  while (basis.size() < count) {
    std::vector<double> v(length);
    for (double& x : v) x = normal(rng);
    for (int pass = 0; pass < 2; ++pass) {
      for (const auto& b : basis) {
        double dot = 0;
        for (size_t i = 0; i < length; ++i) dot += v[i] * b[i];
        for (size_t i = 0; i < length; ++i) v[i] -= dot * b[i];
      }
      double norm = 0;
      for (double x : v) norm += x * x;
      for (double& x : v) x /= std::sqrt(norm);
    }
    basis.push_back(std::move(v));
  }
  Tensor t = Tensor::empty(shape, DType::f32, Device::cpu());
  if (t.numel() == 0) return t;
  const auto out = t.host_mutable<float>();
  for (size_t a = 0; a < count; ++a)
    for (size_t i = 0; i < length; ++i)
      out[wide ? a * length + i : i * count + a] = static_cast<float>(gain * basis[a][i]);
  return t;
}

Tensor constant(const Shape& shape, double value) {
  return filled(shape, [&] { return value; });
}

}  // namespace tessera::models
