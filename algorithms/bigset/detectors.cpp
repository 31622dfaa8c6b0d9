#include "tessera/algorithms/bigset/detectors.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/pixels.hpp"
#include "tessera/models/spectral_basis.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::bigset {
namespace {

using autograd::Var;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t batch_pixels = 64;
/// A ring of one spectrum is given this share of the scene's spread: what is left of the rounding
/// of its inner products is less, and a pixel unlike the ring is far from it, not infinitely far.
constexpr double least_spread = 1e-8;

/// The spectra of valid pixels, less their mean: [n, bands].
Tensor centred(const Scene& scene) {
  Tensor spectra = scene.spectra;
  if (const int64_t n = scene.valid_pixels(); n < scene.pixels()) {
    const auto bands = scene.spectra.size(1);
    spectra = Tensor::empty({n, bands}, DType::f64, Device::cpu());
    const auto from = scene.spectra.host<double>();
    auto to = spectra.host_mutable<double>().begin();
    for (size_t p = 0; p < scene.valid.size(); ++p)
      if (scene.valid[p])
        to = std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(p) * bands, bands, to);
  }
  const Var x(spectra);
  return (x - autograd::mean(x, {0}, true)).value();
}

Tensor identity(int64_t n) {
  Tensor ones = Tensor::zeros({n, n}, DType::f64, Device::cpu());
  for (int64_t i = 0; i < n; ++i) ones.host_mutable<double>()[static_cast<size_t>(i * n + i)] = 1;
  return ones;
}

/// L L' = s + ridge I with the least ridge of 0, 1e-10, 1e-8, ... of the mean diagonal that works.
Var factor_with_ridge(const Tensor& s) {
  const auto n = static_cast<size_t>(s.size(0));
  double trace = 0;
  for (size_t b = 0; b < n; ++b) trace += s.host<double>()[b * n + b];
  double ridge = 0;
  while (ridge < 1) {
    Tensor raised = s.clone();
    for (size_t b = 0; b < n; ++b)
      raised.host_mutable<double>()[b * n + b] += ridge * trace / static_cast<double>(n);
    try {
      return autograd::cholesky(Var(raised));
    } catch (const Error&) {
      if (ridge > 1e-3) throw;
    }
    ridge = ridge == 0 ? 1e-10 : 100 * ridge;
  }
  throw Error(ErrorKind::invalid_argument, "global_rx: the covariance cannot be factored");
}

/// Inner products of the spectra of pixels that are at most `reach` rows and columns apart, of
/// which each pair is stored once.
class NearProducts {
 public:
  NearProducts(const Tensor& spectra, int64_t rows, int64_t columns, int64_t reach)
      : columns_(columns), reach_(reach), width_(2 * reach + 1) {
    table_.resize(static_cast<size_t>(rows * columns * (reach + 1) * width_));
    const auto row_of = [&](int64_t r) { return Var(spectra.narrow(0, r * columns, columns)); };
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t down = 0; down <= reach && r + down < rows; ++down) {
        const Tensor block =
            autograd::matmul(row_of(r), autograd::transpose(row_of(r + down), 0, 1)).value();
        const auto products = block.host<double>();
        for (int64_t c = 0; c < columns; ++c)
          for (int64_t d = std::max<int64_t>(0, c - reach); d <= std::min(columns - 1, c + reach);
               ++d)
            table_[at(r * columns + c, down, d - c)] =
                products[static_cast<size_t>(c * columns + d)];
      }
  }

  double operator()(int64_t p, int64_t q) const {
    if (p > q) std::swap(p, q);
    return table_[at(p, q / columns_ - p / columns_, q % columns_ - p % columns_)];
  }

 private:
  size_t at(int64_t p, int64_t down, int64_t across) const {
    return static_cast<size_t>((p * (reach_ + 1) + down) * width_ + across + reach_);
  }
  int64_t columns_, reach_, width_;
  std::vector<double> table_;
};

void check_windows(std::string_view name, const Scene& scene, const Windows& w) {
  TS_CHECK(w.inner >= 1 && w.outer > w.inner && w.inner % 2 == 1 && w.outer % 2 == 1, name,
           ": windows of ", w.inner, " and ", w.outer, " pixels; expected two odd numbers, rising");
  TS_CHECK(scene.rows > w.outer / 2 && scene.columns > w.outer / 2, name, ": an image of ",
           scene.rows, " x ", scene.columns, " pixels is too small for a window of ", w.outer);
}

/// The valid pixels of the ring about pixel p.
std::vector<int64_t> ring(const Scene& scene, const Windows& w, int64_t p) {
  const int64_t row = p / scene.columns, column = p % scene.columns, outer = w.outer / 2,
                inner = w.inner / 2;
  std::vector<int64_t> pixels;
  for (int64_t dr = -outer; dr <= outer; ++dr)
    for (int64_t dc = -outer; dc <= outer; ++dc) {
      if (std::abs(dr) <= inner && std::abs(dc) <= inner) continue;
      const int64_t q =
          mirrored(row + dr, scene.rows) * scene.columns + mirrored(column + dc, scene.columns);
      if (scene.valid[static_cast<size_t>(q)]) pixels.push_back(q);
    }
  return pixels;
}

/// What a local detector makes of one pixel: a symmetric positive definite system, and the score of
/// its solution.
struct LocalSystem {
  std::span<double> matrix, right_side;  // [s, s], [s]
  double constant = 0;
};
using Setup = std::function<void(int64_t pixel, const std::vector<int64_t>& ring, LocalSystem&)>;
/// Of the whitened right side L^-1 b and, where `solves`, of the solution.
using Score = std::function<double(int64_t pixel, const std::vector<int64_t>& ring,
                                   const LocalSystem&, std::span<const double> result)>;

/// Sets up the systems of all valid pixels and solves them in batches of equal size. `result` is
/// L^-1 b or, with `solves`, (L L')^-1 b.
std::vector<double> local_scores(std::string_view name, const Scene& scene, const Windows& w,
                                 bool solves, const Setup& setup, const Score& score) {
  std::map<size_t, std::vector<int64_t>> by_size;  // pixels by the size of their rings
  for (int64_t p = 0; p < scene.pixels(); ++p)
    if (scene.valid[static_cast<size_t>(p)]) by_size[ring(scene, w, p).size()].push_back(p);
  std::vector<double> scores(static_cast<size_t>(scene.pixels()), nan);
  for (const auto& [size, pixels] : by_size) {
    TS_CHECK(size >= 2, name, ": a pixel whose ring has ", size, " valid pixels");
    const auto s = static_cast<int64_t>(size);
    for (size_t first = 0; first < pixels.size(); first += batch_pixels) {
      if (stop_requested()) throw Error(ErrorKind::cancelled, concat(name, ": interrupted"));
      const auto count =
          static_cast<int64_t>(std::min<size_t>(batch_pixels, pixels.size() - first));
      const Tensor matrices = Tensor::empty({count, s, s}, DType::f64, Device::cpu()),
                   sides = Tensor::empty({count, s, 1}, DType::f64, Device::cpu());
      std::vector<LocalSystem> systems(static_cast<size_t>(count));
      std::vector<std::vector<int64_t>> rings;
      for (int64_t i = 0; i < count; ++i) {
        auto& system = systems[static_cast<size_t>(i)];
        system.matrix = {static_cast<double*>(matrices.data()) + i * s * s,
                         static_cast<size_t>(s * s)};
        system.right_side = {static_cast<double*>(sides.data()) + i * s, size};
        const int64_t p = pixels[first + static_cast<size_t>(i)];
        rings.push_back(ring(scene, w, p));
        setup(p, rings.back(), system);
      }
      const Var factor = autograd::cholesky(Var(matrices));
      Var result = autograd::triangular_solve(factor, Var(sides));
      if (solves) result = autograd::triangular_solve(factor, result, {.transposed = true});
      const auto all = result.value().host<double>();
      for (size_t i = 0; i < systems.size(); ++i) {
        const int64_t p = pixels[first + i];
        scores[static_cast<size_t>(p)] =
            score(p, rings[i], systems[i], all.subspan(i * size, size));
      }
    }
  }
  return scores;
}

}  // namespace

std::vector<double> global_rx(const Scene& scene) {
  TS_CHECK(scene.valid_pixels() >= 2, "global_rx: ", scene.valid_pixels(),
           " valid pixels; at least 2 are needed");
  const int64_t pixels = scene.pixels(), bands = scene.spectra.size(1);
  const Tensor valid =
      autograd::convert(Tensor::from(scene.valid, {pixels}, Device::cpu()), DType::bool_);
  models::GramSum sum(true);
  sum.add(scene.spectra, valid);
  std::vector<double> mean;
  const Var gram(Tensor::from(sum.gram(mean), {bands, bands}, Device::cpu()));
  const Var factor =
      factor_with_ridge((gram * (1 / static_cast<double>(sum.pixels() - 1))).value());
  // |L^-1 d|^2, and L^-1 is triangular
  const Var inverse = autograd::triangular_solve(factor, Var(identity(bands)));
  const Tensor basis = autograd::contiguous(autograd::transpose(inverse, 0, 1).value()),
               shift = Tensor::from(mean, {bands}, Device::cpu());
  const Tensor distances = Tensor::empty({pixels}, DType::f64, Device::cpu());
  autograd::project(scene.spectra, basis, distances, {.shift = shift, .upper = true});
  std::vector<double> scores = distances.values<double>();
  for (size_t p = 0; p < scores.size(); ++p)
    if (!scene.valid[p]) scores[p] = nan;
  return scores;
}

// With R the ring less its mean and d = x - m: (R'R / (s - 1) + rho I)^-1 applied to d gives
// (|d|^2 - (R d)' (R R' + rho (s - 1) I)^-1 R d) / rho.
std::vector<double> local_rx(const Scene& scene, const Windows& windows, double shrinkage) {
  TS_CHECK(shrinkage > 0, "local_rx: shrinkage ", shrinkage, " is not positive");
  check_windows("local_rx", scene, windows);
  Scene about_mean = scene;
  double scene_spread = 0;  // the mean squared distance of a spectrum to the mean
  {
    const auto bands = static_cast<size_t>(scene.spectra.size(1));
    about_mean.spectra = Tensor::zeros(scene.spectra.shape(), DType::f64, Device::cpu());
    const Tensor rows = centred(scene);
    const auto from = rows.host<double>();
    for (const double x : from) scene_spread += x * x / static_cast<double>(rows.size(0));
    const auto to = about_mean.spectra.host_mutable<double>();
    for (size_t p = 0, at = 0; p < scene.valid.size(); ++p)
      if (scene.valid[p]) {
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(at), bands,
                    to.begin() + static_cast<std::ptrdiff_t>(p * bands));
        at += bands;
      }
  }
  const NearProducts products(about_mean.spectra, scene.rows, scene.columns, windows.outer - 1);
  const auto bands = static_cast<double>(scene.spectra.size(1));
  std::vector<double> rho(static_cast<size_t>(scene.pixels()));
  const auto setup = [&](int64_t p, const std::vector<int64_t>& near, LocalSystem& system) {
    const size_t s = near.size();
    std::vector<double> row_mean(s), to_centre(s);
    double mean = 0, centre_mean = 0, trace = 0;
    for (size_t i = 0; i < s; ++i) {
      to_centre[i] = products(p, near[i]);
      for (size_t j = 0; j <= i; ++j)
        system.matrix[i * s + j] = system.matrix[j * s + i] = products(near[i], near[j]);
    }
    const auto count = static_cast<double>(s);
    for (size_t i = 0; i < s; ++i) {
      for (size_t j = 0; j < s; ++j) row_mean[i] += system.matrix[i * s + j] / count;
      mean += row_mean[i] / count;
      centre_mean += to_centre[i] / count;
    }
    for (size_t i = 0; i < s; ++i) {
      system.right_side[i] = to_centre[i] - row_mean[i] - centre_mean + mean;
      for (size_t j = 0; j < s; ++j) system.matrix[i * s + j] += mean - row_mean[i] - row_mean[j];
      trace += system.matrix[i * s + i];
    }
    const double spread = std::max(trace / (count - 1), least_spread * scene_spread);
    rho[static_cast<size_t>(p)] = shrinkage * spread / bands;
    for (size_t i = 0; i < s; ++i)
      system.matrix[i * s + i] += rho[static_cast<size_t>(p)] * (count - 1);
    system.constant = std::max(0.0, products(p, p) - 2 * centre_mean + mean);
  };
  const auto score = [&](int64_t p, const std::vector<int64_t>&, const LocalSystem& system,
                         std::span<const double> white) {
    double explained = 0;
    for (const double v : white) explained += v * v;
    return std::max(0.0, system.constant - explained) / rho[static_cast<size_t>(p)];
  };
  return local_scores("local_rx", scene, windows, false, setup, score);
}

std::vector<double> collaborative(const Scene& scene, const Windows& windows, double lambda,
                                  double jitter) {
  TS_CHECK(lambda >= 0 && jitter >= 0, "collaborative: lambda ", lambda, ", jitter ", jitter);
  check_windows("collaborative", scene, windows);
  const NearProducts products(scene.spectra, scene.rows, scene.columns, windows.outer - 1);
  const auto setup = [&](int64_t p, const std::vector<int64_t>& near, LocalSystem& system) {
    const size_t s = near.size();
    const double own = products(p, p);
    double trace = 0;
    for (size_t i = 0; i < s; ++i) {
      for (size_t j = 0; j <= i; ++j)
        system.matrix[i * s + j] = system.matrix[j * s + i] = products(near[i], near[j]);
      trace += system.matrix[i * s + i];
    }
    for (size_t i = 0; i < s; ++i) {
      system.right_side[i] = products(p, near[i]);
      const double apart =
          std::max(0.0, own - 2 * system.right_side[i] + products(near[i], near[i]));
      system.matrix[i * s + i] += lambda * apart + jitter * trace / static_cast<double>(s) +
                                  std::numeric_limits<double>::min();  // a ring of zeros
    }
  };
  // |y - A w| from the spectra: of inner products little would be left, where the ring has more
  // pixels than there are bands and y is fitted closely
  const auto spectra = scene.spectra.host<double>();
  const auto bands = static_cast<size_t>(scene.spectra.size(1));
  std::vector<double> residual(bands);
  const auto score = [&](int64_t p, const std::vector<int64_t>& near, const LocalSystem&,
                         std::span<const double> w) {
    const auto spectrum = [&](int64_t q) {
      return spectra.subspan(static_cast<size_t>(q) * bands, bands);
    };
    const auto y = spectrum(p);
    std::copy(y.begin(), y.end(), residual.begin());
    for (size_t i = 0; i < w.size(); ++i) {
      const auto a = spectrum(near[i]);
      for (size_t b = 0; b < bands; ++b) residual[b] -= w[i] * a[b];
    }
    double squares = 0;
    for (const double r : residual) squares += r * r;
    return std::sqrt(squares);
  };
  return local_scores("collaborative", scene, windows, true, setup, score);
}

}  // namespace tessera::algorithms::bigset
