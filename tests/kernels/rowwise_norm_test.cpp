#include "tessera/kernels/rowwise.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::compute_dtype;
using test::expect_close;
using test::from_doubles;
using test::numeric_gradient;
using test::Threads;
using test::to_doubles;
using test::tolerance;
using test::Values;
using test::view_or_none;

Tensor scaled(const Tensor& t, double factor, double offset = 0) {
  Values v = to_doubles(t);
  for (double& x : v) x = x * factor + offset;
  return from_doubles(v, t.shape(), t.dtype());
}

Tensor wide(const Tensor& t) { return from_doubles(to_doubles(t), t.shape(), DType::f64); }

enum class Kind { layer, rms, batch, group };

struct NormCase {
  Kind kind;
  Shape shape;
  int64_t groups = 1;

  int64_t channels() const {
    return kind == Kind::layer || kind == Kind::rms ? shape.back() : shape[1];
  }
  // Of the element at row-major index i: its channel, and the statistic it belongs to.
  int64_t channel(int64_t i) const {
    if (kind == Kind::layer || kind == Kind::rms) return i % shape.back();
    return i / inner() % shape[1];
  }
  int64_t statistic(int64_t i) const {
    switch (kind) {
      case Kind::layer:
      case Kind::rms:
        return i / shape.back();
      case Kind::batch:
        return channel(i);
      case Kind::group:
        return i / (inner() * shape[1] / groups);
    }
    return 0;
  }
  Shape statistics() const {
    if (kind == Kind::batch) return {shape[1]};
    if (kind == Kind::group) return {shape[0], groups};
    return Shape(std::span(shape.begin(), static_cast<size_t>(shape.rank() - 1)));
  }

 private:
  int64_t inner() const {
    int64_t n = 1;
    for (int a = 2; a < shape.rank(); ++a) n *= shape[a];
    return n;
  }
};

std::string to_string(const NormCase& c) {
  const char* names[] = {"layer", "rms", "batch", "group"};
  return concat(names[static_cast<int>(c.kind)], " norm of ", c.shape, " in ", c.groups, " groups");
}

const NormCase norm_cases[] = {
    {Kind::layer, {5, 7}},         {Kind::layer, {2, 3, 40}},   {Kind::layer, {1, 1}},
    {Kind::layer, {19, 130}},      {Kind::layer, {3, 5000}},    {Kind::layer, {9}},
    {Kind::rms, {5, 7}},           {Kind::rms, {4, 130}},       {Kind::rms, {2, 4500}},
    {Kind::batch, {6, 3}},         {Kind::batch, {37, 70}},     {Kind::batch, {1100, 5}},
    {Kind::batch, {2, 3, 4, 5}},   {Kind::batch, {4, 5, 1, 1}}, {Kind::batch, {3, 2, 70, 65}},
    {Kind::batch, {1, 40, 9}},     {Kind::batch, {70, 2, 17}},  {Kind::group, {2, 6, 5, 3}, 3},
    {Kind::group, {2, 3, 7}, 3},   {Kind::group, {3, 8}, 2},    {Kind::group, {2, 4, 4200}, 2},
    {Kind::group, {4, 5, 6, 2}, 1}};
constexpr double epsilon = 1e-3;

struct Statistics {
  Values mean, variance, count;
};

Statistics statistics_reference(const NormCase& c, const Values& x) {
  const auto n = static_cast<size_t>(c.statistics().numel());
  Statistics s{Values(n), Values(n), Values(n)};
  const auto at = [&](size_t i) {
    return static_cast<size_t>(c.statistic(static_cast<int64_t>(i)));
  };
  for (size_t i = 0; i < x.size(); ++i) ++s.count[at(i)];
  if (c.kind != Kind::rms)
    for (size_t i = 0; i < x.size(); ++i) s.mean[at(i)] += x[i] / s.count[at(i)];
  for (size_t i = 0; i < x.size(); ++i)
    s.variance[at(i)] += (x[i] - s.mean[at(i)]) * (x[i] - s.mean[at(i)]) / s.count[at(i)];
  return s;
}

Values norm_reference(const NormCase& c, const Values& x, const Values& gamma, const Values& beta) {
  const Statistics s = statistics_reference(c, x);
  Values y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const auto k = static_cast<size_t>(c.statistic(static_cast<int64_t>(i)));
    const auto channel = static_cast<size_t>(c.channel(static_cast<int64_t>(i)));
    y[i] = (x[i] - s.mean[k]) / std::sqrt(s.variance[k] + epsilon) * gamma[channel] + beta[channel];
  }
  return y;
}

class Norm : public test::TargetTest {
 protected:
  struct Result {
    Tensor y, mean, rstd, gx, ggamma, gbeta;
  };

  // Forward and, with a defined gy, gradient. Undefined gamma and beta are left out.
  static Result run(const NormCase& c, const Tensor& x_, const Tensor& gamma_, const Tensor& beta_,
                    const Tensor& gy_) {
    const auto moved = [](const Tensor& t) { return t.defined() ? on_device(t) : t; };
    const Tensor x = moved(x_), gamma = moved(gamma_), beta = moved(beta_), gy = moved(gy_);
    const DType wide_dtype = compute_dtype(x.dtype());
    Result r;
    r.y = empty(x.shape(), x.dtype());
    r.mean = empty(c.statistics(), wide_dtype);
    r.rstd = empty(c.statistics(), wide_dtype);
    Stream& s = stream();
    switch (c.kind) {
      case Kind::layer:
        layer_norm(s, x.view(), view_or_none(gamma), view_or_none(beta), epsilon, r.y.view(),
                   r.mean.view(), r.rstd.view());
        break;
      case Kind::rms:
        rms_norm(s, x.view(), view_or_none(gamma), epsilon, r.y.view(), r.rstd.view());
        break;
      case Kind::batch:
        batch_statistics(s, x.view(), {.epsilon = epsilon}, r.mean.view(), r.rstd.view());
        batch_norm(s, x.view(),
                   {r.mean.view(), r.rstd.view(), view_or_none(gamma), view_or_none(beta)}, {},
                   r.y.view());
        break;
      case Kind::group:
        group_norm(s, x.view(), c.groups, view_or_none(gamma), view_or_none(beta), epsilon,
                   r.y.view(), r.mean.view(), r.rstd.view());
        break;
    }
    if (!gy.defined()) return r;
    r.gx = empty(x.shape(), x.dtype());
    r.ggamma = empty({c.channels()}, wide_dtype);
    r.gbeta = empty({c.channels()}, x.dtype());
    switch (c.kind) {
      case Kind::layer:
        layer_norm_gradient(s, x.view(), view_or_none(gamma), r.mean.view(), r.rstd.view(),
                            gy.view(), r.gx.view(), r.ggamma.view(), r.gbeta.view());
        break;
      case Kind::rms:
        rms_norm_gradient(s, x.view(), view_or_none(gamma), r.rstd.view(), gy.view(), r.gx.view(),
                          r.ggamma.view());
        break;
      case Kind::batch:
        batch_norm_gradient(s, x.view(), {r.mean.view(), r.rstd.view(), view_or_none(gamma)},
                            gy.view(), true, r.gx.view(), r.ggamma.view(), r.gbeta.view());
        break;
      case Kind::group:
        group_norm_gradient(s, x.view(), c.groups, view_or_none(gamma), r.mean.view(),
                            r.rstd.view(), gy.view(), r.gx.view(), r.ggamma.view(), r.gbeta.view());
        break;
    }
    return r;
  }
};

TEST_P(Norm, MatchesTheDefinition) {
  uint64_t seed = 0;
  for (const NormCase& c : norm_cases)
    for (const bool with_parameters : {true, false}) {
      const auto channels = static_cast<size_t>(c.channels());
      const Tensor x = scaled(test::uniform(c.shape, dtype(), ++seed), 2, 0.5);
      Tensor gamma, beta;
      Values g(channels, 1), b(channels, 0);
      if (with_parameters) {
        seed += 2;
        gamma = test::uniform({c.channels()}, seed % 4 ? dtype() : compute_dtype(dtype()), seed);
        beta = test::uniform({c.channels()}, dtype(), seed + 1);
        g = to_doubles(gamma);
        if (c.kind != Kind::rms) b = to_doubles(beta);
      }
      const Result r = run(c, x, gamma, beta, {});
      const Statistics s = statistics_reference(c, to_doubles(x));
      Values rstd;
      for (const double v : s.variance) rstd.push_back(1 / std::sqrt(v + epsilon));
      expect_close(r.y, norm_reference(c, to_doubles(x), g, b), tolerance(dtype()).times(4),
                   to_string(c));
      if (c.kind != Kind::rms) expect_close(r.mean, s.mean, to_string(c));
      expect_close(r.rstd, rstd, to_string(c));
    }
}

TEST_P(Norm, GradientMatchesDifferences) {
  if (dtype() != DType::f64)
    GTEST_SKIP() << "differences need f64; other dtypes compare with it below";
  for (const NormCase& c : norm_cases) {
    if (c.shape.numel() > 700) continue;
    const Tensor x = test::uniform(c.shape, DType::f64, 1),
                 gy = test::uniform(c.shape, DType::f64, 2);
    const Tensor gamma = test::uniform({c.channels()}, DType::f64, 3);
    const Tensor beta = test::uniform({c.channels()}, DType::f64, 4);
    const Result r = run(c, x, gamma, beta, gy);
    const Values vx = to_doubles(x), vg = to_doubles(gamma), vb = to_doubles(beta),
                 vgy = to_doubles(gy);
    const test::Tolerance allowed{1e-6, 1e-6};
    expect_close(
        r.gx,
        numeric_gradient([&](const Values& v) { return norm_reference(c, v, vg, vb); }, vx, vgy),
        allowed, concat("gx, ", c));
    expect_close(
        r.ggamma,
        numeric_gradient([&](const Values& v) { return norm_reference(c, vx, v, vb); }, vg, vgy),
        allowed, concat("ggamma, ", c));
    if (c.kind == Kind::rms) continue;
    expect_close(
        r.gbeta,
        numeric_gradient([&](const Values& v) { return norm_reference(c, vx, vg, v); }, vb, vgy),
        allowed, concat("gbeta, ", c));
  }
}

TEST_P(Norm, GradientAgreesWithDouble) {
  for (const NormCase& c : norm_cases) {
    if (c.shape.numel() / c.statistics().numel() < 2) continue;  // an xhat of pure rounding errors
    const Tensor x = test::uniform(c.shape, dtype(), 5), gy = test::uniform(c.shape, dtype(), 6);
    const Tensor gamma = test::uniform({c.channels()}, dtype(), 7),
                 beta = test::uniform({c.channels()}, dtype(), 8);
    const Result r = run(c, x, gamma, beta, gy),
                 exact = run(c, wide(x), wide(gamma), wide(beta), wide(gy));
    const double terms = std::sqrt(static_cast<double>(c.shape.numel() / c.channels()));
    expect_close(r.gx, to_doubles(exact.gx), tolerance(dtype()).times(4), concat("gx, ", c));
    expect_close(r.ggamma, to_doubles(exact.ggamma),
                 tolerance(compute_dtype(dtype())).times(4 * terms), concat("ggamma, ", c));
    if (c.kind != Kind::rms)
      expect_close(r.gbeta, to_doubles(exact.gbeta), tolerance(dtype()).times(4 * terms),
                   concat("gbeta, ", c));
  }
}

TEST_P(Norm, AbsentOperandsOfTheGradient) {
  for (const NormCase& c : {NormCase{Kind::layer, {20, 33}}, NormCase{Kind::group, {3, 4, 5}, 2},
                            NormCase{Kind::batch, {5, 4, 6}}, NormCase{Kind::batch, {9, 4}}}) {
    const Tensor x = on_device(test::uniform(c.shape, dtype(), 1)),
                 gy = on_device(test::uniform(c.shape, dtype(), 2));
    const Tensor ones =
        from_doubles(Values(static_cast<size_t>(c.channels()), 1), {c.channels()}, dtype());
    const Result all = run(c, x, ones, {}, gy);
    const Tensor gx = empty(c.shape), gbeta = empty({c.channels()});
    const View m = all.mean.view(), w = all.rstd.view();
    Stream& s = stream();
    if (c.kind == Kind::layer) {
      layer_norm_gradient(s, x.view(), {}, m, w, gy.view(), gx.view());
      layer_norm_gradient(s, x.view(), {}, m, w, gy.view(), {}, {}, gbeta.view());
    } else if (c.kind == Kind::group) {
      group_norm_gradient(s, x.view(), c.groups, {}, m, w, gy.view(), gx.view());
      group_norm_gradient(s, x.view(), c.groups, {}, m, w, gy.view(), {}, {}, gbeta.view());
    } else {
      batch_norm_gradient(s, x.view(), {m, w}, gy.view(), true, gx.view());
      batch_norm_gradient(s, x.view(), {m, w}, gy.view(), true, {}, {}, gbeta.view());
    }
    EXPECT_EQ(to_doubles(gx), to_doubles(all.gx)) << to_string(c);
    EXPECT_EQ(to_doubles(gbeta), to_doubles(all.gbeta)) << to_string(c);
  }
}

TEST_P(Norm, SameBitsForAnyThreadCount) {
  for (const NormCase& c :
       {NormCase{Kind::layer, {257, 331}}, NormCase{Kind::rms, {300, 200}},
        NormCase{Kind::batch, {33, 7, 19, 18}}, NormCase{Kind::batch, {3000, 37}},
        NormCase{Kind::batch, {2, 64, 33, 31}}, NormCase{Kind::group, {30, 12, 300}, 3}}) {
    const Tensor x = test::uniform(c.shape, dtype(), 1), gy = test::uniform(c.shape, dtype(), 2);
    const Tensor gamma = test::uniform({c.channels()}, dtype(), 3),
                 beta = test::uniform({c.channels()}, dtype(), 4);
    const auto bits = [&](int threads) {
      const Threads scope(threads);
      const Result r = run(c, x, gamma, beta, gy);
      Values all = to_doubles(r.y);
      for (const Tensor& t : {r.rstd, r.gx, r.ggamma})
        for (const double v : to_doubles(t)) all.push_back(v);
      if (c.kind != Kind::rms)
        for (const double v : to_doubles(r.gbeta)) all.push_back(v);
      return all;
    };
    const Values one = bits(1);
    for (const int threads : {2, 3})
      EXPECT_EQ(bits(threads), one) << to_string(c) << " on " << threads;
  }
}

// The mean is far larger than the spread: a variance from E[x^2] - E[x]^2 in float would be noise.
TEST_P(Norm, LargeOffset) {
  if (is_half(dtype())) GTEST_SKIP() << "the spread is lost in the inputs already";
  for (const NormCase& c :
       {NormCase{Kind::layer, {3, 600}}, NormCase{Kind::batch, {50, 4, 30}},
        NormCase{Kind::batch, {300, 5}}, NormCase{Kind::group, {2, 4, 300}, 2}}) {
    const Tensor x = scaled(test::uniform(c.shape, dtype(), 1), 1, 4096);
    const auto channels = static_cast<size_t>(c.channels());
    expect_close(run(c, x, {}, {}, {}).y,
                 norm_reference(c, to_doubles(x), Values(channels, 1), Values(channels, 0)),
                 {0, 1e-3}, to_string(c));
  }
}

TEST_P(Norm, InPlace) {
  for (const NormCase& c : {NormCase{Kind::layer, {4, 40}}, NormCase{Kind::batch, {5, 4, 6}}}) {
    const Tensor x = on_device(test::uniform(c.shape, dtype(), 1)),
                 gy = on_device(test::uniform(c.shape, dtype(), 2));
    const Result r = run(c, x, {}, {}, gy);
    const Tensor y = x.clone(), gx = gy.clone();
    if (c.kind == Kind::layer) {
      layer_norm(stream(), y.view(), {}, {}, epsilon, y.view());
      layer_norm_gradient(stream(), x.view(), {}, r.mean.view(), r.rstd.view(), gx.view(),
                          gx.view());
    } else {
      const BatchNormMap map{r.mean.view(), r.rstd.view()};
      batch_norm(stream(), y.view(), map, {}, y.view());
      batch_norm_gradient(stream(), x.view(), map, gx.view(), true, gx.view());
    }
    EXPECT_EQ(to_doubles(y), to_doubles(r.y));
    EXPECT_EQ(to_doubles(gx), to_doubles(r.gx));
  }
}

TEST_P(Norm, RunningStatistics) {
  for (const Shape& shape : {Shape{6, 3}, Shape{4, 3, 5, 2}}) {
    const NormCase c{Kind::batch, shape};
    const Tensor x = test::uniform(shape, dtype(), 1), in = on_device(x);
    const Tensor batch_mean = empty({3}, compute_dtype(dtype())),
                 rstd = empty({3}, compute_dtype(dtype()));
    const Tensor running_mean = on_device(from_doubles({1, 2, 3}, {3}, dtype())).clone();
    const Tensor running_var = on_device(from_doubles({1, 0.5, 2}, {3}, dtype())).clone();
    batch_statistics(stream(), in.view(), {.momentum = 0.25}, batch_mean.view(), rstd.view(),
                     running_mean.view(), running_var.view());
    const Statistics s = statistics_reference(c, to_doubles(x));
    Values mean = {0.75, 1.5, 2.25}, variance = {0.75, 0.375, 1.5};
    for (size_t i = 0; i < 3; ++i) {
      mean[i] += 0.25 * s.mean[i];
      variance[i] += 0.25 * s.variance[i] * s.count[i] / (s.count[i] - 1);
    }
    expect_close(running_mean, mean);
    expect_close(running_var, variance);
  }
}

// Statistics that do not depend on x, a residual, and relu of the result.
TEST_P(Norm, BatchNormOfGivenStatistics) {
  const DType wide = compute_dtype(dtype());
  for (const Shape& shape : {Shape{6, 5}, Shape{4, 5, 7}, Shape{3, 5, 67}, Shape{33, 37}}) {
    const int64_t channels = shape[1];
    const auto count = static_cast<size_t>(channels);
    const Tensor x = test::uniform(shape, dtype(), 1), gy = test::uniform(shape, dtype(), 2),
                 residual = test::uniform(shape, dtype(), 7);
    const Tensor gamma = test::uniform({channels}, dtype(), 3),
                 beta = test::uniform({channels}, dtype(), 4);
    const Tensor mean = test::uniform({channels}, wide, 5),
                 rstd = scaled(test::uniform({channels}, wide, 6), 0.5, 1.5);
    const Tensor dx = on_device(x), dgy = on_device(gy), dgamma = on_device(gamma),
                 dbeta = on_device(beta), dmean = on_device(mean), drstd = on_device(rstd),
                 dresidual = on_device(residual);
    const Values vx = to_doubles(x), g = to_doubles(gamma), b = to_doubles(beta),
                 m = to_doubles(mean), w = to_doubles(rstd), vgy = to_doubles(gy),
                 vr = to_doubles(residual);
    const NormCase c{Kind::batch, shape};
    for (const bool relu : {false, true}) {
      const BatchNormMap map{dmean.view(), drstd.view(), dgamma.view(), dbeta.view(), relu};
      const Tensor y = empty(shape), sum = empty(shape), gx = empty(shape),
                   ggamma = empty({channels}), gbeta = empty({channels});
      batch_norm(stream(), dx.view(), map, {}, y.view());
      batch_norm(stream(), dx.view(), map, dresidual.view(), sum.view());
      batch_norm_gradient(stream(), dx.view(), map, dgy.view(), false, gx.view(), ggamma.view(),
                          gbeta.view());
      Values wanted(vx.size()), wanted_sum(vx.size()), wanted_gx(vx.size()), wanted_ggamma(count),
          wanted_gbeta(count);
      const auto kept = [&](double z) { return relu && z <= 0 ? 0 : z; };
      for (size_t i = 0; i < vx.size(); ++i) {
        const auto k = static_cast<size_t>(c.channel(static_cast<int64_t>(i)));
        const double xhat = (vx[i] - m[k]) * w[k], z = xhat * g[k] + b[k];
        const double gz = relu && z <= 0 ? 0 : vgy[i];
        wanted[i] = kept(z);
        wanted_sum[i] = kept(z + vr[i]);
        wanted_gx[i] = gz * w[k] * g[k];
        wanted_ggamma[k] += gz * xhat;
        wanted_gbeta[k] += gz;
      }
      expect_close(y, wanted, tolerance(dtype()).times(4));
      expect_close(sum, wanted_sum, tolerance(dtype()).times(4));
      expect_close(gx, wanted_gx, tolerance(dtype()).times(4));
      expect_close(ggamma, wanted_ggamma, tolerance(dtype()).times(16));
      expect_close(gbeta, wanted_gbeta, tolerance(dtype()).times(16));
    }
  }
}

TEST_P(Norm, EmptyInput) {
  for (const NormCase& c : {NormCase{Kind::layer, {0, 5}}, NormCase{Kind::rms, {0, 5}},
                            NormCase{Kind::batch, {0, 5}}, NormCase{Kind::batch, {0, 5, 3}},
                            NormCase{Kind::group, {0, 4, 2}, 2}, NormCase{Kind::batch, {2, 5, 0}},
                            NormCase{Kind::group, {2, 4, 0}, 2}, NormCase{Kind::layer, {3, 0}}}) {
    const Tensor x = Tensor::empty(c.shape, dtype(), Device::cpu());
    const Result r = run(c, x, {}, {}, x);
    expect_close(r.ggamma, Values(static_cast<size_t>(c.channels()), 0), to_string(c));
    if (c.kind != Kind::rms)
      expect_close(r.gbeta, Values(static_cast<size_t>(c.channels()), 0), to_string(c));
  }
  const Tensor x = empty({0, 2}), mean = on_device(from_doubles({1, 2}, {2}, dtype())).clone();
  const Tensor batch_mean = empty({2}, compute_dtype(dtype())),
               rstd = empty({2}, compute_dtype(dtype()));
  batch_statistics(stream(), x.view(), {}, batch_mean.view(), rstd.view(), mean.view(), {});
  expect_close(mean, {1, 2});
}

TEST_P(Norm, BadInput) {
  Stream& s = stream();
  const Tensor x = empty({4, 6}), gamma = empty({5}), stat = empty({4}, compute_dtype(dtype()));
  EXPECT_THROW(layer_norm(s, x.view(), gamma.view(), {}, epsilon, x.view()), Error);
  EXPECT_THROW(layer_norm(s, x.view(), empty({6}, DType::i32).view(), {}, epsilon, x.view()),
               Error);
  EXPECT_THROW(layer_norm(s, x.view(), {}, {}, epsilon, empty({6, 4}).view()), Error);
  EXPECT_THROW(
      layer_norm(s, x.view(), {}, {}, epsilon, x.view(), empty({6}, compute_dtype(dtype())).view()),
      Error);
  EXPECT_THROW(layer_norm(s, x.transpose(0, 1).view(), {}, {}, epsilon, empty({6, 4}).view()),
               Error);
  EXPECT_THROW(layer_norm_gradient(s, x.view(), {}, {}, stat.view(), x.view(), x.view()), Error);
  EXPECT_THROW(layer_norm_gradient(s, x.view(), {}, stat.view(), stat.view(), View{}, x.view()),
               Error);
  EXPECT_THROW(group_norm(s, x.view(), 4, {}, {}, epsilon, x.view()), Error);
  EXPECT_THROW(group_norm(s, x.view(), 0, {}, {}, epsilon, x.view()), Error);
  const DType wide = compute_dtype(dtype());
  const Tensor mean = empty({6}, wide), rstd = empty({6}, wide), running = empty({6});
  const BatchNormMap map{mean.view(), rstd.view()};
  EXPECT_THROW(batch_norm(s, stat.view(), map, {}, stat.view()), Error);
  EXPECT_THROW(batch_norm(s, x.view(), {mean.view(), {}}, {}, x.view()), Error);
  EXPECT_THROW(batch_norm(s, x.view(), map, empty({6, 4}).view(), x.view()), Error);
  EXPECT_THROW(batch_statistics(s, empty({1, 6}).view(), {}, mean.view(), rstd.view(),
                                running.view(), running.view()),
               Error);
  try {
    layer_norm(s, x.view(), gamma.view(), {}, epsilon, x.view());
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("gamma"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("[5]"), std::string::npos) << e.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Norm, test::targets(test::float_dtypes, &Backend::rowwise),
                         test::target_name);

}  // namespace
}  // namespace tessera::kernels
