#include "tessera/models/spectral_basis.hpp"

#include <algorithm>
#include <cmath>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/autograd/pixels.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::models {
namespace {

using autograd::Var;

size_t at(int64_t i) { return static_cast<size_t>(i); }

int64_t count_valid(const Tensor& x, const Tensor& valid) {
  if (!valid.defined()) return x.numel() / std::max<int64_t>(1, x.size(-1));
  const Tensor host = valid.to(Device::cpu()).clone();
  const auto* bytes = static_cast<const uint8_t*>(host.data());
  return std::count_if(bytes, bytes + host.numel(), [](uint8_t b) { return b != 0; });
}

/// (count * product - a * b) / count in 128 bits: what is left of large sums is exact.
double covariance(int64_t product, int64_t a, int64_t b, int64_t count) {
  __extension__ typedef __int128 Wide;
  const Wide difference = static_cast<Wide>(product) * count - static_cast<Wide>(a) * b;
  return static_cast<double>(difference) / static_cast<double>(count);
}

}  // namespace

void GramSum::begin(const Tensor& x, const Tensor& valid) {
  const int64_t n = x.size(-1);
  const bool exact = x.dtype() == DType::i16 || x.dtype() == DType::u16;
  const DType dtype = exact ? DType::i64 : DType::f64;
  dtype_ = x.dtype();
  gram_ = Tensor::zeros({n, n}, dtype, x.device());
  sums_ = Tensor::zeros({n}, dtype, x.device());
  if (!centred_ || exact) return;
  const int64_t pixels = x.numel() / std::max<int64_t>(1, n),
                some = x.rank() == 2 ? std::min<int64_t>(pixels, 64) : 1;
  const Tensor first = x.narrow(0, 0, std::min(some, x.size(0)));
  const Tensor counts = valid.defined() ? valid.narrow(0, 0, first.size(0)).clone() : Tensor();
  const int64_t counted = count_valid(first, counts);
  if (counted == 0) return;  // another shift than 0 only saves digits
  const Tensor sums = Tensor::zeros({n}, DType::f64, x.device());
  autograd::add_gram(first, Tensor::zeros({n, n}, DType::f64, x.device()), sums, {{}, counts});
  pilot_ = (Var(sums) * (1 / static_cast<double>(counted))).value();
}

void GramSum::add(const Tensor& x, const Tensor& valid) {
  TS_CHECK(x.rank() == 2 || x.rank() == 3, "spectral_basis: expected [rows, columns, bands] or ",
           "[pixels, bands], got ", x);
  if (!gram_.defined()) begin(x, valid);
  TS_CHECK(x.size(-1) == gram_.size(0) && x.dtype() == dtype_, "spectral_basis: a slab ", x,
           " after slabs ", dtype_, " of ", gram_.size(0), " bands");
  autograd::named("spectral_basis", [&] { autograd::add_gram(x, gram_, sums_, {pilot_, valid}); });
  pixels_ += count_valid(x, valid);
  TS_CHECK(!exact() || pixels_ < (int64_t{1} << 31), "spectral_basis: ", pixels_,
           " pixels of 16-bit numbers may overflow 64-bit sums");
}

std::vector<double> GramSum::gram(std::vector<double>& mean) const {
  const int64_t n = gram_.size(0);
  const auto count = static_cast<double>(pixels_);
  std::vector<double> g(at(n * n));
  mean.clear();
  if (exact()) {
    const auto product = gram_.values<int64_t>(), sum = sums_.values<int64_t>();
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        g[at(i * n + j)] = centred_
                               ? covariance(product[at(i * n + j)], sum[at(i)], sum[at(j)], pixels_)
                               : static_cast<double>(product[at(i * n + j)]);
    for (const int64_t s : sum) mean.push_back(static_cast<double>(s) / count);
    return g;
  }
  g = gram_.values<double>();
  const auto sum = sums_.values<double>();
  const auto pilot = pilot_.defined() ? pilot_.values<double>() : std::vector<double>(at(n));
  for (int64_t i = 0; i < n; ++i) {
    mean.push_back(pilot[at(i)] + sum[at(i)] / count);
    for (int64_t j = 0; centred_ && j < n; ++j) g[at(i * n + j)] -= sum[at(i)] * sum[at(j)] / count;
  }
  return g;
}

SpectralBasis GramSum::basis() const {
  TS_CHECK(pixels_ > 0, "spectral_basis: no pixel counts");
  const int64_t n = gram_.size(0);
  std::vector<double> mean;
  const std::vector<double> g = gram(mean);
  std::vector<int64_t> live;  // bands of zeros have no part in the eigenvalue problem
  for (int64_t j = 0; j < n; ++j) {
    const double square = g[at(j * n + j)];
    TS_CHECK(std::isfinite(square), "spectral_basis: band ", j, " of ", n,
             " has a number that is not finite; leave its pixels out");
    if (square > 0) live.push_back(j);
  }
  const auto k = static_cast<int64_t>(live.size());
  const Device device = gram_.device();
  std::vector<double> part;
  for (const int64_t i : live)
    for (const int64_t j : live) part.push_back(g[at(i * n + j)]);
  const autograd::EighResult eigen = autograd::eigh(Tensor::from(part, {k, k}, device));

  SpectralBasis basis;
  basis.pixels = pixels_;
  basis.live = k;
  basis.sigma.assign(at(n), 0.0);
  const auto values = eigen.values.value().values<double>(),
             columns = eigen.vectors.value().values<double>();
  std::vector<double> v(at(n * n));
  for (int64_t c = 0; c < k; ++c) {
    const int64_t from = k - 1 - c;  // rising there
    basis.sigma[at(c)] = std::sqrt(std::max(0.0, values[at(from)]));
    for (int64_t i = 0; i < k; ++i) v[at(live[at(i)] * n + c)] = columns[at(i * k + from)];
  }
  int64_t c = k;  // unit vectors complete the basis
  for (int64_t j = 0; j < n; ++j)
    if (!std::binary_search(live.begin(), live.end(), j)) v[at(j * n + c++)] = 1;
  basis.v = Tensor::from(v, {n, n}, device);
  if (centred_) basis.mean = Tensor::from(mean, {n}, device);
  return basis;
}

SpectralBasis spectral_basis(const Tensor& x, const Tensor& valid, bool centred) {
  GramSum sum(centred);
  sum.add(x, valid);
  return sum.basis();
}

Tensor eigenimages(const Tensor& x, const SpectralBasis& basis, int64_t count,
                   const Tensor& valid) {
  TS_CHECK(x.rank() >= 2 && x.size(-1) == basis.v.size(0) && count >= 1 && count <= basis.v.size(1),
           "eigenimages: ", count, " of ", x, " in a basis ", basis.v);
  Shape shape{count};
  Axes last;
  for (int d = 0; d + 1 < x.rank(); ++d) {
    shape.push_back(x.size(d));
    last.push_back(d + 1);
  }
  last.push_back(0);
  const Tensor images = Tensor::empty(shape, DType::f32, x.device());
  autograd::project(x, basis.v.narrow(1, 0, count), images.permute(last), {basis.mean, valid});
  return images;
}

Tensor as_pixels(const Tensor& x) {
  switch (x.dtype()) {
    case DType::u8:
    case DType::i8:
      return autograd::convert(x, DType::i16);
    case DType::i32:
    case DType::i64:
      return autograd::convert(x, DType::f64);
    default:
      return x;
  }
}

int64_t rank_of(double rank, int64_t bands) {
  if (rank == 0) return bands;
  if (rank > 0 && rank < 1)
    return static_cast<int64_t>(std::ceil(rank * static_cast<double>(bands)));
  TS_CHECK(rank == std::floor(rank) && rank > 0, "rank ", rank,
           " is neither a share below 1 nor a whole number of vectors");
  return static_cast<int64_t>(std::min(rank, static_cast<double>(bands)));
}

int64_t components_within(const std::vector<double>& sigma, double share) {
  double total = 0, sum = 0;
  for (const double s : sigma) total += s;
  int64_t count = 0;
  for (const double s : sigma) {
    sum += s;
    if (sum > share * total) break;
    ++count;
  }
  return std::max<int64_t>(1, count);
}

}  // namespace tessera::models
