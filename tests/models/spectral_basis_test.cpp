#include <gtest/gtest.h>

#include "tessera/models/spectral_basis.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/matrices.hpp"

namespace tessera::models {
namespace {

using test::at;
using test::Plain;
using test::to_doubles;
using test::Values;

/// u diag(s) v' with orthonormal u [m, n] and v [n, n].
struct Known {
  Plain u, v;
  Values s;
  Plain a{0, 0};
  Known(int64_t m, int64_t n, Values sigma)
      : u(test::orthonormal(m, n, 1)), v(test::orthonormal(n, n, 2)), s(std::move(sigma)) {
    a = test::scaled_columns(u, s) * test::transpose(v);
  }
};

/// Sine of the largest angle between the spans of the first k columns, both orthonormal.
double subspace_angle(const Plain& a, const Plain& b, int64_t k) {
  Plain left(a.rows, k), right(b.rows, k);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < k; ++j) left(i, j) = a(i, j), right(i, j) = b(i, j);
  const Plain inner = test::transpose(left) * right, kept = left * inner;
  double largest = 0;
  for (int64_t j = 0; j < k; ++j) {
    double square = 0;
    for (int64_t i = 0; i < a.rows; ++i) square += std::pow(right(i, j) - kept(i, j), 2);
    largest = std::max(largest, std::sqrt(square));
  }
  return largest;
}

Plain plain(const Tensor& t) { return {t.size(0), t.size(1), to_doubles(t)}; }

TEST(SpectralBasis, FindsAKnownDecomposition) {
  const Known known(500, 24, test::spectrum(24, 1e5));
  const Tensor x = test::from_doubles(known.a.v, {20, 25, 24}, DType::f64);
  const SpectralBasis basis = spectral_basis(x);
  EXPECT_EQ(basis.pixels, 500);
  EXPECT_FALSE(basis.mean.defined());
  const Plain v = plain(basis.v);
  EXPECT_LT(test::distance(test::transpose(v) * v, test::identity(24)), 1e-13);
  for (int64_t i = 0; i < 24; ++i)
    EXPECT_NEAR(basis.sigma[at(i)], known.s[at(i)], 1e-6 * known.s[at(i)] + 1e-15) << i;
  EXPECT_LT(subspace_angle(known.v, v, 12), 1e-9);
  const Tensor images = eigenimages(x, basis, 12);
  EXPECT_EQ(images.shape(), (Shape{12, 20, 25}));
  const Plain wanted = known.a * v;
  const Values got = to_doubles(images);
  for (int64_t p = 0; p < 500; ++p)
    for (int64_t j = 0; j < 12; ++j)
      EXPECT_NEAR(got[at(j * 500 + p)], wanted(p, j), 1e-7 * (std::abs(wanted(p, j)) + 1e-3));
}

TEST(SpectralBasis, CentredIsTheCovariance) {
  const int64_t m = 700, n = 9;
  Values values = to_doubles(test::uniform({m, n}, DType::f64, 4));
  for (int64_t i = 0; i < m * n; ++i)
    values[at(i)] += 1e6;  // squares of it take more digits than there are
  const Tensor x = test::from_doubles(values, {m, n}, DType::f64);
  Plain a(m, n, values);
  Values mean(at(n));
  for (int64_t i = 0; i < m * n; ++i) mean[at(i % n)] += (values[at(i)] - 1e6) / m;
  for (int64_t i = 0; i < m * n; ++i) a.v[at(i)] -= 1e6 + mean[at(i % n)];
  const SpectralBasis basis = spectral_basis(x, {}, true);
  const Values got = to_doubles(basis.mean);
  for (int64_t j = 0; j < n; ++j) EXPECT_NEAR(got[at(j)], 1e6 + mean[at(j)], 1e-9);
  const Plain v = plain(basis.v), covariance = test::transpose(a) * a;
  const Plain diagonal = test::transpose(v) * covariance * v;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      EXPECT_NEAR(diagonal(i, j), i == j ? std::pow(basis.sigma[at(i)], 2) : 0, 1e-6);
}

TEST(SpectralBasis, ConstantAndDuplicateBandsAndFewPixels) {
  const int64_t m = 60, n = 6;
  Values values = to_doubles(test::integers({m, n}, DType::f64, 3, 100));
  for (int64_t r = 0; r < m; ++r) {
    values[at(r * n + 1)] = 0;                  // dead
    values[at(r * n + 4)] = 17.25;              // constant
    values[at(r * n + 5)] = values[at(r * n)];  // a copy
  }
  const Tensor x = test::from_doubles(values, {m, n}, DType::f64);
  const SpectralBasis plain_basis = spectral_basis(x), centred = spectral_basis(x, {}, true);
  for (const SpectralBasis& basis : {plain_basis, centred}) {
    const Plain v = plain(basis.v);
    EXPECT_LT(test::distance(test::transpose(v) * v, test::identity(n)), 1e-13);
    EXPECT_TRUE(std::is_sorted(basis.sigma.rbegin(), basis.sigma.rend()));
    EXPECT_EQ(basis.sigma[5], 0);
    EXPECT_LT(basis.sigma[4], 1e-6 * basis.sigma[0]);
  }
  EXPECT_GT(plain_basis.sigma[3], 1);  // the constant band still has its length
  EXPECT_EQ(centred.sigma[4], 0);
  const SpectralBasis two = spectral_basis(x.narrow(0, 0, 2));
  EXPECT_GT(two.sigma[1], 1);
  for (int i = 2; i < n; ++i) EXPECT_LT(two.sigma[at(i)], 1e-6 * two.sigma[0]);
  const SpectralBasis nothing = spectral_basis(Tensor::zeros({5, 3}, DType::f32, Device::cpu()));
  EXPECT_EQ(nothing.sigma, Values(3));
  EXPECT_EQ(to_doubles(nothing.v), test::identity(3).v);
}

TEST(SpectralBasis, SlabsOfIntegersGiveTheSameBits) {
  const int64_t rows = 23, columns = 31, n = 11;
  const Tensor x = Tensor::empty({rows, columns, n}, DType::u16, Device::cpu());
  const Tensor valid = Tensor::empty({rows, columns}, DType::bool_, Device::cpu());
  test::Numbers next(8);
  for (int64_t i = 0; i < x.numel(); ++i)
    static_cast<uint16_t*>(x.data())[i] = static_cast<uint16_t>(20000 + next() % 300);
  int64_t counted = 0;
  for (int64_t i = 0; i < valid.numel(); ++i)
    counted += static_cast<bool*>(valid.data())[i] = next() % 5 != 0;
  const SpectralBasis whole = spectral_basis(x, valid, true);
  EXPECT_EQ(whole.pixels, counted);
  const Tensor by_band = x.permute({2, 0, 1}).clone().permute({1, 2, 0});
  for (const int64_t step : {1, 4, 10}) {
    GramSum sum(true);
    for (int64_t first = rows - rows % step; first >= 0; first -= step)
      if (const int64_t count = std::min(step, rows - first); count > 0)
        sum.add(by_band.narrow(0, first, count), valid.narrow(0, first, count));
    const SpectralBasis streamed = sum.basis();
    EXPECT_EQ(streamed.sigma, whole.sigma);
    EXPECT_EQ(to_doubles(streamed.v), to_doubles(whole.v));
    EXPECT_EQ(to_doubles(streamed.mean), to_doubles(whole.mean));
  }
}

TEST(SpectralBasis, SlabsOfFloatsAgree) {
  const Tensor x = test::uniform({1000, 12}, DType::f32, 6);
  for (const bool centred : {false, true}) {
    const SpectralBasis whole = spectral_basis(x, {}, centred);
    GramSum sum(centred);
    for (int64_t first = 0; first < 1000; first += 300)
      sum.add(x.narrow(0, first, std::min<int64_t>(300, 1000 - first)));
    const SpectralBasis streamed = sum.basis();
    test::expect_close(streamed.sigma, whole.sigma, 1e-13);
    test::expect_close(to_doubles(streamed.v), to_doubles(whole.v), 1e-11);
  }
}

TEST(SpectralBasis, SaysWhatIsWrong) {
  const auto refused = [](const auto& call, const std::string& what) {
    try {
      call();
      ADD_FAILURE() << "accepted: " << what;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
    }
  };
  const Tensor x = test::from_doubles({1, 2, 3, test::nan, 5, 6}, {3, 2}, DType::f32);
  refused([&] { spectral_basis(x); }, "band 1 of 2");
  const Tensor valid = test::from_doubles({1, 0, 1}, {3}, DType::bool_);
  EXPECT_NO_THROW(spectral_basis(x, valid));
  refused([&] { spectral_basis(x, test::from_doubles({0, 0, 0}, {3}, DType::bool_)); }, "no pixel");
  refused([&] { spectral_basis(test::from_doubles({1, 2}, {2}, DType::f32)); }, "expected [rows");
  refused([&] { spectral_basis(test::integers({3, 2}, DType::i32, 1)); }, "i32");
  GramSum sum;
  sum.add(x, valid);
  refused([&] { sum.add(test::uniform({3, 3}, DType::f32, 1)); }, "after slabs f32 of 2 bands");
  refused([&] { eigenimages(x, spectral_basis(x, valid), 3); }, "eigenimages: 3 of");
}

TEST(SpectralBasis, RanksAndShares) {
  EXPECT_EQ(rank_of(0, 7), 7);
  EXPECT_EQ(rank_of(0.5, 7), 4);
  EXPECT_EQ(rank_of(3, 7), 3);
  EXPECT_EQ(rank_of(9, 7), 7);
  EXPECT_THROW(rank_of(2.5, 7), Error);
  EXPECT_THROW(rank_of(-1, 7), Error);
  EXPECT_EQ(components_within({90, 5, 2, 2, 1}, 0.97), 3);
  EXPECT_EQ(components_within({99, 1}, 0.97), 1);
  EXPECT_EQ(components_within({0, 0}, 0.97), 2);
}

}  // namespace
}  // namespace tessera::models
