#include "tessera/models/spectral_svd.hpp"

#include <gtest/gtest.h>

#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/matrices.hpp"

/// Decompositions of matrices whose singular values are chosen, against Jacobi's method (svd of the
/// linalg family) on the same numbers.
namespace tessera::models {
namespace {

using test::at;
using test::Plain;
using test::to_doubles;
using test::Values;

constexpr int64_t m = 420, n = 30;

Plain plain(const Tensor& t) {
  return {t.numel() / std::max<int64_t>(1, t.size(-1)), t.size(-1), to_doubles(t)};
}

struct Spectrum {
  const char* name;
  Values sigma;
};
std::vector<Spectrum> spectra() {
  Values clustered, deficient = test::spectrum(n, 1e3);
  for (int64_t i = 0; i < n; ++i)
    clustered.push_back(i < 10 ? 1 : i < 20 ? 1e-2 * (1 + 1e-9 * static_cast<double>(i)) : 1e-4);
  std::fill(deficient.begin() + 22, deficient.end(), 0.0);
  return {{"1e2", test::spectrum(n, 1e2)}, {"1e5", test::spectrum(n, 1e5)},
          {"1e7", test::spectrum(n, 1e7)}, {"1e11", test::spectrum(n, 1e11)},
          {"clustered", clustered},        {"rank 22", deficient},
          {"flat", test::spectrum(n, 1.0)}};
}

Tensor matrix_of(const Values& sigma, DType dtype, uint64_t seed = 1) {
  const Plain a = test::scaled_columns(test::orthonormal(m, n, seed), sigma) *
                  test::transpose(test::orthonormal(n, n, seed + 1));
  return test::from_doubles(a.v, {m, n}, dtype);
}

/// ||A - U S V'|| / ||A|| in plain sums.
double residual(const Plain& a, const SpectralSvd& svd) {
  const Plain made = test::scaled_columns(plain(svd.u), svd.sigma) * test::transpose(plain(svd.v));
  double difference = 0, squares = 0;
  for (size_t i = 0; i < a.v.size(); ++i) {
    difference += std::pow(a.v[i] - made.v[i], 2);
    squares += a.v[i] * a.v[i];
  }
  return std::sqrt(difference / squares);
}
double orthogonality(const Plain& u) {
  return test::distance(test::transpose(u) * u, test::identity(u.cols));
}

TEST(SpectralSvd, MeetsItsBoundsOnEverySpectrum) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Spectrum& spectrum : spectra()) {
      SCOPED_TRACE(concat(dtype, " ", spectrum.name));
      const Tensor x = matrix_of(spectrum.sigma, dtype);
      const Plain a = plain(x);
      const autograd::SvdResult reference =
          autograd::svd(test::from_doubles(a.v, {m, n}, DType::f64));
      const Values wanted = to_doubles(reference.s.value());
      for (const DType precision : {DType::f32, DType::f64}) {
        const SpectralSvd svd = spectral_svd(x, {}, {.precision = precision});
        EXPECT_EQ(svd.u.dtype(), precision);
        EXPECT_LT(residual(a, svd), precision == DType::f32 ? 1e-6 : 1e-11);
        EXPECT_LT(orthogonality(plain(svd.u)), 1e-5);
        EXPECT_LT(orthogonality(plain(svd.v)), 1e-12);
        for (int64_t i = 0; i < n; ++i)
          EXPECT_NEAR(svd.sigma[at(i)], wanted[at(i)], 2e-6 * wanted[at(i)] + 1e-14) << i;
        EXPECT_NEAR(relative_residual(x, svd), residual(a, svd), 1e-12);
        EXPECT_NEAR(orthogonality_error(svd.u), orthogonality(plain(svd.u)), 1e-12);
        if (wanted[n / 2 - 1] > 1.1 * wanted[n / 2]) {  // else the subspace is not unique
          EXPECT_LT(test::subspace_angle(plain(reference.v.value()), plain(svd.v), n / 2), 1e-7);
        }
      }
    }
}

TEST(SpectralSvd, RescuesWhatTheGramMatrixLoses) {
  const Tensor x = matrix_of(test::spectrum(n, 1e11), DType::f64);
  const SpectralSvd gram = spectral_svd(x, {}, {.method = SvdMethod::gram});
  EXPECT_EQ(gram.method, SvdMethod::gram);
  EXPECT_LT(gram.rank, n);
  EXPECT_GT(std::abs(gram.sigma[n - 1] / 1e-11 - 1), 0.1);
  const SpectralSvd svd = spectral_svd(x);
  EXPECT_EQ(svd.method, SvdMethod::cholesky_qr);
  EXPECT_EQ(svd.rank, n);
  EXPECT_NEAR(svd.sigma[n - 1], 1e-11, 1e-15);
  EXPECT_EQ(spectral_svd(matrix_of(test::spectrum(n, 1e4), DType::f32)).method, SvdMethod::gram);
  // the leading part of the same matrix needs none of it
  EXPECT_EQ(spectral_svd(x, {}, {.rank = 10}).method, SvdMethod::gram);
  // and without U more is left to the Gram matrix
  const Tensor between = matrix_of(test::spectrum(n, 5e5), DType::f64);
  EXPECT_EQ(spectral_svd(between).method, SvdMethod::cholesky_qr);
  EXPECT_EQ(spectral_svd(between, {}, {.left = false}).method, SvdMethod::gram);
}

TEST(SpectralSvd, KnowsTheRank) {
  Values sigma = test::spectrum(n, 100);
  std::fill(sigma.begin() + 17, sigma.end(), 0.0);
  EXPECT_EQ(spectral_svd(matrix_of(sigma, DType::f64)).rank, 17);
  // constant, dead and copied bands of integers; fewer pixels than bands
  const Tensor x = test::integers({m, n}, DType::f32, 3, 1000);
  auto* const values = static_cast<float*>(x.data());
  for (int64_t r = 0; r < m; ++r) {
    values[r * n + 2] = 0;
    values[r * n + 7] = 31;
    values[r * n + 9] = values[r * n + 8];
  }
  const Plain a = plain(x);
  for (const bool centred : {false, true}) {
    const SpectralSvd svd = spectral_svd(x, {}, {.centred = centred});
    EXPECT_EQ(svd.rank, centred ? n - 3 : n - 2);
    EXPECT_EQ(svd.sigma[n - 1], 0);
    EXPECT_LT(orthogonality(plain(svd.u)), 1e-5);
    EXPECT_LT(orthogonality(plain(svd.v)), 1e-12);
    EXPECT_LT(relative_residual(x, svd), 1e-6);
  }
  const SpectralSvd few = spectral_svd(x.narrow(0, 0, 12));
  EXPECT_EQ(few.u.shape(), (Shape{12, 12}));
  EXPECT_EQ(few.v.shape(), (Shape{n, 12}));
  EXPECT_EQ(few.rank, 12);
  EXPECT_LT(relative_residual(x.narrow(0, 0, 12), few), 1e-6);
  EXPECT_LT(orthogonality(plain(few.u)), 1e-5);
  const SpectralSvd nothing = spectral_svd(Tensor::zeros({8, 3}, DType::f32, Device::cpu()));
  EXPECT_EQ(nothing.rank, 0);
  EXPECT_EQ(nothing.sigma, Values(3));
  EXPECT_LT(orthogonality(plain(nothing.u)), 1e-6);
}

TEST(SpectralSvd, LeadingTriplesAndSigns) {
  const Tensor x = matrix_of(test::spectrum(n, 1e3), DType::f32);
  const SpectralSvd whole = spectral_svd(x), part = spectral_svd(x, {}, {.rank = 0.25});
  ASSERT_EQ(part.sigma.size(), 8u);
  EXPECT_EQ(part.sigma, Values(whole.sigma.begin(), whole.sigma.begin() + 8));
  EXPECT_EQ(to_doubles(part.v), to_doubles(whole.v.narrow(1, 0, 8).clone()));
  EXPECT_EQ(to_doubles(part.u), to_doubles(whole.u.narrow(1, 0, 8).clone()));
  double dropped = 0, all = 0;
  for (int64_t i = 0; i < n; ++i) {
    all += std::pow(whole.sigma[at(i)], 2);
    if (i >= 8) dropped += std::pow(whole.sigma[at(i)], 2);
  }
  EXPECT_NEAR(relative_residual(x, part), std::sqrt(dropped / all), 1e-6);
  for (const SvdMethod method : {SvdMethod::gram, SvdMethod::cholesky_qr, SvdMethod::randomized}) {
    const Plain v = plain(spectral_svd(x, {}, {.method = method, .rank = 5}).v);
    for (int64_t j = 0; j < 5; ++j) {
      double largest = 0;
      for (int64_t i = 0; i < n; ++i)
        if (std::abs(v(i, j)) > std::abs(largest)) largest = v(i, j);
      EXPECT_GT(largest, 0) << to_string(method) << j;
    }
  }
}

TEST(SpectralSvd, MaskedCentredCubesOfEveryStorage) {
  const int64_t rows = 21, columns = 20;
  Values values = to_doubles(matrix_of(test::spectrum(n, 1e3), DType::f64));
  for (double& v : values) v = std::round(4000 + 3000 * v);
  test::Numbers next(4);
  Values counts(at(m));
  for (double& c : counts) c = next() % 6 != 0;
  const Tensor valid = test::from_doubles(counts, {rows, columns}, DType::bool_);
  Plain a(0, n);  // the valid pixels, centred
  Values mean(at(n));
  for (int64_t p = 0; p < m; ++p)
    if (counts[at(p)] != 0) {
      ++a.rows;
      a.v.insert(a.v.end(), values.begin() + p * n, values.begin() + (p + 1) * n);
      for (int64_t j = 0; j < n; ++j) mean[at(j)] += values[at(p * n + j)];
    }
  for (double& v : mean) v /= static_cast<double>(a.rows);
  for (size_t i = 0; i < a.v.size(); ++i) a.v[i] -= mean[i % at(n)];
  const Values wanted =
      to_doubles(autograd::svd(test::from_doubles(a.v, {a.rows, n}, DType::f64)).s.value());
  const Tensor wide = test::from_doubles(values, {rows, columns, n}, DType::f64);
  Tensor sensor = Tensor::empty(wide.shape(), DType::u16, Device::cpu());
  for (size_t i = 0; i < values.size(); ++i)
    static_cast<uint16_t*>(sensor.data())[i] = static_cast<uint16_t>(values[i]);
  for (const Tensor& x : {wide, sensor, sensor.permute({2, 0, 1}).clone().permute({1, 2, 0})})
    for (const SvdMethod method : {SvdMethod::automatic, SvdMethod::cholesky_qr}) {
      SvdOptions options{.method = method, .centred = true};
      const SpectralSvd svd = spectral_svd(x, valid, options);
      EXPECT_EQ(svd.pixels, a.rows);
      EXPECT_EQ(svd.u.shape(), (Shape{rows, columns, n}));
      test::expect_close(to_doubles(svd.mean), mean, 1e-12);
      for (int64_t i = 0; i < n; ++i)
        EXPECT_NEAR(svd.sigma[at(i)], wanted[at(i)], 1e-7 * wanted[at(i)]) << i;
      EXPECT_LT(relative_residual(x, svd, valid), 1e-6);
      EXPECT_LT(orthogonality_error(svd.u), 1e-5);
      const Values u = to_doubles(svd.u);
      for (int64_t p = 0; p < m; ++p) EXPECT_EQ(u[at(p * n)] == 0, counts[at(p)] == 0);
    }
}

TEST(SpectralSvd, SlabsGiveTheWhole) {
  for (const double condition : {1e3, 1e9}) {
    const Tensor x = matrix_of(test::spectrum(n, condition), DType::f64);
    const SpectralSvd whole = spectral_svd(x, {}, {.precision = DType::f64});
    const Slabs slabs = [&](const Slab& body) {
      for (int64_t first = 0; first < m; first += 100)
        body(x.narrow(0, first, std::min<int64_t>(100, m - first)), {});
    };
    int64_t first = 0;
    Values u;
    SvdCheck check;
    const SpectralSvd streamed =
        spectral_svd(slabs, {.precision = DType::f64},
                     [&](const Tensor& part, const Tensor& valid, const SpectralSvd& svd) {
                       EXPECT_EQ(part.size(0), std::min<int64_t>(100, m - first));
                       first += part.size(0);
                       check.add(part, valid, svd);
                       const Values values = to_doubles(svd.u);
                       u.insert(u.end(), values.begin(), values.end());
                     });
    EXPECT_EQ(streamed.method, whole.method);
    EXPECT_FALSE(streamed.u.defined());
    for (int64_t i = 0; i < n; ++i)
      EXPECT_NEAR(streamed.sigma[at(i)], whole.sigma[at(i)], 1e-9 * whole.sigma[at(i)] + 1e-15);
    SpectralSvd joined = streamed;
    joined.u = test::from_doubles(u, {m, n}, DType::f64);
    EXPECT_LT(residual(plain(x), joined), 1e-12);
    EXPECT_LT(orthogonality(plain(joined.u)), 1e-6);
    EXPECT_NEAR(check.residual(), residual(plain(x), joined), 1e-14);
    EXPECT_NEAR(check.orthogonality(), orthogonality(plain(joined.u)), 1e-14);
  }
}

TEST(SpectralSvd, RandomizedFindsTheLeadingPart) {
  Values sigma = test::spectrum(n, 1e6);
  const Tensor x = matrix_of(sigma, DType::f64);
  double before = 1;
  for (const int64_t steps : {0, 1, 3}) {
    const SpectralSvd svd = spectral_svd(
        x, {},
        {.method = SvdMethod::randomized, .rank = 6, .oversampling = 4, .power_steps = steps});
    const SpectralSvd exact = spectral_svd(x, {}, {.rank = 6});
    const double angle = test::subspace_angle(plain(exact.v), plain(svd.v), 6);
    EXPECT_LT(angle, before);
    before = angle / 5;  // each pass gains at least that here
    EXPECT_LT(orthogonality(plain(svd.u)), 1e-5);
  }
  const SpectralSvd close = spectral_svd(
      x, {}, {.method = SvdMethod::randomized, .rank = 6, .centred = true, .power_steps = 4});
  const SpectralSvd exact = spectral_svd(x, {}, {.rank = 6, .centred = true});
  test::expect_close(close.sigma, exact.sigma, 1e-10);
  EXPECT_NEAR(relative_residual(x, close), relative_residual(x, exact), 1e-8);
}

TEST(SpectralSvd, SaysWhatIsWrong) {
  const Tensor x = matrix_of(test::spectrum(n, 10), DType::f32);
  EXPECT_THROW(spectral_svd(x, {}, {.precision = DType::f16}), Error);
  EXPECT_THROW(spectral_svd(x, {}, {.rank = -2}), Error);
  EXPECT_THROW(spectral_svd(x, {}, {.rank = 1.5}), Error);
  EXPECT_THROW(spectral_svd(x, {}, {.method = SvdMethod::randomized, .power_steps = -1}), Error);
  EXPECT_THROW(relative_residual(x, spectral_svd(x, {}, {.left = false})), Error);
  SvdMethod method{};
  parse("cholesky_qr", method);
  EXPECT_EQ(method, SvdMethod::cholesky_qr);
  EXPECT_THROW(parse("qr", method), Error);
}

}  // namespace
}  // namespace tessera::models
