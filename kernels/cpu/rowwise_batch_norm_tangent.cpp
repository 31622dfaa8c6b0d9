// Tangents of batch norm and of its gradient.
#include "tessera/kernels/cpu/batch_channels.hpp"

namespace tessera::kernels::cpu {

// dmean = mean(dx); rstd = (variance + epsilon)^(-1/2) moves by -rstd^3 mean((x - mean) dx).
void batch_statistics_tangent(Stream& s, View x, View mean, View rstd, View dx, View dmean,
                              View drstd) {
  const BatchLayout l{check_batch_statistics_tangent(x, mean, rstd, dx, dmean, drstd)};
  for_float(x.dtype, "batch_statistics_tangent", [&]<class T>() {
    using C = compute_t<T>;
    const Parameter<C> centre(s, mean, l.channels, C{0}), width(s, rstd, l.channels, C{1});
    const T *from = x.as<const T>(), *moved = dx.as<const T>();
    const auto sums = channel_sums<2, C>(s, l, [&](int64_t offset, auto channel) {
      return [=, m = channel(centre.data())](auto at) {
        const Vec<C> u = read(moved + offset, at);
        return std::array{u, u * (read(from + offset, at) - m(at))};
      };
    });
    const double n = std::max(1.0, static_cast<double>(l.per_channel()));
    fill_from(dmean, [&](int64_t c) { return sums[c].of[0] / n; });
    fill_from(drstd, [&](int64_t c) {
      const double r = static_cast<double>(width[c]);
      return -r * r * r * sums[c].of[1] / n;
    });
  });
}

// dz = rstd gamma dx + (drstd gamma + rstd dgamma) (x - mean) + (dbeta - rstd gamma dmean)
void batch_norm_tangent(Stream& s, View x, const BatchNormMap& map, View y, View dx,
                        const BatchNormMap& moves, View dresidual, View dy) {
  const BatchLayout l{check_batch_norm_tangent(x, map, y, dx, moves, dresidual, dy)};
  for_float(x.dtype, "batch_norm_tangent", [&]<class T>() {
    using C = compute_t<T>;
    const ChannelMap<C> channels(s, map, l.channels);
    const Parameter<C> dmean(s, moves.mean, l.channels, C{0}),
        drstd(s, moves.rstd, l.channels, C{0}), dgamma(s, moves.gamma, l.channels, C{0}),
        dbeta(s, moves.beta, l.channels, C{0});
    const Scratch factors = s.scratch(static_cast<size_t>(2 * l.channels) * sizeof(C));
    C *of_deviation = factors.as<C>(), *constant = of_deviation + l.channels;
    for (int64_t c = 0; c < l.channels; ++c) {
      of_deviation[c] = drstd[c] * channels.gamma[c] + channels.rstd[c] * dgamma[c];
      constant[c] = dbeta[c] - channels.scale()[c] * dmean[c];
    }
    const T *from = x.as<const T>(), *result = y.as<const T>(), *moved = dx.as<const T>(),
            *added = dresidual.as<const T>();
    T* to = dy.as<T>();
    with_flag(map.relu && !result, [&](auto relu_of_z) {
      l.each(dy, 5, [&](int64_t offset, int64_t n, auto channel, auto store) {
        row_each<C>(n, [=, mean = channel(channels.mean.data()), a = channel(channels.scale()),
                        b = channel(of_deviation), d = channel(constant),
                        through = channels.through(relu_of_z, channel)](auto at) {
          const Vec<C> e = read(from + offset, at) - mean(at);
          Vec<C> dz = fma(b(at), e, d(at));
          if (moved) dz = fma(a(at), read(moved + offset, at), dz);
          if (added) dz += read(added + offset, at);
          if (result) dz = functors::relu_gradient(dz, read(result + offset, at));
          store(to + offset, at, through(at, e, dz));
        });
      });
    });
  });
}

// With P(v) = rstd * (v - mean(v) - xhat * mean(xhat v)), the gradient is gx = gamma P(gy), and
// xhat moves by P(dx), rstd by -rstd^2 mean(xhat dx). Differentiating,
//   dgx = dgamma P(gy) + gamma (P(dgy) - rstd (mean(xhat dx) P(gy) + mean(xhat gy) P(dx) + xhat
//   mean(P(dx) gy))),
// which is a combination of gy, dgy, dx, x - mean and 1 with one factor of each per channel.
void batch_norm_gradient_tangent(Stream& s, View x, const BatchNormMap& map, View gy, View dx,
                                 View dgamma, View dgy, View dgx, View dggamma, View dgbeta) {
  const BatchLayout l{
      check_batch_norm_gradient_tangent(x, map, gy, dx, dgamma, dgy, dgx, dggamma, dgbeta)};
  for_float(x.dtype, "batch_norm_gradient_tangent", [&]<class T>() {
    using C = compute_t<T>;
    const ChannelMap<C> channels(s, map, l.channels);
    const Parameter<C> moved(s, dgamma, l.channels, C{0});
    const Scratch factors = s.scratch(static_cast<size_t>(5 * l.channels) * sizeof(C));
    C *of_gy = factors.as<C>(), *of_dgy = of_gy + l.channels, *of_dx = of_dgy + l.channels,
      *of_deviation = of_dx + l.channels, *constant = of_deviation + l.channels;
    const T *from = x.as<const T>(), *grad = gy.as<const T>(), *point = dx.as<const T>(),
            *moved_grad = dgy.as<const T>();
    with_flag(map.relu, [&](auto relu) {
      struct Operands {
        Vec<C> e, g, t, u;  // x - mean, gy, its tangent, the tangent of x
      };
      const auto operands = [&, relu](int64_t offset, auto channel) {
        return [=, mean = channel(channels.mean.data()),
                through = channels.through(relu, channel)](auto at) {
          const Vec<C> e = read(from + offset, at) - mean(at), zero(C{0});
          return Operands{e, through(at, e, read(grad + offset, at)),
                          moved_grad ? through(at, e, read(moved_grad + offset, at)) : zero,
                          point ? read(point + offset, at) : zero};
        };
      };
      const auto sums = channel_sums<7, C>(s, l, [&](int64_t offset, auto channel) {
        return [at_place = operands(offset, channel)](auto at) {
          const auto [e, g, t, u] = at_place(at);
          return std::array{g, e * g, t, e * t, u, e * u, u * g};
        };
      });

      const double n = std::max(1.0, static_cast<double>(l.per_channel())), share = 1 / n;
      for (int64_t c = 0; c < l.channels; ++c) {
        const double r = static_cast<double>(channels.rstd[c]), r2 = r * r,
                     k = static_cast<double>(channels.gamma[c]), dk = static_cast<double>(moved[c]);
        const auto [g, eg, t, et, u, eu, ug] = sums[c].of;
        const double mean_g = g * share, mean_eg = eg * share, mean_eu = eu * share;
        of_gy[c] = static_cast<C>(r * (dk - k * r2 * mean_eu));
        of_dgy[c] = static_cast<C>(k * r);
        of_dx[c] = static_cast<C>(-k * r * r2 * mean_eg);
        of_deviation[c] =
            static_cast<C>(-r * r2 * (dk * mean_eg + k * (et + ug - u * mean_g) * share) +
                           3 * k * r * r2 * r2 * mean_eg * mean_eu);
        constant[c] = static_cast<C>(-r * mean_g * (dk - k * r2 * mean_eu) - k * r * t * share +
                                     k * r * r2 * mean_eg * u * share);
      }
      fill_from(dggamma, [&](int64_t c) {
        const double r = static_cast<double>(channels.rstd[c]);
        const auto [g, eg, t, et, u, eu, ug] = sums[c].of;
        return r * (et + ug - u * g * share - r * r * eu * eg * share);
      });
      fill_from(dgbeta, [&](int64_t c) { return sums[c].of[2]; });
      if (!dgx.data) return;

      T* to = dgx.as<T>();
      l.each(dgx, 5, [&](int64_t offset, int64_t run, auto channel, auto store) {
        row_each<C>(run, [=, at_place = operands(offset, channel), a = channel(of_gy),
                          b = channel(of_dgy), c = channel(of_dx), d = channel(of_deviation),
                          f = channel(constant)](auto at) {
          const auto [e, g, t, u] = at_place(at);
          store(to + offset, at, fma(a(at), g, fma(b(at), t, fma(c(at), u, fma(d(at), e, f(at))))));
        });
      });
    });
  });
}

}  // namespace tessera::kernels::cpu
