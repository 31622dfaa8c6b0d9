#include "tessera/algorithms/eigensr/degradation.hpp"

#include <cmath>

#include "tessera/algorithms/eigensr/super_resolution.hpp"
#include "tessera/autograd/launch.hpp"
#include "tessera/models/init.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::eigensr {

Tensor with_noise(const Tensor& cube, double deviation, const Rng& rng) {
  Tensor result = cube.clone();
  Rng numbers = rng;
  for (float& v : result.host_mutable<float>())
    v = static_cast<float>(v + deviation * models::normal(numbers));
  return result;
}

double deviation_at(const Tensor& cube, double decibels) {
  double power = 0;
  for (const float v : cube.host<float>()) power += double{v} * v;
  return std::sqrt(power / static_cast<double>(cube.numel()) * std::pow(10, -decibels / 10));
}

Tensor with_stripes(const Tensor& cube, double probability, const Rng& rng) {
  Tensor result = cube.clone();
  Rng numbers = rng;
  for (int64_t c = 0; c < cube.size(1); ++c)
    for (int64_t b = 0; b < cube.size(2); ++b) {
      if (numbers.uniform() >= probability) continue;
      for (int64_t r = 0; r < cube.size(0); ++r)
        result
            .host_mutable<float>()[static_cast<size_t>((r * cube.size(1) + c) * cube.size(2) + b)] =
            0;
    }
  return result;
}

Tensor with_zeros(const Tensor& cube, double probability, Dropped what, const Rng& rng) {
  Tensor result = cube.clone();
  Rng numbers = rng;
  const auto values = result.host_mutable<float>();
  const size_t run = what == Dropped::pixels ? static_cast<size_t>(cube.size(2)) : 1;
  for (size_t i = 0; i < values.size(); i += run)
    if (numbers.uniform() < probability)
      for (size_t k = 0; k < run; ++k) values[i + k] = 0;
  return result;
}

Tensor cropped_to(const Tensor& cube, int64_t scale) {
  const int64_t rows = cube.size(0) / scale * scale, columns = cube.size(1) / scale * scale;
  TS_CHECK(rows > 0 && columns > 0, "an image of ", cube.size(0), " x ", cube.size(1),
           " pixels is smaller than the scale ", scale);
  return autograd::contiguous(cube.narrow(0, 0, rows).narrow(1, 0, columns));
}

Tensor degraded(const Tensor& cube, int64_t scale, const Degradation& by, const Rng& rng) {
  Tensor result = cropped_to(cube, scale);
  if (scale > 1) result = resized_cube(result, result.size(0) / scale, result.size(1) / scale);
  if (by.noise > 0) result = with_noise(result, by.noise, rng.split(0));
  if (by.snr != 0) result = with_noise(result, deviation_at(result, by.snr), rng.split(1));
  if (by.stripes > 0) result = with_stripes(result, by.stripes, rng.split(2));
  if (by.zeros > 0) result = with_zeros(result, by.zeros, Dropped::elements, rng.split(3));
  if (by.missing_pixels > 0)
    result = with_zeros(result, by.missing_pixels, Dropped::pixels, rng.split(4));
  return result;
}

}  // namespace tessera::algorithms::eigensr
