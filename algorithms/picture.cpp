#include "tessera/algorithms/picture.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms {
namespace {

using Colour = std::array<double, 3>;

/// Points of the perceptually even scale "viridis", in equal steps.
constexpr Colour scale[] = {{68, 1, 84},    {72, 40, 120},  {62, 74, 137},  {49, 104, 142},
                            {38, 130, 142}, {31, 158, 137}, {53, 183, 121}, {109, 205, 89},
                            {180, 222, 44}, {253, 231, 37}};

Colour colour_of(double share) {
  if (std::isnan(share)) return {128, 128, 128};
  const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(std::size(scale) - 1);
  const size_t i = std::min(static_cast<size_t>(at), std::size(scale) - 2);
  Colour colour;
  for (size_t c = 0; c < 3; ++c)
    colour[c] = scale[i][c] + (at - static_cast<double>(i)) * (scale[i + 1][c] - scale[i][c]);
  return colour;
}

Tensor blank(int64_t height, int64_t width) {
  Tensor picture = Tensor::empty({height, width, 3}, DType::u8, Device::cpu());
  std::fill_n(static_cast<uint8_t*>(picture.data()), picture.numel(), uint8_t{255});
  return picture;
}
uint8_t* pixel(const Tensor& picture, int64_t row, int64_t column) {
  return static_cast<uint8_t*>(picture.data()) + (row * picture.size(1) + column) * 3;
}
void paint(uint8_t* at, const Colour& colour) {
  for (size_t c = 0; c < 3; ++c) at[c] = static_cast<uint8_t>(std::lround(colour[c]));
}

double value_at(const Tensor& t, int64_t i) {
  const auto at = static_cast<size_t>(i);
  if (t.dtype() == DType::f64) return t.host<double>()[at];
  if (t.dtype() == DType::f32) return t.host<float>()[at];
  if (t.dtype() == DType::i16) return t.host<int16_t>()[at];
  if (t.dtype() == DType::u16) return t.host<uint16_t>()[at];
  return t.host<int32_t>()[at];
}

}  // namespace

Tensor colour_map(std::span<const double> values, int64_t rows, int64_t columns, double low,
                  double high) {
  TS_CHECK(std::ssize(values) == rows * columns, "colour_map: ", values.size(), " values for ",
           rows, " x ", columns);
  const Tensor picture = blank(rows, columns);
  for (int64_t i = 0; i < rows * columns; ++i) {
    const double v = values[static_cast<size_t>(i)];
    paint(pixel(picture, 0, i), colour_of(high > low ? (v - low) / (high - low) : 0 * v));
  }
  return picture;
}

Tensor colour_bar(int64_t height, int64_t width) {
  const Tensor picture = blank(height, width);
  for (int64_t r = 0; r < height; ++r)
    for (int64_t c = 0; c < width; ++c)
      paint(pixel(picture, r, c),
            colour_of(1 - (static_cast<double>(r) + 0.5) / static_cast<double>(height)));
  return picture;
}

Tensor pseudo_rgb(const models::Cube& cube) {
  const int64_t bands = cube.bands();
  std::array<int64_t, 3> chosen{bands - 1, bands / 2, 0};
  const auto& waves = cube.wavelengths;
  if (!waves.empty() && *std::min_element(waves.begin(), waves.end()) <= 470 &&
      *std::max_element(waves.begin(), waves.end()) >= 630) {
    constexpr double wanted[] = {640, 550, 460};
    for (size_t c = 0; c < 3; ++c)
      chosen[c] = std::min_element(waves.begin(), waves.end(),
                                   [&](double a, double b) {
                                     return std::abs(a - wanted[c]) < std::abs(b - wanted[c]);
                                   }) -
                  waves.begin();
  }
  const Tensor picture = blank(cube.rows(), cube.columns());
  for (size_t c = 0; c < 3; ++c) {
    std::vector<double> valid;
    for (int64_t p = 0; p < cube.pixels(); ++p)
      if (cube.is_valid(p)) valid.push_back(value_at(cube.values, p * bands + chosen[c]));
    std::sort(valid.begin(), valid.end());
    const auto percentile = [&](double share) {
      return valid[static_cast<size_t>(share * static_cast<double>(valid.size() - 1))];
    };
    const double low = percentile(0.02), high = percentile(0.98);
    for (int64_t p = 0; p < cube.pixels(); ++p) {
      const double v = value_at(cube.values, p * bands + chosen[c]);
      const double share = high > low ? std::clamp((v - low) / (high - low), 0.0, 1.0) : 0.5;
      pixel(picture, 0, p)[c] =
          cube.is_valid(p) ? static_cast<uint8_t>(std::lround(255 * std::sqrt(share))) : 0;
    }
  }
  return picture;
}

Tensor black_and_white(std::span<const uint8_t> mask, int64_t rows, int64_t columns) {
  TS_CHECK(std::ssize(mask) == rows * columns, "black_and_white: ", mask.size(), " values for ",
           rows, " x ", columns);
  const Tensor picture = blank(rows, columns);
  for (int64_t i = 0; i < rows * columns; ++i)
    std::fill_n(pixel(picture, 0, i), 3, mask[static_cast<size_t>(i)] ? uint8_t{255} : uint8_t{0});
  return picture;
}

Tensor line_picture(const Curve& curve, int64_t height, int64_t width) {
  TS_CHECK(curve.x.size() == curve.y.size() && curve.x.size() > 1 && height > 1 && width > 1,
           "line_picture: ", curve.x.size(), " points for ", height, " x ", width);
  const Tensor picture = blank(height, width);
  const auto [low, high] = std::minmax_element(curve.y.begin(), curve.y.end());
  const double floor = std::floor(*low), ceiling = std::max(std::ceil(*high), floor + 1);
  const auto row_of = [&](double y) {
    return std::lround((ceiling - y) / (ceiling - floor) * static_cast<double>(height - 1));
  };
  for (int64_t line = 0; line <= std::lround(ceiling - floor); ++line) {
    const int64_t row = row_of(floor + static_cast<double>(line));
    for (int64_t c = 0; c < width; ++c) paint(pixel(picture, row, c), {210, 210, 210});
  }
  size_t segment = 0;
  int64_t before = row_of(curve.y.front());
  for (int64_t c = 0; c < width; ++c) {
    const double x = curve.x.front() + (curve.x.back() - curve.x.front()) * static_cast<double>(c) /
                                           static_cast<double>(width - 1);
    while (segment + 2 < curve.x.size() && curve.x[segment + 1] < x) ++segment;
    const double t = (x - curve.x[segment]) / (curve.x[segment + 1] - curve.x[segment]);
    const int64_t row = row_of(curve.y[segment] + t * (curve.y[segment + 1] - curve.y[segment]));
    for (int64_t r = std::min(before, row); r <= std::max(before, row); ++r)
      paint(pixel(picture, r, c), scale[1]);
    before = row;
  }
  return picture;
}

Tensor enlarged(const Tensor& picture, int64_t factor) {
  const Tensor large = blank(picture.size(0) * factor, picture.size(1) * factor);
  for (int64_t r = 0; r < large.size(0); ++r)
    for (int64_t c = 0; c < large.size(1); ++c)
      std::copy_n(pixel(picture, r / factor, c / factor), 3, pixel(large, r, c));
  return large;
}

Tensor side_by_side(const std::vector<Tensor>& pictures, int64_t gap) {
  TS_CHECK(!pictures.empty(), "side_by_side: no pictures");
  int64_t height = 0, width = gap * (std::ssize(pictures) - 1);
  for (const Tensor& p : pictures) {
    height = std::max(height, p.size(0));
    width += p.size(1);
  }
  const Tensor all = blank(height, width);
  int64_t left = 0;
  for (const Tensor& p : pictures) {
    for (int64_t r = 0; r < p.size(0); ++r)
      std::copy_n(pixel(p, r, 0), p.size(1) * 3, pixel(all, r, left));
    left += p.size(1) + gap;
  }
  return all;
}

}  // namespace tessera::algorithms
