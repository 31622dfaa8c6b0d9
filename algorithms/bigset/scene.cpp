#include "tessera/algorithms/bigset/scene.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::bigset {
namespace {

constexpr std::string_view normalisation_names[] = {"zscore_band", "minmax_image", "minmax_band",
                                                    "none"};

template <class Body>
void for_valid(const Scene& scene, Body&& body) {  // body(pixel, its spectrum)
  const auto values = scene.spectra.host<double>();
  const auto bands = static_cast<size_t>(scene.spectra.size(1));
  for (size_t p = 0; p < scene.valid.size(); ++p)
    if (scene.valid[p]) body(p, values.subspan(p * bands, bands));
}

std::vector<uint8_t> bytes_of(const Tensor& mask) {
  const auto* bytes = static_cast<const uint8_t*>(mask.data());
  return {bytes, bytes + mask.numel()};
}

}  // namespace

std::string_view to_string(Normalisation n) { return normalisation_names[static_cast<int>(n)]; }
void parse(std::string_view text, Normalisation& n) { parse_enum(text, normalisation_names, n); }

int64_t Scene::valid_pixels() const { return std::count(valid.begin(), valid.end(), 1); }

Scene make_scene(const models::Cube& cube, bool drop_bad) {
  Scene scene{.rows = cube.rows(),
              .columns = cube.columns(),
              .spectra = {},
              .valid = {},
              .truth = {},
              .bands = {}};
  const std::vector<int64_t> constant = models::constant_bands(cube);
  scene.constant = std::ssize(constant);
  for (int64_t b = 0; b < cube.bands(); ++b) {
    if (std::binary_search(constant.begin(), constant.end(), b)) continue;
    if (drop_bad && !cube.good_bands.empty() && !cube.good_bands[static_cast<size_t>(b)])
      ++scene.bad;
    else
      scene.bands.push_back(b);
  }
  TS_CHECK(!scene.bands.empty(), "bigset: ", cube.name, ": of ", cube.bands(), " bands ",
           scene.constant, " are constant and ", scene.bad, " bad: none is left");
  const auto bands = std::ssize(scene.bands);
  scene.spectra = Tensor::zeros({cube.pixels(), bands}, DType::f64, Device::cpu());
  const auto to = scene.spectra.host_mutable<double>();
  const Tensor wide = autograd::convert(cube.values, DType::f64);
  const auto from = wide.host<double>();
  for (int64_t p = 0; p < cube.pixels(); ++p) {
    scene.valid.push_back(cube.is_valid(p));
    if (!scene.valid.back()) continue;
    for (int64_t k = 0; k < bands; ++k)
      to[static_cast<size_t>(p * bands + k)] =
          from[static_cast<size_t>(p * cube.bands() + scene.bands[static_cast<size_t>(k)])];
  }
  if (cube.truth.defined()) scene.truth = bytes_of(cube.truth);
  return scene;
}

Scene normalised(const Scene& scene, Normalisation normalisation) {
  if (normalisation == Normalisation::none) return scene;
  const auto bands = static_cast<size_t>(scene.spectra.size(1));
  const auto pixels = static_cast<double>(scene.valid_pixels());
  std::vector<double> shift(bands), scale(bands, 1.0);
  if (normalisation == Normalisation::zscore_band) {
    std::vector<double> squares(bands);
    for_valid(scene, [&](size_t, std::span<const double> x) {
      for (size_t b = 0; b < bands; ++b) shift[b] += x[b] / pixels;
    });
    for_valid(scene, [&](size_t, std::span<const double> x) {
      for (size_t b = 0; b < bands; ++b) squares[b] += (x[b] - shift[b]) * (x[b] - shift[b]);
    });
    for (size_t b = 0; b < bands; ++b) scale[b] = std::sqrt(squares[b] / pixels);
  } else {
    std::vector<double> least(bands, std::numeric_limits<double>::infinity()),
        greatest(bands, -std::numeric_limits<double>::infinity());
    for_valid(scene, [&](size_t, std::span<const double> x) {
      for (size_t b = 0; b < bands; ++b) {
        least[b] = std::min(least[b], x[b]);
        greatest[b] = std::max(greatest[b], x[b]);
      }
    });
    if (normalisation == Normalisation::minmax_image) {
      std::fill(least.begin(), least.end(), *std::min_element(least.begin(), least.end()));
      std::fill(greatest.begin(), greatest.end(),
                *std::max_element(greatest.begin(), greatest.end()));
    }
    shift = least;
    for (size_t b = 0; b < bands; ++b) scale[b] = greatest[b] - least[b];
  }
  Scene result = scene;
  result.spectra = scene.spectra.clone();
  const auto to = result.spectra.host_mutable<double>();
  for_valid(scene, [&](size_t p, std::span<const double> x) {
    for (size_t b = 0; b < bands; ++b)
      to[p * bands + b] = (x[b] - shift[b]) / (scale[b] > 0 ? scale[b] : 1.0);
  });
  return result;
}

Scene with_bands(const Scene& scene, std::span<const int64_t> positions) {
  const auto bands = static_cast<size_t>(scene.spectra.size(1));
  Scene result = scene;
  result.bands.clear();
  for (const int64_t k : positions) result.bands.push_back(scene.bands.at(static_cast<size_t>(k)));
  result.spectra =
      Tensor::empty({scene.pixels(), std::ssize(positions)}, DType::f64, Device::cpu());
  const auto from = scene.spectra.host<double>();
  const auto to = result.spectra.host_mutable<double>();
  for (size_t p = 0, at = 0; p < scene.valid.size(); ++p)
    for (const int64_t k : positions) to[at++] = from[p * bands + static_cast<size_t>(k)];
  return result;
}

std::vector<int64_t> select_bands(const Scene& scene, int64_t count) {
  const auto bands = static_cast<size_t>(scene.spectra.size(1));
  TS_CHECK(count >= 1 && count <= static_cast<int64_t>(bands), "select_bands: ", count, " of ",
           bands, " bands");
  // the variance of a band decides the first; every later length is that of the raw column
  std::vector<double> mean(bands), variance(bands);
  const auto pixels = static_cast<double>(scene.valid_pixels());
  for_valid(scene, [&](size_t, std::span<const double> x) {
    for (size_t b = 0; b < bands; ++b) mean[b] += x[b] / pixels;
  });
  for_valid(scene, [&](size_t, std::span<const double> x) {
    for (size_t b = 0; b < bands; ++b) variance[b] += (x[b] - mean[b]) * (x[b] - mean[b]);
  });
  auto inner = autograd::gram(autograd::Var(scene.spectra)).value().values<double>();
  std::vector<int64_t> chosen;
  std::vector<uint8_t> taken(bands);
  auto last =
      static_cast<size_t>(std::max_element(variance.begin(), variance.end()) - variance.begin());
  while (true) {
    chosen.push_back(static_cast<int64_t>(last));
    taken[last] = 1;
    if (std::ssize(chosen) == count) break;
    // y_t <- y_t - y_s <y_s, y_t> / (|y_s|^2 + 1e-9), in terms of inner products
    const double length = inner[last * bands + last];
    std::vector<double> along(bands);
    for (size_t t = 0; t < bands; ++t) along[t] = taken[t] ? 0 : inner[last * bands + t];
    const double divisor = length + 1e-9;
    for (size_t t = 0; t < bands; ++t)
      for (size_t u = 0; u < bands; ++u)
        inner[t * bands + u] -= along[t] * along[u] * (2 / divisor - length / (divisor * divisor));
    size_t next = bands;
    for (size_t t = 0; t < bands; ++t)
      if (!taken[t] && (next == bands || inner[t * bands + t] > inner[next * bands + next]))
        next = t;
    last = next;
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace tessera::algorithms::bigset
