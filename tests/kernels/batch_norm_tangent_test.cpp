#include <gtest/gtest.h>

#include "tessera/kernels/rowwise.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera {
namespace {

using kernels::BatchNormMap;
using Values = std::vector<double>;

const std::vector<Shape> shapes{{4, 3, 5, 3}, {9, 21}, {2, 5, 40}, {70, 2, 6, 6}, {3, 1, 1, 1}};

class BatchNormTangent : public test::TargetTest {
 protected:
  struct Point {
    Tensor x, gamma, beta, gy;
  };
  struct Results {
    Values y, gx, ggamma, gbeta;
  };

  static Tensor moved(const Tensor& at, const Tensor& direction, double step) {
    auto v = test::to_doubles(at);
    const auto d = test::to_doubles(direction);
    for (size_t i = 0; i < v.size(); ++i) v[i] += step * d[i];
    return test::from_doubles(v, at.shape(), DType::f64);
  }
  static Tensor zeros(const Shape& shape) {
    return Tensor::zeros(shape, DType::f64, Device::cpu());
  }

  // The function and its gradient, in f64 on the CPU.
  static Results results(const Point& p) {
    Stream& s = current_stream(Device::cpu());
    const Shape channels{p.x.size(1)};
    const Tensor y = zeros(p.x.shape()), mean = zeros(channels), rstd = zeros(channels),
                 gx = zeros(p.x.shape()), ggamma = zeros(channels), gbeta = zeros(channels);
    const BatchNormMap map{mean.view(), rstd.view(), p.gamma.view(), p.beta.view()};
    kernels::batch_statistics(s, p.x.view(), {}, mean.view(), rstd.view());
    kernels::batch_norm(s, p.x.view(), map, {}, y.view());
    kernels::batch_norm_gradient(s, p.x.view(), map, p.gy.view(), true, gx.view(), ggamma.view(),
                                 gbeta.view());
    return {test::to_doubles(y), test::to_doubles(gx), test::to_doubles(ggamma),
            test::to_doubles(gbeta)};
  }

  // Difference quotient of fourth order of the results on the line at(step).
  template <class At>
  static auto quotient_along(At&& at) {
    constexpr double h = 1e-3;
    return [p1 = at(h), m1 = at(-h), p2 = at(2 * h), m2 = at(-2 * h)](Values Results::*part) {
      Values d((p1.*part).size());
      for (size_t i = 0; i < d.size(); ++i)
        d[i] = (8 * ((p1.*part)[i] - (m1.*part)[i]) - ((p2.*part)[i] - (m2.*part)[i])) / (12 * h);
      return d;
    };
  }

  static void compare(const Tensor& got, const Values& wanted, const std::string& what) {
    double scale = 0;
    for (const double w : wanted) scale = std::max(scale, std::abs(w));
    const double rounding = got.dtype() == DType::f64 ? 1e-7 : 400 * test::roundoff(DType::f32);
    const double own = got.dtype() == DType::f64 ? 0 : test::roundoff(got.dtype());
    test::expect_close(got, wanted, {.rtol = 1.01 * own, .atol = rounding * std::max(scale, 1.0)},
                       what);
  }

  DType wide() const { return dtype() == DType::f64 ? DType::f64 : DType::f32; }

  // A point and its statistics on the device.
  struct OnDevice {
    Tensor x, gamma, beta, gy, mean, rstd;
    BatchNormMap map(bool relu) const {
      return {mean.view(), rstd.view(), gamma.view(), beta.view(), relu};
    }
  };
  OnDevice on_device_with_statistics(const Point& p) {
    const Shape channels{p.x.size(1)};
    OnDevice d{on_device(p.x),  on_device(p.gamma),      on_device(p.beta),
               on_device(p.gy), empty(channels, wide()), empty(channels, wide())};
    kernels::batch_statistics(stream(), d.x.view(), {}, d.mean.view(), d.rstd.view());
    return d;
  }

  // Values that every dtype holds exactly, so that all dtypes are compared at the same point.
  Tensor draw(const Shape& shape) { return test::integers(shape, dtype(), ++seed_, 40); }
  Point draw_point(const Shape& shape) {
    const Shape channels{shape[1]};
    return {draw(shape), draw(channels), draw(channels), draw(shape)};
  }

 private:
  uint64_t seed_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Targets, BatchNormTangent,
                         test::targets(test::float_dtypes, &kernels::Backend::rowwise),
                         test::target_name);

TEST_P(BatchNormTangent, EqualsTheDifferenceQuotientOfTheResult) {
  for (const Shape& shape : shapes) {
    const Point p = draw_point(shape), v = draw_point(shape);
    for (int given = 1; given < 8; ++given) {  // which of dx, dgamma, dbeta are there
      const auto at = [&](double step) {
        return results({moved(p.x, v.x, given & 1 ? step : 0),
                        moved(p.gamma, v.gamma, given & 2 ? step : 0),
                        moved(p.beta, v.beta, given & 4 ? step : 0), moved(p.gy, v.gy, 0)});
      };
      const OnDevice d = on_device_with_statistics(p);
      const Tensor dx = on_device(v.x), dgamma = on_device(v.gamma), dbeta = on_device(v.beta);
      const Tensor dmean = empty({shape[1]}, wide()), drstd = empty({shape[1]}, wide()),
                   dy = empty(shape);
      BatchNormMap moves;
      if (given & 1) {
        kernels::batch_statistics_tangent(stream(), d.x.view(), d.mean.view(), d.rstd.view(),
                                          dx.view(), dmean.view(), drstd.view());
        moves.mean = dmean.view(), moves.rstd = drstd.view();
      }
      if (given & 2) moves.gamma = dgamma.view();
      if (given & 4) moves.beta = dbeta.view();
      kernels::batch_norm_tangent(stream(), d.x.view(), d.map(false), {},
                                  given & 1 ? dx.view() : View(), moves, {}, dy.view());
      compare(dy, quotient_along(at)(&Results::y), concat("shape ", shape, " given ", given));
    }
  }
}

TEST_P(BatchNormTangent, OfTheGradientEqualsItsDifferenceQuotient) {
  for (const Shape& shape : shapes) {
    const Point p = draw_point(shape), v = draw_point(shape);
    for (int given = 1; given < 8; ++given) {  // which of dx, dgamma, dgy are there
      const auto at = [&](double step) {
        return results({moved(p.x, v.x, given & 1 ? step : 0),
                        moved(p.gamma, v.gamma, given & 2 ? step : 0), moved(p.beta, v.beta, 0),
                        moved(p.gy, v.gy, given & 4 ? step : 0)});
      };
      const OnDevice d = on_device_with_statistics(p);
      const Tensor dx = on_device(v.x), dgamma = on_device(v.gamma), dgy = on_device(v.gy);
      const auto optional = [&](int bit, const Tensor& t) {
        return given & bit ? t.view() : View();
      };
      const Tensor dgx = empty(shape), dggamma = empty({shape[1]}, wide()),
                   dgbeta = empty({shape[1]}, wide());
      kernels::batch_norm_gradient_tangent(stream(), d.x.view(), d.map(false), d.gy.view(),
                                           optional(1, dx), optional(2, dgamma), optional(4, dgy),
                                           dgx.view(), dggamma.view(), dgbeta.view());
      const auto quotient = quotient_along(at);
      const std::string what = concat(" shape ", shape, " given ", given);
      compare(dgx, quotient(&Results::gx), "dgx" + what);
      compare(dggamma, quotient(&Results::ggamma), "dggamma" + what);
      compare(dgbeta, quotient(&Results::gbeta), "dgbeta" + what);
    }
  }
}

// Through relu passes what passes its derivative, 1 where the result is positive and else 0.
TEST_P(BatchNormTangent, ThroughReluPassesWhereTheResultIsPositive) {
  for (const Shape& shape : shapes) {
    const Point p = draw_point(shape), v = draw_point(shape);
    const OnDevice d = on_device_with_statistics(p);
    const Shape channels{shape[1]};
    const Tensor y = empty(shape), sum = empty(shape), residual = on_device(draw(shape));
    kernels::batch_norm(stream(), d.x.view(), d.map(false), {}, y.view());
    kernels::batch_norm(stream(), d.x.view(), d.map(true), residual.view(), sum.view());
    const auto masked = [&](const Tensor& t, const Tensor& result) {
      Values values = test::to_doubles(t);
      const Values positive = test::to_doubles(result);
      for (size_t i = 0; i < values.size(); ++i)
        if (!(positive[i] > 0)) values[i] = 0;
      return values;
    };
    const auto masked_tensor = [&](const Tensor& t) {
      return on_device(test::from_doubles(masked(t, y), shape, dtype()));
    };
    const std::string what = concat("shape ", shape);

    const Tensor dx = on_device(v.x), dgamma = on_device(v.gamma), dbeta = on_device(v.beta),
                 dgy = on_device(v.gy);
    const BatchNormMap moves{{}, {}, dgamma.view(), dbeta.view()};
    const Tensor plain = empty(shape), through = empty(shape), through_sum = empty(shape);
    const auto tangent = [&](bool relu, const View& result, const View& dresidual,
                             const Tensor& out) {
      kernels::batch_norm_tangent(stream(), d.x.view(), d.map(relu), result, dx.view(), moves,
                                  dresidual, out.view());
    };
    tangent(false, {}, {}, plain);
    tangent(true, {}, {}, through);
    EXPECT_EQ(test::to_doubles(through), masked(plain, y)) << what;
    tangent(false, {}, dgy.view(), plain);
    tangent(true, sum.view(), dgy.view(), through_sum);
    EXPECT_EQ(test::to_doubles(through_sum), masked(plain, sum)) << what;

    const auto gradients = [&](bool relu, const Tensor& gy, const Tensor& moved_gy) {
      const Tensor gx = empty(shape), ggamma = empty(channels), gbeta = empty(channels),
                   dgx = empty(shape), dggamma = empty(channels), dgbeta = empty(channels);
      kernels::batch_norm_gradient(stream(), d.x.view(), d.map(relu), gy.view(), true, gx.view(),
                                   ggamma.view(), gbeta.view());
      kernels::batch_norm_gradient_tangent(stream(), d.x.view(), d.map(relu), gy.view(), dx.view(),
                                           dgamma.view(), moved_gy.view(), dgx.view(),
                                           dggamma.view(), dgbeta.view());
      std::vector<Values> all;
      for (const Tensor& t : {gx, ggamma, gbeta, dgx, dggamma, dgbeta})
        all.push_back(test::to_doubles(t));
      return all;
    };
    EXPECT_EQ(gradients(true, d.gy, dgy), gradients(false, masked_tensor(d.gy), masked_tensor(dgy)))
        << what;
  }
}

}  // namespace
}  // namespace tessera
