#include "tessera/algorithms/eigensr/leaves.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "tessera/models/init.hpp"

namespace tessera::algorithms::eigensr {
namespace {

constexpr int64_t points = 3;  // of a pixel, along each axis

struct Leaf {
  double row, column, size, aspect, cosine, sine;
  bool disc;
  size_t material;
  double brightness, contrast, frequency, phase;  // of its texture

  /// Brightness at a point, 0 where the leaf is not.
  double at(double r, double c) const {
    const double u = cosine * (r - row) + sine * (c - column),
                 v = aspect * (cosine * (c - column) - sine * (r - row));
    const bool inside =
        disc ? u * u + v * v < size * size : std::max(std::abs(u), std::abs(v)) < size;
    return inside ? brightness * (1 + contrast * std::sin(frequency * u + phase)) : 0;
  }
};

std::vector<Leaf> leaves_of(const LeavesOptions& o, Rng& rng) {
  const double least = 1.5, greatest = 0.4 * static_cast<double>(std::min(o.rows, o.columns));
  std::vector<Leaf> leaves;
  for (int64_t i = 0; i < o.leaves; ++i) {
    Leaf leaf{};
    leaf.row = rng.uniform() * static_cast<double>(o.rows);
    leaf.column = rng.uniform() * static_cast<double>(o.columns);
    const double u = rng.uniform();  // of the distribution function of density r^-3
    leaf.size = 1 / std::sqrt((1 - u) / (least * least) + u / (greatest * greatest));
    leaf.aspect = 1 + rng.uniform();
    const double angle = 2 * std::numbers::pi * rng.uniform();
    leaf.cosine = std::cos(angle), leaf.sine = std::sin(angle);
    leaf.disc = rng.below(2) == 0;
    leaf.material = static_cast<size_t>(rng.below(static_cast<uint64_t>(o.materials)));
    leaf.brightness = 0.5 + rng.uniform();
    leaf.contrast = 0.2 * rng.uniform();
    leaf.frequency = 0.5 + 1.5 * rng.uniform();  // radians per pixel
    leaf.phase = 2 * std::numbers::pi * rng.uniform();
    leaves.push_back(leaf);
  }
  return leaves;
}

/// Positive and smooth: a level and four broad humps.
std::vector<double> spectrum_of(int64_t bands, Rng& rng) {
  std::vector<double> s(static_cast<size_t>(bands), 0.2 + 0.4 * rng.uniform());
  for (int hump = 0; hump < 4; ++hump) {
    const double centre = rng.uniform(), width = 0.05 + 0.25 * rng.uniform(),
                 height = rng.uniform() - 0.3;
    for (size_t b = 0; b < s.size(); ++b) {
      const double t =
          ((static_cast<double>(b) + 0.5) / static_cast<double>(bands) - centre) / width;
      s[b] += height * std::exp(-t * t);
    }
  }
  for (double& v : s) v = std::max(v, 0.02);
  return s;
}

}  // namespace

Tensor leaves_scene(const LeavesOptions& o, const Rng& rng) {
  Rng numbers = rng;
  std::vector<std::vector<double>> spectra;
  spectra.reserve(static_cast<size_t>(o.materials));
  for (int64_t m = 0; m < o.materials; ++m) spectra.push_back(spectrum_of(o.bands, numbers));
  const std::vector<Leaf> leaves = leaves_of(o, numbers);
  Tensor scene = Tensor::empty({o.rows, o.columns, o.bands}, DType::f32, Device::cpu());
  float* to = scene.host_mutable<float>().data();
  std::vector<double> amount(spectra.size());  // brightness of each material in a pixel
  for (int64_t r = 0; r < o.rows; ++r)
    for (int64_t c = 0; c < o.columns; ++c) {
      std::fill(amount.begin(), amount.end(), 0.0);
      for (int64_t point = 0; point < points * points; ++point) {
        const auto place = [&](int64_t pixel, int64_t k) {
          return static_cast<double>(pixel) +
                 (static_cast<double>(k) + 0.5) / static_cast<double>(points);
        };
        const double row = place(r, point / points), column = place(c, point % points);
        double light = 1;  // of the ground below all leaves, the first material
        size_t material = 0;
        for (const Leaf& leaf : leaves)
          if (const double seen = leaf.at(row, column); seen > 0) {
            light = seen;
            material = leaf.material;
            break;
          }
        amount[material] += light / static_cast<double>(points * points);
      }
      for (int64_t b = 0; b < o.bands; ++b) {
        double v = 0;
        for (size_t m = 0; m < spectra.size(); ++m)
          v += amount[m] * spectra[m][static_cast<size_t>(b)];
        *to++ = static_cast<float>(v + o.noise * models::normal(numbers));
      }
    }
  return scene;
}

}  // namespace tessera::algorithms::eigensr
