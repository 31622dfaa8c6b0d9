#include <gtest/gtest.h>

#include "tessera/kernels/rowwise.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera {
namespace {

class BatchNormTangent : public test::TargetTest {
 protected:
  struct Point {
    Tensor x, gamma, gy;
  };
  struct Gradients {
    std::vector<double> gx, ggamma, gbeta;
  };

  static Tensor moved(const Tensor& at, const Tensor& direction, double step) {
    auto v = test::to_doubles(at);
    const auto d = test::to_doubles(direction);
    for (size_t i = 0; i < v.size(); ++i) v[i] += step * d[i];
    return test::from_doubles(v, at.shape(), DType::f64);
  }

  // The gradient kernel itself, in f64 on the CPU.
  static Gradients gradients(const Point& p) {
    Stream& s = current_stream(Device::cpu());
    const Shape channels{p.x.size(1)};
    const auto make = [](const Shape& shape) {
      return Tensor::empty(shape, DType::f64, Device::cpu());
    };
    const Tensor y = make(p.x.shape()), mean = make(channels), rstd = make(channels),
                 gx = make(p.x.shape()), ggamma = make(channels), gbeta = make(channels);
    kernels::batch_norm(s, p.x.view(), p.gamma.view(), {}, {}, y.view(), mean.view(), rstd.view(),
                        {}, {});
    kernels::batch_norm_gradient(s, p.x.view(), p.gamma.view(), mean.view(), rstd.view(),
                                 p.gy.view(), true, gx.view(), ggamma.view(), gbeta.view());
    return {test::to_doubles(gx), test::to_doubles(ggamma), test::to_doubles(gbeta)};
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, BatchNormTangent,
                         test::targets(test::float_dtypes, &Backend::rowwise), test::target_name);

TEST_P(BatchNormTangent, EqualsTheDifferenceQuotientOfTheGradient) {
  uint64_t seed = 0;
  for (const Shape& shape :
       {Shape{4, 3, 5, 3}, Shape{9, 21}, Shape{2, 5, 40}, Shape{70, 2, 6, 6}, Shape{3, 1, 1, 1}}) {
    for (int given = 1; given < 8; ++given) {  // which of dx, dgamma, dgy are there
      const Shape channels{shape[1]};
      // values that every dtype holds exactly, so that all dtypes are compared at the same point
      const auto draw = [&](const Shape& of) { return test::integers(of, dtype(), ++seed, 40); };
      const Tensor x = draw(shape), gamma = draw(channels), gy = draw(shape);
      const Tensor dx = draw(shape), dgamma = draw(channels), dgy = draw(shape);
      const auto optional = [&](int bit, const Tensor& t) {
        return given & bit ? on_device(t).view() : View();
      };

      const DType wide = dtype() == DType::f64 ? DType::f64 : DType::f32;
      const Tensor y = empty(shape), mean = empty(channels, wide), rstd = empty(channels, wide);
      const Tensor dgx = empty(shape), dggamma = empty(channels, wide),
                   dgbeta = empty(channels, wide);
      kernels::batch_norm(stream(), on_device(x).view(), on_device(gamma).view(), {}, {}, y.view(),
                          mean.view(), rstd.view(), {}, {});
      kernels::batch_norm_gradient_tangent(stream(), on_device(x).view(), on_device(gamma).view(),
                                           mean.view(), rstd.view(), on_device(gy).view(),
                                           optional(1, dx), optional(2, dgamma), optional(4, dgy),
                                           dgx.view(), dggamma.view(), dgbeta.view());

      const Tensor zero_x = Tensor::zeros(shape, DType::f64, Device::cpu());
      const Tensor zero_c = Tensor::zeros(channels, DType::f64, Device::cpu());
      const double h = 1e-3;
      const auto at = [&](double step) {
        return gradients({moved(x, given & 1 ? dx : zero_x, step),
                          moved(gamma, given & 2 ? dgamma : zero_c, step),
                          moved(gy, given & 4 ? dgy : zero_x, step)});
      };
      const Gradients p1 = at(h), m1 = at(-h), p2 = at(2 * h), m2 = at(-2 * h);
      const auto quotient = [&](std::vector<double> Gradients::*part) {  // fourth order
        std::vector<double> d((p1.*part).size());
        for (size_t i = 0; i < d.size(); ++i)
          d[i] = (8 * ((p1.*part)[i] - (m1.*part)[i]) - ((p2.*part)[i] - (m2.*part)[i])) / (12 * h);
        return d;
      };
      const auto compare = [&](const Tensor& got, const std::vector<double>& wanted,
                               const char* what) {
        double scale = 0;
        for (const double w : wanted) scale = std::max(scale, std::abs(w));
        const double rounding = got.dtype() == DType::f64 ? 1e-7 : 400 * test::roundoff(DType::f32);
        const double own = got.dtype() == DType::f64 ? 0 : test::roundoff(got.dtype());
        test::expect_close(got, wanted,
                           {.rtol = 1.01 * own, .atol = rounding * std::max(scale, 1.0)},
                           concat(what, " shape ", shape, " given ", given));
      };
      compare(dgx, quotient(&Gradients::gx), "dgx");
      compare(dggamma, quotient(&Gradients::ggamma), "dggamma");
      compare(dgbeta, quotient(&Gradients::gbeta), "dgbeta");
    }
  }
}

}  // namespace
}  // namespace tessera
