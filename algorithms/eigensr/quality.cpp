#include "tessera/algorithms/eigensr/quality.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "tessera/autograd/launch.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::eigensr {
namespace {

using Doubles = std::vector<double>;
constexpr int64_t window = 7;

/// Both cubes as numbers, pixel after pixel.
struct Pair {
  int64_t rows, columns, bands;
  Doubles x, y;

  size_t pixels() const { return static_cast<size_t>(rows * columns); }
};

Pair pair_of(const char* operation, const Tensor& reference, const Tensor& estimate) {
  TS_CHECK(reference.rank() == 3 && reference.shape() == estimate.shape(), operation,
           ": reference ", reference, " and estimate ", estimate,
           " must both be [rows, columns, bands]");
  const auto numbers = [](const Tensor& t) {
    return autograd::convert(t, DType::f64).values<double>();
  };
  return {reference.size(0), reference.size(1), reference.size(2), numbers(reference),
          numbers(estimate)};
}

/// Mean of some numbers, NaN of none.
struct Mean {
  double sum = 0;
  int64_t count = 0;

  void add(double value) { sum += value, ++count; }
  double value() const {
    return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
  }
};

double squared(double v) { return v * v; }

/// Sums of v over every 7 x 7 window inside the image, row by row of their upper left corners.
Doubles window_sums(const Doubles& v, int64_t rows, int64_t columns) {
  const int64_t across = columns - window + 1, down = rows - window + 1;
  Doubles narrow(static_cast<size_t>(rows * across)), sums(static_cast<size_t>(down * across));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < across; ++c)
      for (int64_t k = 0; k < window; ++k)
        narrow[static_cast<size_t>(r * across + c)] += v[static_cast<size_t>(r * columns + c + k)];
  for (int64_t r = 0; r < down; ++r)
    for (int64_t k = 0; k < window; ++k)
      for (int64_t c = 0; c < across; ++c)
        sums[static_cast<size_t>(r * across + c)] +=
            narrow[static_cast<size_t>((r + k) * across + c)];
  return sums;
}

double structural_similarity(const Doubles& x, const Doubles& y, int64_t rows, int64_t columns) {
  Doubles xx(x.size()), yy(x.size()), xy(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    xx[i] = x[i] * x[i], yy[i] = y[i] * y[i], xy[i] = x[i] * y[i];
  const auto sums = [&](const Doubles& v) { return window_sums(v, rows, columns); };
  const Doubles sx = sums(x), sy = sums(y), sxx = sums(xx), syy = sums(yy), sxy = sums(xy);
  constexpr double n = window * window, c1 = .01 * .01, c2 = .03 * .03;
  Mean mean;
  for (size_t i = 0; i < sx.size(); ++i) {
    const double ux = sx[i] / n, uy = sy[i] / n;
    const auto covariance = [&](double sum, double a, double b) {
      return n / (n - 1) * (sum / n - a * b);
    };
    mean.add((2 * ux * uy + c1) * (2 * covariance(sxy[i], ux, uy) + c2) /
             ((ux * ux + uy * uy + c1) *
              (covariance(sxx[i], ux, ux) + covariance(syy[i], uy, uy) + c2)));
  }
  return mean.value();
}

double mean_of(const Doubles& v) {
  Mean mean;
  for (const double value : v) mean.add(value);
  return mean.value();
}

double correlation(const Doubles& x, const Doubles& y) {
  const double mx = mean_of(x), my = mean_of(y);
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += squared(x[i] - mx);
    yy += squared(y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
  }
  return xy / std::sqrt(xx * yy);
}

bool constant(const Doubles& v) {
  return std::all_of(v.begin(), v.end(), [&](double value) { return value == v[0]; });
}

void add_angles(const Pair& p, double low, double range, Quality& q) {
  Mean sam;
  const auto bands = static_cast<size_t>(p.bands);
  for (size_t pixel = 0; pixel < p.pixels(); ++pixel) {
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = pixel * bands; i < (pixel + 1) * bands; ++i) {
      const double x = (p.x[i] - low) / range, y = (p.y[i] - low) / range;
      xx += x * x;
      yy += y * y;
      xy += x * y;
    }
    if (xx == 0 || yy == 0)
      ++q.zero_spectra;
    else  // arccos loses half the digits of small angles
      sam.add(std::atan2(std::sqrt(std::max(0.0, xx * yy - xy * xy)), xy) * 180 / std::numbers::pi);
  }
  q.sam = sam.value();
}

}  // namespace

Quality quality(const Tensor& reference, const Tensor& estimate, double scale) {
  const Pair p = pair_of("quality", reference, estimate);
  TS_CHECK(p.rows >= window && p.columns >= window && p.bands >= 1, "quality: an image of ",
           reference.shape(), " is smaller than the ", window, " x ", window,
           " window of the structural similarity");
  for (const Doubles* values : {&p.x, &p.y})
    for (const double v : *values)
      TS_CHECK(std::isfinite(v), "quality: the ", values == &p.x ? "reference" : "estimate",
               " has a number that is not finite");
  const auto [least, greatest] = std::minmax_element(p.x.begin(), p.x.end());
  const double low = *least, range = *greatest - low;
  TS_CHECK(range > 0, "quality: every number of the reference is ", low);

  Quality q;
  Mean psnr, ssim, error, relative, cc;
  Doubles x(p.pixels()), y(p.pixels());
  for (int64_t b = 0; b < p.bands; ++b) {
    double raw_sum = 0;
    Mean squares;
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t at = i * static_cast<size_t>(p.bands) + static_cast<size_t>(b);
      raw_sum += p.x[at];
      x[i] = (p.x[at] - low) / range;
      y[i] = (p.y[at] - low) / range;
      squares.add(squared(x[i] - y[i]));
    }
    const double mse = squares.value(), raw_mean = raw_sum / static_cast<double>(x.size());
    error.add(mse);
    if (mse == 0 || constant(x))
      ++q.exact_bands;
    else
      psnr.add(-10 * std::log10(mse));
    ssim.add(structural_similarity(x, y, p.rows, p.columns));
    if (raw_mean != 0) relative.add(mse * squared(range / raw_mean));
    if (!constant(x) && !constant(y)) cc.add(correlation(x, y));
  }
  q.psnr = psnr.value();
  q.ssim = ssim.value();
  q.rmse = std::sqrt(error.value());
  q.ergas = 100 / scale * std::sqrt(relative.value());
  q.cc = cc.value();
  add_angles(p, low, range, q);
  return q;
}

Tensor error_map(const Tensor& reference, const Tensor& estimate) {
  const Pair p = pair_of("error_map", reference, estimate);
  Tensor map = Tensor::empty({p.rows, p.columns}, DType::f64, Device::cpu());
  const auto to = map.host_mutable<double>();
  const auto bands = static_cast<size_t>(p.bands);
  for (size_t pixel = 0; pixel < to.size(); ++pixel) {
    Mean mean;
    for (size_t i = pixel * bands; i < (pixel + 1) * bands; ++i)
      mean.add(std::abs(p.x[i] - p.y[i]));
    to[pixel] = mean.value();
  }
  return map;
}

}  // namespace tessera::algorithms::eigensr
