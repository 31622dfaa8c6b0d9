#include "tessera/models/spectral_svd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/pixels.hpp"
#include "tessera/models/init.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::models {
namespace {

using autograd::Var;

constexpr double epsilon = std::numeric_limits<double>::epsilon();
constexpr int64_t piece_pixels = 8192;  // whose products with small matrices are kept at a time
constexpr std::string_view method_names[] = {"automatic", "gram", "cholesky_qr", "randomized"};

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// Pieces of whole rows of a slab, of about piece_pixels pixels.
void for_each_piece(const Tensor& x, const Tensor& valid, const Slab& body) {
  const int64_t columns = x.rank() == 3 ? std::max<int64_t>(1, x.size(1)) : 1;
  const int64_t rows = std::max<int64_t>(1, piece_pixels / columns);
  for (int64_t first = 0; first < x.size(0); first += rows) {
    const int64_t count = std::min(rows, x.size(0) - first);
    body(x.narrow(0, first, count), valid.defined() ? valid.narrow(0, first, count) : valid);
  }
}

Shape with_bands(const Tensor& x, int64_t bands) {
  Shape shape = x.shape();
  shape[shape.rank() - 1] = bands;
  return shape;
}

/// A piece in f64, around the mean; pixels that are not valid are 0.
Var widened(const Tensor& x, const Tensor& valid, const Tensor& mean) {
  Var wide = autograd::convert(x, DType::f64);
  if (mean.defined()) wide = wide - Var(mean);
  if (!valid.defined()) return wide;
  const Tensor zero = autograd::full({1}, 0, DType::f64, x.device());
  return autograd::select("spectral_svd", valid.unsqueeze(valid.rank()), wide.value(), zero);
}

/// A times small matrices one after the other.
struct Chain {
  std::vector<Tensor> factors;  // f64
  Tensor mean;                  // subtracted from A; undefined: nothing

  /// The product for a piece; `last`, where defined, takes it, else it is f64.
  Tensor of(const Tensor& x, const Tensor& valid, const Tensor& last = {}) const {
    Tensor y = x;
    for (size_t i = 0; i < factors.size(); ++i) {
      const Tensor next =
          i + 1 == factors.size() && last.defined()
              ? last
              : Tensor::empty(with_bands(x, factors[i].size(1)), DType::f64, x.device());
      autograd::project(y, factors[i], next, {i == 0 ? mean : Tensor(), valid});
      y = next;
    }
    return y;
  }
  /// The Gram matrix of the product.
  Tensor gram(const Slabs& slabs) const {
    const int64_t k = factors.back().size(1);
    const Tensor g = Tensor::zeros({k, k}, DType::f64, factors.back().device());
    slabs([&](const Tensor& slab, const Tensor& slab_valid) {
      for_each_piece(slab, slab_valid, [&](const Tensor& x, const Tensor& valid) {
        autograd::add_gram(of(x, valid), g, {});
      });
    });
    return g;
  }
};

/// Eigenvalues, falling, and eigenvectors as columns.
struct Eigen {
  std::vector<double> values;
  Tensor vectors;
  explicit Eigen(const Tensor& g) {
    const autograd::EighResult rising = autograd::eigh(g);
    values = autograd::flip(rising.values, 0).value().values<double>();
    vectors = autograd::contiguous(autograd::flip(rising.vectors, 1).value());
  }
};

Tensor columns(const Tensor& x, int64_t count) {
  return autograd::contiguous(x.narrow(1, 0, count));
}

/// The leading columns of v, each times its factor.
Tensor scaled(const Tensor& v, const std::vector<double>& factor) {
  const auto count = static_cast<int64_t>(factor.size());
  return (Var(columns(v, count)) * Var(Tensor::from(factor, {1, count}, v.device()))).value();
}

/// q [rows, known] completed by orthonormal columns to `count`; rows that are not valid stay 0.
Tensor completed(const Tensor& q, int64_t count, const Tensor& valid, Rng rng) {
  const int64_t missing = count - q.size(1);
  if (missing == 0) return q;
  const Tensor numbers = normal({q.size(0), missing}, 1, rng).to(q.device());
  Var extra = widened(numbers, valid, {});
  const Var known(q), known_t = autograd::transpose(known, 0, 1);
  for (int pass = 0; pass < 2; ++pass) {
    if (q.size(1) > 0) extra = extra - autograd::matmul(known, autograd::matmul(known_t, extra));
    extra = autograd::qr(extra).q;
  }
  if (valid.defined()) extra = widened(extra.value(), valid, {});
  const Var both[] = {known, extra};
  return autograd::concat(both, 1).value();
}

/// In every column of v the component of largest magnitude becomes positive; columns of `other`
/// turn along.
void fix_signs(Tensor& v, Tensor& other) {
  std::vector<double> values = v.values<double>(), sign;
  for (int64_t j = 0; j < v.size(1); ++j) {
    double largest = 0;
    for (int64_t i = 0; i < v.size(0); ++i)
      if (const double x = values[at(i * v.size(1) + j)]; std::abs(x) > std::abs(largest))
        largest = x;
    sign.push_back(largest < 0 ? -1 : 1);
  }
  v = scaled(v, sign);
  other = scaled(other, sign);
}

/// S and V, and the chain that makes the columns of U whose singular values are not 0.
struct Found {
  SpectralSvd svd;
  Chain chain;
};

int64_t wanted_rank(const SvdOptions& options, int64_t bands, int64_t pixels) {
  return std::min(rank_of(options.rank, bands), pixels);
}

/// U = A V S^-1. Singular values below what a Gram matrix resolves have no part in the chain.
Found from_basis(const SpectralBasis& basis, int64_t k) {
  Found found;
  const int64_t n = basis.v.size(0);
  const double resolved = std::sqrt(static_cast<double>(n) * epsilon) * basis.sigma[0];
  std::vector<double> inverse;
  for (int64_t i = 0; i < k && basis.sigma[at(i)] > resolved; ++i)
    inverse.push_back(1 / basis.sigma[at(i)]);
  found.svd.v = columns(basis.v, k);
  found.svd.sigma.assign(basis.sigma.begin(), basis.sigma.begin() + k);
  found.svd.rank = static_cast<int64_t>(inverse.size());
  found.svd.method = SvdMethod::gram;
  found.svd.passes = 1;
  found.chain = {{scaled(basis.v, inverse)}, basis.mean};
  return found;
}

/// CholeskyQR2 and 3; `basis` is the first step's.
Found from_steps(const Slabs& slabs, const SpectralBasis& basis, int64_t k) {
  const double n = static_cast<double>(basis.v.size(0));
  Found found;
  Chain& chain = found.chain;
  chain.mean = basis.mean;
  std::vector<double> factor, inverse;
  const double shift = n * epsilon * basis.sigma[0] * basis.sigma[0];
  for (int64_t i = 0; i < basis.live; ++i) {
    factor.push_back(std::sqrt(basis.sigma[at(i)] * basis.sigma[at(i)] + shift));
    inverse.push_back(1 / factor.back());
  }
  chain.factors = {scaled(basis.v, inverse)};
  Var r = autograd::transpose(scaled(basis.v, factor), 0, 1);  // A = (A factors) r
  found.svd.passes = 1;
  for (bool orthonormal = false; !orthonormal; ++found.svd.passes) {
    const Eigen eigen(chain.gram(slabs));
    factor.clear();
    inverse.clear();
    for (const double value : eigen.values) {
      if (!(value > n * epsilon * eigen.values[0])) break;  // A has no such dimension
      factor.push_back(std::sqrt(value));
      inverse.push_back(1 / factor.back());
    }
    orthonormal = factor.back() > 0.1 * factor.front();
    chain.factors.push_back(scaled(eigen.vectors, inverse));
    r = autograd::matmul(autograd::transpose(scaled(eigen.vectors, factor), 0, 1), r);
  }
  const autograd::SvdResult small = autograd::svd(r);
  Tensor left = small.u.value(), v = small.v.value();
  fix_signs(v, left);
  const int64_t kept = std::min(k, v.size(1));
  chain.factors.back() = autograd::matmul(chain.factors.back(), columns(left, kept)).value();
  found.svd.v = columns(v, kept);
  found.svd.sigma = small.s.value().values<double>();
  found.svd.sigma.resize(at(kept));
  found.svd.rank = kept;
  found.svd.method = SvdMethod::cholesky_qr;
  return found;
}

/// The mean spectrum of the valid pixels, and their number.
Tensor mean_of(const Slabs& slabs, int64_t& pixels) {
  std::optional<Var> sum;
  slabs([&](const Tensor& slab, const Tensor& slab_valid) {
    for_each_piece(slab, slab_valid, [&](const Tensor& x, const Tensor& valid) {
      Axes leading;
      for (int d = 0; d + 1 < x.rank(); ++d) leading.push_back(d);
      const Var part = autograd::sum(widened(x, valid, {}), leading);
      sum = sum ? *sum + part : part;
      const Var ones = autograd::full(with_bands(x, 1), 1, DType::f64, x.device());
      pixels += std::llround(autograd::sum(widened(ones.value(), valid, {})).value().item());
    });
  });
  TS_CHECK(pixels > 0, "spectral_svd: no pixel counts");
  return (*sum * (1 / static_cast<double>(pixels))).value();
}

/// Subspace iteration on A'A, then the small problem in the subspace.
Found from_random(const Slabs& slabs, const SvdOptions& options) {
  Found found;
  Rng rng = options.rng;
  const Tensor mean = mean_of(slabs, found.svd.pixels);
  const int64_t n = mean.size(0), k = wanted_rank(options, n, found.svd.pixels),
                wide = std::min(n, k + options.oversampling);
  Var q =
      autograd::qr(autograd::convert(normal({n, wide}, 1, rng), DType::f64).to(mean.device())).q;
  found.svd.mean = found.chain.mean = options.centred ? mean : Tensor();
  found.svd.passes = 1;
  for (int64_t step = 0; step <= options.power_steps; ++step, ++found.svd.passes) {
    Var z = Tensor::zeros({n, wide}, DType::f64, mean.device());
    slabs([&](const Tensor& slab, const Tensor& slab_valid) {
      for_each_piece(slab, slab_valid, [&](const Tensor& x, const Tensor& valid) {
        const Var a = autograd::reshape(widened(x, valid, found.chain.mean), {-1, n});
        z = z + autograd::matmul(autograd::transpose(a, 0, 1), autograd::matmul(a, q));
      });
    });
    q = autograd::qr(z).q;
  }
  found.chain.factors = {q.value()};
  const Eigen eigen(found.chain.gram(slabs));
  ++found.svd.passes;
  std::vector<double> inverse;
  const double resolved = static_cast<double>(n) * epsilon * eigen.values[0];
  for (int64_t i = 0; i < k; ++i) {
    found.svd.sigma.push_back(std::sqrt(std::max(0.0, eigen.values[at(i)])));
    if (eigen.values[at(i)] > resolved) inverse.push_back(1 / found.svd.sigma.back());
  }
  Tensor v = columns(autograd::matmul(q, eigen.vectors).value(), k), same = v;
  fix_signs(v, same);
  found.svd.v = v;
  found.svd.rank = static_cast<int64_t>(inverse.size());
  found.svd.method = SvdMethod::randomized;
  found.chain.factors = {scaled(v, inverse)};
  return found;
}

Found find(const Slabs& slabs, const SvdOptions& options, bool left) {
  TS_CHECK(options.oversampling >= 0 && options.power_steps >= 0,
           "spectral_svd: oversampling and power_steps must not be negative");
  if (options.method == SvdMethod::randomized) return from_random(slabs, options);
  GramSum sum(options.centred);
  slabs([&](const Tensor& x, const Tensor& valid) { sum.add(x, valid); });
  const SpectralBasis basis = sum.basis();
  const int64_t n = basis.v.size(0), k = wanted_rank(options, n, basis.pixels);
  const auto narrowest = [&] { return basis.sigma[at(std::min(k, basis.live) - 1)]; };
  const double limit = left ? SvdOptions::gram_condition : SvdOptions::gram_condition_without_u;
  const bool refine =
      basis.live > 0 && options.method != SvdMethod::gram &&
      (options.method == SvdMethod::cholesky_qr || basis.sigma[0] > limit * narrowest());
  Found found = refine ? from_steps(slabs, basis, k) : from_basis(basis, k);
  found.svd.pixels = basis.pixels;
  found.svd.mean = basis.mean;
  found.svd.sigma.resize(at(k), 0.0);
  found.svd.v = completed(found.svd.v, k, {}, options.rng);
  return found;
}

/// U of a slab into `u`, whose columns behind the chain's stay as they are.
void left_vectors(const Chain& chain, const Tensor& slab, const Tensor& slab_valid,
                  const Tensor& u) {
  if (chain.factors.back().size(1) == 0) return;
  int64_t first = 0;
  for_each_piece(slab, slab_valid, [&](const Tensor& x, const Tensor& valid) {
    chain.of(x, valid, u.narrow(0, first, x.size(0)).narrow(-1, 0, chain.factors.back().size(1)));
    first += x.size(0);
  });
}

/// The largest element of g - I among the first `count` rows and columns.
double distance_from_identity(const Tensor& g, int64_t count) {
  const auto values = g.values<double>();
  double largest = 0;
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = 0; j < count; ++j) {
      const double error = std::abs(values[at(i * g.size(1) + j)] - (i == j ? 1 : 0));
      if (!(error <= largest)) largest = error;
    }
  return largest;
}

void check_precision(DType precision) {
  TS_CHECK(precision == DType::f32 || precision == DType::f64,
           "spectral_svd: U is f32 or f64, not ", precision);
}

}  // namespace

std::string_view to_string(SvdMethod method) { return method_names[static_cast<size_t>(method)]; }
void parse(std::string_view text, SvdMethod& method) { parse_enum(text, method_names, method); }

SpectralSvd spectral_svd(const Tensor& x, const Tensor& valid, const SvdOptions& options) {
  check_precision(options.precision);
  const Slabs whole = [&](const Slab& body) { body(x, valid); };
  Found found = find(whole, options, options.left);
  if (!options.left) return found.svd;
  const auto k = static_cast<int64_t>(found.svd.sigma.size()), known = found.svd.rank;
  Tensor u = Tensor::empty(with_bands(x, k), options.precision, x.device());
  left_vectors(found.chain, x, valid, u);
  ++found.svd.passes;
  if (known < k) {
    const int64_t pixels = u.numel() / k;
    const Tensor table = u.reshape({pixels, k}),
                 flat = valid.defined() ? autograd::contiguous(valid).reshape({pixels}) : valid;
    const Tensor all = completed(autograd::convert(table.narrow(1, 0, known), DType::f64), k, flat,
                                 options.rng.split(1));
    u = autograd::convert(all, options.precision).reshape(u.shape());
  }
  found.svd.u = std::move(u);
  return found.svd;
}

SpectralSvd spectral_svd(const Slabs& slabs, SvdOptions options, const LeftSlab& left) {
  check_precision(options.precision);
  Found found = find(slabs, options, static_cast<bool>(left));
  if (!left) return found.svd;
  const auto k = static_cast<int64_t>(found.svd.sigma.size());
  ++found.svd.passes;
  slabs([&](const Tensor& x, const Tensor& valid) {
    SpectralSvd svd = found.svd;
    svd.u = Tensor::zeros(with_bands(x, k), options.precision, x.device());
    left_vectors(found.chain, x, valid, svd.u);
    left(x, valid, svd);
  });
  return found.svd;
}

void SvdCheck::add(const Tensor& x, const Tensor& valid, const SpectralSvd& svd) {
  TS_CHECK(svd.u.defined() && svd.u.size(0) == x.size(0), "SvdCheck: U ", svd.u, " is not of ", x);
  const int64_t k = svd.u.size(-1);
  if (!gram_.defined()) gram_ = Tensor::zeros({k, k}, DType::f64, x.device());
  rank_ = svd.rank;
  autograd::add_gram(svd.u, gram_, {});
  const Tensor back =
      autograd::contiguous(autograd::transpose(scaled(svd.v, svd.sigma), 0, 1).value());
  int64_t first = 0;
  for_each_piece(x, valid, [&](const Tensor& piece, const Tensor& counts) {
    const Var a = widened(piece, counts, svd.mean);
    const Tensor made = Tensor::empty(piece.shape(), DType::f64, x.device());
    autograd::project(svd.u.narrow(0, first, piece.size(0)), back, made);
    const Var difference = a - Var(made);
    difference_ += autograd::inner_product(difference, difference).value().item();
    squares_ += autograd::inner_product(a, a).value().item();
    first += piece.size(0);
  });
}

double SvdCheck::residual() const {
  return std::sqrt(squares_ == 0 ? difference_ : difference_ / squares_);
}

double SvdCheck::orthogonality() const { return distance_from_identity(gram_, rank_); }

double relative_residual(const Tensor& x, const SpectralSvd& svd, const Tensor& valid) {
  SvdCheck check;
  check.add(x, valid, svd);
  return check.residual();
}

double orthogonality_error(const Tensor& u) {
  const int64_t k = u.size(-1);
  const Tensor g = Tensor::zeros({k, k}, DType::f64, u.device());
  autograd::add_gram(u, g, {});
  return distance_from_identity(g, k);
}

}  // namespace tessera::models
