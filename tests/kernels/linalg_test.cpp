#include "tessera/kernels/linalg.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/matrices.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::at;
using test::distance;
using test::from_doubles;
using test::identity;
using test::largest;
using test::orthonormal;
using test::Plain;
using test::scaled_columns;
using test::spectrum;
using test::to_doubles;
using test::transpose;
using test::uniform;
using test::Values;

struct Case {
  Device device;
  DType dtype;
  LinalgVariant variant;
};
std::vector<Case> cases() {
  std::vector<Case> list;
  for (const Device device : {Device::cpu(), Device::cuda(), Device::simt()})
    for (const DType dtype : {DType::f32, DType::f64})
      for (const LinalgVariant variant : {LinalgVariant::own, LinalgVariant::vendor})
        list.push_back({device, dtype, variant});
  return list;
}
std::string case_name(const testing::TestParamInfo<Case>& info) {
  return to_string(Device{info.param.device.type}).substr(0, 4) + "_" +
         std::string(to_string(info.param.dtype)) +
         (info.param.variant == LinalgVariant::own ? "_own" : "_vendor");
}

class LinalgTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    std::string reason;
    if (!available(device(), &reason)) GTEST_SKIP() << reason;
    if (!backend(device()).linalg) GTEST_SKIP() << "no linalg kernels on " << to_string(device());
    try {
      const Tensor one = on_device(Plain(1, 1, {1}));
      cholesky(stream(), one.view(), one.clone().view(), params());
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::unsupported) throw;
      GTEST_SKIP() << error.what();
    }
  }
  static Device device() { return GetParam().device; }
  static DType dtype() { return GetParam().dtype; }
  static Stream& stream() { return current_stream(device()); }
  static LinalgParams params() { return {.variant = GetParam().variant}; }
  static Tensor empty(const Shape& shape) { return Tensor::empty(shape, dtype(), device()); }
  static Tensor on_device(const Plain& a) {
    return from_doubles(a.v, {a.rows, a.cols}, dtype()).to(device());
  }
  static Plain plain(const Tensor& t) { return {t.size(0), t.size(1), to_doubles(t)}; }
  /// What n operations of order 1 may add up to.
  static double allowed(int64_t n) {
    return 16 * test::roundoff(dtype()) * std::max(4.0, std::sqrt(static_cast<double>(n)) * 4);
  }
  static std::vector<double> conditions() {
    return dtype() == DType::f64 ? Values{1, 1e4, 1e10} : Values{1, 1e4};
  }
  static void expect_orthonormal_columns(const Plain& q, const std::string& what) {
    EXPECT_LE(distance(transpose(q) * q, identity(q.cols)), allowed(q.rows)) << what;
  }
  /// In each column the component of largest magnitude is positive (among nearly equal ones, one of
  /// them).
  static void expect_signs(const Plain& q, const std::string& what) {
    for (int64_t j = 0; j < q.cols; ++j) {
      double most = 0, value = 0;
      for (int64_t i = 0; i < q.rows; ++i)
        if (std::abs(q(i, j)) > most) most = std::abs(q(i, j)), value = q(i, j);
      EXPECT_GT(value, 0) << what << ", column " << j;
    }
  }
  void expect_error(const std::function<void()>& call, const std::string& part) {
    try {
      call();
      stream().synchronize();  // a GPU's findings
      ADD_FAILURE() << "no error; expected '" << part << "'";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
};

constexpr int64_t orders[] = {1, 2, 3, 8, 17, 50, 128, 200};

TEST_P(LinalgTest, CholeskyGivesBackTheMatrix) {
  for (const int64_t n : orders)
    for (const double condition : conditions()) {
      const Plain q = orthonormal(n, n, 1);
      const Tensor a =
          on_device(scaled_columns(q, spectrum(n, condition / (dtype() == DType::f32 ? 10 : 1))) *
                    transpose(q));
      Tensor l = empty({n, n});
      // only the lower triangle may be read
      Plain spoilt = plain(a);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = i + 1; j < n; ++j) spoilt(i, j) = NAN;
      cholesky(stream(), on_device(spoilt).view(), l.view(), params());
      const Plain factor = plain(l);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = i; j < n; ++j) {
          if (i == j)
            EXPECT_GT(factor(i, i), 0);
          else
            ASSERT_EQ(factor(i, j), 0);
        }
      EXPECT_LE(distance(factor * transpose(factor), plain(a)), allowed(n))
          << n << " " << condition;
      const Tensor in_place = a.clone();
      cholesky(stream(), in_place.view(), in_place.view(), params());
      EXPECT_EQ(to_doubles(in_place), to_doubles(l));
    }
}

TEST_P(LinalgTest, TriangularSolveInAllForms) {
  for (const int64_t n : orders)
    for (const int64_t k : {1, 2, 40, 131})
      for (int form = 0; form < 8; ++form) {
        const TriangularParams p{.upper = (form & 1) != 0,
                                 .transpose = (form & 2) != 0,
                                 .unit_diagonal = (form & 4) != 0};
        // diagonally dominant; the other triangle and, where it does not count, the diagonal are
        // NaN
        Plain a(n, n, to_doubles(uniform({n, n}, dtype(), 1)));
        Plain triangle(n, n);
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < n; ++j) {
            a(i, j) = i == j               ? 2 + std::abs(a(i, j))
                      : (i < j) == p.upper ? a(i, j) / static_cast<double>(n)
                                           : NAN;
            if (i == j && p.unit_diagonal) a(i, i) = NAN;
          }
        a = plain(on_device(a));
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < n; ++j)
            if (i == j || (i < j) == p.upper)
              triangle(i, j) = i == j && p.unit_diagonal ? 1 : a(i, j);
        const Tensor b = uniform({n, k}, dtype(), 2).to(device()), x = empty({n, k});
        triangular_solve(stream(), on_device(a).view(), b.view(), x.view(), p, params());
        EXPECT_LE(distance((p.transpose ? transpose(triangle) : triangle) * plain(x), plain(b)),
                  allowed(n))
            << n << " " << k << " form " << form;
        const Tensor in_place = b.clone();
        triangular_solve(stream(), on_device(a).view(), in_place.view(), in_place.view(), p,
                         params());
        EXPECT_EQ(to_doubles(in_place), to_doubles(x));
      }
}

TEST_P(LinalgTest, SolveLeavesASmallResidual) {
  for (const int64_t n : orders)
    for (const int64_t k : {1, 33})
      for (const double condition : conditions()) {
        const Plain a = plain(on_device(
            scaled_columns(orthonormal(n, n, 3), spectrum(n, condition)) * orthonormal(n, n, 4)));
        const Tensor b = uniform({n, k}, dtype(), 5).to(device()), x = empty({n, k});
        solve(stream(), on_device(a).view(), b.view(), x.view(), params());
        EXPECT_LE(distance(a * plain(x), plain(b)), allowed(n) * std::max(1.0, largest(plain(x))))
            << n << " " << condition;
      }
  // rows must be exchanged here
  const Tensor x = empty({3, 1});
  solve(stream(), on_device(Plain(3, 3, {0, 2, 0, 0, 0, 4, 8, 0, 0})).view(),
        on_device(Plain(3, 1, {2, 8, 16})).view(), x.view(), params());
  EXPECT_EQ(to_doubles(x), (Values{2, 1, 2}));
}

TEST_P(LinalgTest, QrThinAndFull) {
  const Shape shapes[] = {{1, 1},    {5, 3},     {3, 5},     {50, 50},  {200, 17},
                          {17, 200}, {300, 130}, {130, 300}, {1000, 40}};
  for (const Shape& shape : shapes)
    for (const bool full : {false, true})
      for (const bool deficient : {false, true}) {
        const int64_t m = shape[0], n = shape[1], p = std::min(m, n), k = full ? m : p;
        Plain a(m, n, to_doubles(uniform({m, n}, dtype(), 6)));
        if (deficient)
          for (int64_t i = 0; i < m; ++i) a(i, n / 2) = 0, a(i, n - 1) = a(i, 0);
        const Tensor q = empty({m, k}), r = empty({k, n});
        qr(stream(), on_device(a).view(), q.view(), r.view(), params());
        const std::string what =
            concat(to_string(shape), full ? " full" : " thin", deficient ? " deficient" : "");
        const Plain upper = plain(r);
        EXPECT_LE(distance(plain(q) * upper, a), allowed(m + n)) << what;
        expect_orthonormal_columns(plain(q), what);
        for (int64_t i = 0; i < k; ++i)
          for (int64_t j = 0; j < std::min(i + 1, n); ++j) {
            if (j < i)
              ASSERT_EQ(upper(i, j), 0) << what;
            else
              EXPECT_GE(upper(i, i), 0) << what;
          }
      }
}

TEST_P(LinalgTest, EighFindsAKnownSpectrum) {
  for (const int64_t n : orders)
    for (int kind = 0; kind < 4; ++kind) {
      Values w;  // distinct; clustered; of both signs; of low rank
      for (int64_t i = 0; i < n; ++i) {
        const double x = static_cast<double>(i + 1) / static_cast<double>(n);
        w.push_back(kind == 0   ? x
                    : kind == 1 ? std::floor(3 * x)
                    : kind == 2 ? x - 0.5
                    : i + 2 < n ? 0
                                : x);
      }
      const Plain q = orthonormal(n, n, 7);
      const Plain a = plain(on_device(scaled_columns(q, w) * transpose(q)));
      Plain spoilt = a, lower = a;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = i + 1; j < n; ++j) spoilt(i, j) = NAN, lower(i, j) = a(j, i);
      const Tensor values = empty({n}), vectors = empty({n, n});
      eigh(stream(), on_device(spoilt).view(), values.view(), vectors.view(), params());
      const std::string what = concat("n ", n, ", kind ", kind);
      const Values found = to_doubles(values);
      for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(found[at(i)], w[at(i)], allowed(n) * 3) << what;
      EXPECT_TRUE(std::is_sorted(found.begin(), found.end())) << what;
      const Plain v = plain(vectors);
      expect_orthonormal_columns(v, what);
      expect_signs(v, what);
      EXPECT_LE(distance(lower * v, scaled_columns(v, found)), allowed(n) * 3) << what;
    }
}

TEST_P(LinalgTest, EighOfMatricesThatSplit) {
  // diagonal, zero, and two blocks with equal eigenvalues
  for (const Values& a : {Values{3, 0, 0, 0, 0, -1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0.5}, Values(16),
                          Values{1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1}}) {
    const Tensor w = empty({4}), v = empty({4, 4});
    eigh(stream(), on_device(Plain(4, 4, a)).view(), w.view(), v.view(), params());
    expect_orthonormal_columns(plain(v), "split");
    EXPECT_LE(distance(Plain(4, 4, a) * plain(v), scaled_columns(plain(v), to_doubles(w))),
              allowed(4));
  }
}

TEST_P(LinalgTest, ScalesFarFromOne) {
  for (const double scale : dtype() == DType::f64 ? Values{1e-200, 1e200} : Values{1e-25, 1e25}) {
    const int64_t n = 20;
    const Plain q = orthonormal(n, n, 8);
    Values w = spectrum(n, 10);
    for (double& x : w) x *= scale;
    const Plain a = scaled_columns(q, w) * transpose(q);
    const Tensor values = empty({n}), vectors = empty({n, n}), u = empty({n, n}), s = empty({n}),
                 vt = empty({n, n});
    eigh(stream(), on_device(a).view(), values.view(), vectors.view(), params());
    svd(stream(), on_device(a).view(), u.view(), s.view(), vt.view(), params());
    const Values rising = to_doubles(values), falling = to_doubles(s);
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(rising[at(n - 1 - i)] / scale, w[at(i)] / scale, allowed(n));
      EXPECT_NEAR(falling[at(i)] / scale, w[at(i)] / scale, allowed(n));
    }
    expect_orthonormal_columns(plain(vectors), "far from one");
    expect_orthonormal_columns(plain(u), "far from one");
  }
}

TEST_P(LinalgTest, SvdFindsKnownSingularValues) {
  const Shape shapes[] = {{1, 1},    {4, 4},    {7, 3},     {3, 7},     {60, 60},
                          {200, 33}, {33, 200}, {150, 140}, {140, 150}, {900, 20}};
  for (const Shape& shape : shapes)
    for (int kind = 0; kind < 4; ++kind) {
      const int64_t m = shape[0], n = shape[1], p = std::min(m, n);
      Values s = kind == 0 ? spectrum(p, 10) : spectrum(p, dtype() == DType::f64 ? 1e10 : 1e4);
      if (kind == 2)
        for (int64_t i = p / 2; i < p; ++i) s[at(i)] = 0;
      if (kind == 3) s.assign(at(p), 1);
      const Plain a = plain(
          on_device(scaled_columns(orthonormal(m, p, 9), s) * transpose(orthonormal(n, p, 10))));
      const Tensor u = empty({m, p}), sigma = empty({p}), vt = empty({p, n});
      svd(stream(), on_device(a).view(), u.view(), sigma.view(), vt.view(), params());
      const std::string what = concat(to_string(shape), " kind ", kind);
      const Values found = to_doubles(sigma);
      for (int64_t i = 0; i < p; ++i) EXPECT_NEAR(found[at(i)], s[at(i)], allowed(m + n)) << what;
      EXPECT_TRUE(std::is_sorted(found.rbegin(), found.rend())) << what;
      expect_orthonormal_columns(plain(u), what + " u");
      expect_orthonormal_columns(transpose(plain(vt)), what + " v");
      expect_signs(plain(u), what);
      EXPECT_LE(distance(scaled_columns(plain(u), found) * plain(vt), a), allowed(m + n)) << what;
    }
}

TEST_P(LinalgTest, SvdOfTheZeroMatrix) {
  const Tensor u = empty({5, 3}), s = empty({3}), vt = empty({3, 3});
  svd(stream(), on_device(Plain(5, 3)).view(), u.view(), s.view(), vt.view(), params());
  EXPECT_EQ(to_doubles(s), Values(3));
  expect_orthonormal_columns(plain(u), "u");
  expect_orthonormal_columns(plain(vt), "v");
}

TEST_P(LinalgTest, BatchesMatchSingleMatrices) {
  const int64_t n = 12, m = 15;
  const Tensor a = uniform({2, 3, m, n}, dtype(), 11).to(device());
  const Tensor u = empty({2, 3, m, n}), s = empty({2, 3, n}), vt = empty({2, 3, n, n});
  const Tensor q = empty({2, 3, m, n}), r = empty({2, 3, n, n});
  svd(stream(), a.view(), u.view(), s.view(), vt.view(), params());
  qr(stream(), a.view(), q.view(), r.view(), params());
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 3; ++j) {
      const auto one = [&](const Tensor& t) { return t.select(0, i).select(0, j); };
      const Tensor u1 = empty({m, n}), s1 = empty({n}), vt1 = empty({n, n});
      svd(stream(), one(a).view(), u1.view(), s1.view(), vt1.view(), params());
      EXPECT_EQ(to_doubles(one(u)), to_doubles(u1));
      EXPECT_EQ(to_doubles(one(s)), to_doubles(s1));
      EXPECT_EQ(to_doubles(one(vt)), to_doubles(vt1));
      EXPECT_LE(distance(plain(one(q)) * plain(one(r)), plain(one(a))), allowed(m));
    }
}

TEST_P(LinalgTest, BatchesOfSystemsAndSpectra) {
  const int64_t n = 12, k = 5, batch = 6;
  Values systems, positive;
  for (int64_t b = 0; b < batch; ++b) {
    const Plain q = orthonormal(n, n, 20 + static_cast<uint64_t>(b)),
                a = scaled_columns(q, spectrum(n, 10)) * transpose(q),
                general = scaled_columns(q, spectrum(n, 10)) *
                          orthonormal(n, n, 40 + static_cast<uint64_t>(b));
    positive.insert(positive.end(), a.v.begin(), a.v.end());
    systems.insert(systems.end(), general.v.begin(), general.v.end());
  }
  const Shape shape{2, 3, n, n};
  const Tensor a = from_doubles(positive, shape, dtype()).to(device()),
               g = from_doubles(systems, shape, dtype()).to(device()),
               b = uniform({2, 3, n, k}, dtype(), 13).to(device());
  const Tensor l = empty(shape), x = empty(b.shape()), y = empty(b.shape()), z = empty(b.shape()),
               w = empty({2, 3, n}), v = empty(shape);
  cholesky(stream(), a.view(), l.view(), params());
  triangular_solve(stream(), l.view(), b.view(), x.view(), {}, params());
  triangular_solve(stream(), l.view(), x.view(), y.view(), {.transpose = true}, params());
  solve(stream(), g.view(), b.view(), z.view(), params());
  eigh(stream(), a.view(), w.view(), v.view(), params());
  for (int64_t i = 0; i < batch; ++i) {
    const auto one = [&](const Tensor& t) { return plain(t.select(0, i / 3).select(0, i % 3)); };
    const Plain factor = one(l);
    EXPECT_LE(distance(factor * transpose(factor), one(a)), allowed(n)) << i;
    EXPECT_LE(distance(factor * one(x), one(b)), 10 * allowed(n)) << i;
    EXPECT_LE(distance(one(a) * one(y), one(b)), 10 * allowed(n)) << i;
    EXPECT_LE(distance(one(g) * one(z), one(b)), 10 * allowed(n)) << i;
    const Plain vectors = one(v);
    const Values values = to_doubles(w.select(0, i / 3).select(0, i % 3));
    EXPECT_LE(distance(one(a) * vectors, scaled_columns(vectors, values)), allowed(n)) << i;
    expect_orthonormal_columns(vectors, concat("matrix ", i));
    expect_signs(vectors, concat("matrix ", i));
  }
  // larger than what batched routines take
  const int64_t rows = 50, cols = 40;
  const Tensor wide = uniform({2, cols, rows}, dtype(), 14).to(device()),
               u = empty({2, cols, cols}), s = empty({2, cols}), vt = empty({2, cols, rows});
  svd(stream(), wide.view(), u.view(), s.view(), vt.view(), params());
  for (int64_t i = 0; i < 2; ++i)
    EXPECT_LE(distance(scaled_columns(plain(u.select(0, i)), to_doubles(s.select(0, i))) *
                           plain(vt.select(0, i)),
                       plain(wide.select(0, i))),
              allowed(rows) * 10)
        << i;
}

TEST_P(LinalgTest, AutomaticSolvesWhateverItChooses) {
  const int64_t n = 60;
  const Plain a = plain(on_device(orthonormal(n, n, 15)));
  const Tensor b = uniform({n, 2}, dtype(), 16).to(device()), x = empty({n, 2});
  for (const bool deterministic : {false, true}) {
    solve(stream(), on_device(a).view(), b.view(), x.view(), {.deterministic = deterministic});
    EXPECT_LE(distance(a * plain(x), plain(b)), allowed(n));
  }
}

TEST_P(LinalgTest, SameBitsForAnyThreadCount) {
  if (GetParam().variant != LinalgVariant::own) GTEST_SKIP() << "only our own methods promise it";
  for (const int64_t n : {9, 150}) {
    const int64_t batch = n < 100 ? 40 : 1;
    const Tensor x = uniform({batch, n + 20, n}, dtype(), 12).to(device());
    Values first;
    for (const int threads : {1, 2, 3}) {
      test::Threads scope(threads);
      Values all;
      const auto keep = [&](const Tensor& t) {
        const Values v = to_doubles(t);
        all.insert(all.end(), v.begin(), v.end());
      };
      const Tensor q = empty({batch, n + 20, n}), r = empty({batch, n, n}), s = empty({batch, n}),
                   vt = empty({batch, n, n});
      qr(stream(), x.view(), q.view(), r.view(), params());
      keep(q), keep(r);
      svd(stream(), x.view(), q.view(), s.view(), vt.view(), params());
      keep(q), keep(s), keep(vt);
      const Tensor square = x.narrow(1, 0, n).clone();
      eigh(stream(), square.view(), s.view(), vt.view(), params());
      keep(s), keep(vt);
      solve(stream(), square.view(), vt.view(), r.view(), params());
      keep(r);
      const Tensor g = empty({n, n});
      gram(stream(), x.select(0, 0).view(), g.view());
      keep(g);
      cholesky(stream(), g.view(), g.view(), params());
      keep(g);
      if (first.empty()) first = all;
      EXPECT_EQ(all, first) << n;
    }
  }
}

TEST_P(LinalgTest, FailuresNameTheMatrix) {
  // matrices 0 and 2 are fine, 1 is not
  const Tensor a =
      from_doubles({4, 0, 0, 9, 1, 2, 2, 1, 1, 0, 0, 1}, {3, 2, 2}, dtype()).to(device());
  const Tensor l = empty({3, 2, 2});
  expect_error([&] { cholesky(stream(), a.view(), l.view(), params()); },
               "cholesky: matrix 1 is not positive definite: the pivot of row 1");
  const Tensor status = Tensor::empty({3}, DType::i32, device());
  LinalgParams with_status = params();
  with_status.status = status.view();
  cholesky(stream(), a.view(), l.view(), with_status);
  EXPECT_EQ(status.values<int32_t>(), (std::vector<int32_t>{0, 2, 0}));
  EXPECT_EQ(to_doubles(l.select(0, 0)), (Values{2, 0, 0, 3}));
  EXPECT_EQ(to_doubles(l.select(0, 2)), (Values{1, 0, 0, 1}));

  const Tensor singular = from_doubles({1, 0, 0, 1, 1, 2, 0, 0}, {2, 2, 2}, dtype()).to(device()),
               x = empty({2, 2, 1});
  expect_error([&] { solve(stream(), singular.view(), x.clone().view(), x.view(), params()); },
               "solve: matrix 1 is singular");

  const Tensor nan = from_doubles({1, 0, 0, 1, 1, 0, NAN, 1}, {2, 2, 2}, dtype()).to(device());
  const Tensor w = empty({2, 2}), v = empty({2, 2, 2}), u = empty({2, 2, 2});
  expect_error([&] { eigh(stream(), nan.view(), w.view(), v.view(), params()); },
               "eigh: matrix 1 did not converge");
  expect_error([&] { svd(stream(), nan.view(), u.view(), w.view(), v.view(), params()); },
               "svd: matrix 1 did not converge");
  expect_error([&] { solve(stream(), nan.view(), x.clone().view(), x.view(), params()); },
               "solve: matrix 1 is not finite");
  expect_error([&] { cholesky(stream(), nan.view(), u.view(), params()); }, "cholesky: matrix 1");
}

TEST_P(LinalgTest, EmptyMatricesAndBatches) {
  const Tensor none = empty({0, 3, 3}), zero = empty({2, 0, 0}), w = empty({2, 0}),
               nw = empty({0, 3});
  EXPECT_NO_THROW(cholesky(stream(), none.view(), none.view(), params()));
  EXPECT_NO_THROW(cholesky(stream(), zero.view(), zero.view(), params()));
  EXPECT_NO_THROW(eigh(stream(), none.view(), nw.view(), none.view(), params()));
  EXPECT_NO_THROW(eigh(stream(), zero.view(), w.view(), zero.view(), params()));
  EXPECT_NO_THROW(svd(stream(), zero.view(), zero.view(), w.view(), zero.view(), params()));
  EXPECT_NO_THROW(
      solve(stream(), zero.view(), empty({2, 0, 4}).view(), empty({2, 0, 4}).view(), params()));
  const Tensor q = empty({3, 0}), r = empty({0, 0}), full = empty({3, 3});
  EXPECT_NO_THROW(qr(stream(), q.view(), q.view(), r.view(), params()));
  qr(stream(), q.view(), full.view(), q.view(), params());
  EXPECT_EQ(to_doubles(full), identity(3).v);
  const Tensor tall = empty({0, 2}), g = empty({2, 2});
  gram(stream(), tall.view(), g.view());
  EXPECT_EQ(to_doubles(g), Values(4));
}

TEST_P(LinalgTest, RejectsWhatDoesNotFit) {
  const Tensor a = empty({4, 4}), b = empty({4, 5}), n = empty({4});
  EXPECT_THROW(cholesky(stream(), b.view(), b.view(), params()), Error);
  EXPECT_THROW(cholesky(stream(), a.view(), empty({3, 3}).view(), params()), Error);
  EXPECT_THROW(cholesky(stream(), a.transpose(0, 1).view(), a.view(), params()), Error);
  EXPECT_THROW(cholesky(stream(), n.view(), n.view(), params()), Error);
  EXPECT_THROW(cholesky(stream(), Tensor::empty({4, 4}, DType::f16, device()).view(),
                        Tensor::empty({4, 4}, DType::f16, device()).view(), params()),
               Error);
  EXPECT_THROW(solve(stream(), a.view(), empty({3, 2}).view(), empty({3, 2}).view(), params()),
               Error);
  EXPECT_THROW(solve(stream(), a.view(), n.view(), n.view(), params()), Error);
  EXPECT_THROW(triangular_solve(stream(), b.view(), b.view(), b.view(), {}, params()), Error);
  EXPECT_THROW(qr(stream(), b.view(), empty({4, 5}).view(), empty({5, 5}).view(), params()), Error);
  EXPECT_THROW(eigh(stream(), a.view(), empty({5}).view(), a.clone().view(), params()), Error);
  EXPECT_THROW(svd(stream(), b.view(), a.view(), n.view(), empty({5, 5}).view(), params()), Error);
  EXPECT_THROW(gram(stream(), b.view(), a.view()), Error);
  EXPECT_THROW(gram(stream(), b.view(), empty({5, 5}).view(), n.view()), Error);
  LinalgParams bad_status = params();
  bad_status.status = n.view();
  EXPECT_THROW(cholesky(stream(), a.view(), a.clone().view(), bad_status), Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, LinalgTest, testing::ValuesIn(cases()), case_name);

TEST(ChooseLinalg, VendorOnlyWhereAskedFor) {
  EXPECT_EQ(choose_linalg(500, true, true), LinalgVariant::own);
  EXPECT_EQ(choose_linalg(500, false, true), LinalgVariant::vendor);
  EXPECT_EQ(choose_linalg(500, false, false), LinalgVariant::own);
  EXPECT_EQ(choose_linalg(8, false, true), LinalgVariant::own);
}

}  // namespace
}  // namespace tessera::kernels
