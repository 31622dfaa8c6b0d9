// Batch norm: statistics of a channel over samples and inner extents. Floor: the statistics read x
// once, the map x (and the residual) once and writes y; the gradient reads x and gy twice, since gx
// needs the sums over the whole channel, and writes gx once. Tangents likewise. The 12 bytes that
// ptxas (13.0) reports as spilled are the toolkit's own, on the slow path of its division of
// doubles, which is taken once a channel if at all.
#include "tessera/kernels/cuda/rowwise_channels.cuh"

namespace tessera::kernels::cuda {
namespace {

// ---------------------------------------------------------------- statistics

/// Sums about the channel's first element. Operand: x.
template <class T>
struct MomentTerms {
  using C = compute_t<T>;
  static constexpr int operands = 1, sums = 2;
  const T* x;
  int64_t inner;

  using Part = ThreadMoments<C>;
  TS_DEVICE void add(Part& p, int64_t, int64_t, const Values<C, 1>& v) const { p.add(v.of[0]); }
  TS_DEVICE ShiftedSums total(const Part& p, int64_t channel) const {
    return p.about(origin(channel));
  }
  TS_DEVICE C origin(int64_t channel) const { return widen(x[channel * inner]); }
};

template <class T>
struct BatchStatistics {
  using C = compute_t<T>;
  MomentTerms<T> terms;
  double count, epsilon, momentum;
  C *mean, *rstd;
  Parameter<T> mean_before, var_before;
  ParameterResult<T> running_mean, running_var;

  TS_DEVICE void operator()(int64_t channel, const ShiftedSums& sums) const {
    const double origin = count > 0 ? terms.origin(channel) : C{0};
    const Moments m = Moments::from(count, origin, sums);
    mean[channel] = static_cast<C>(m.mean);
    rstd[channel] = static_cast<C>(m.rstd(epsilon));
    if (count == 0) return;  // nothing was seen: the running statistics stay
    const auto moved = [&](C before, double batch) {
      return (1 - momentum) * before + momentum * batch;
    };
    if (running_mean) running_mean.put(channel, moved(mean_before[channel], m.mean));
    if (running_var) running_var.put(channel, moved(var_before[channel], m.squares / (count - 1)));
  }
};

// ---------------------------------------------------------------- maps

/// What the map does to one channel: z = (x - mean) * scale + beta.
template <class C>
struct ChannelLine {
  C mean, scale, beta;
  bool relu;

  TS_DEVICE C result(C deviation) const { return functors::fma(deviation, scale, beta); }
  /// What a change g of the result means for z: with relu g counts where z > 0.
  TS_DEVICE C through(C deviation, C g) const {
    return relu && !(result(deviation) > 0) ? C{0} : g;
  }
};

/// A BatchNormMap on the device.
template <class T>
struct ChannelMap {
  using C = compute_t<T>;
  Parameter<T> mean, rstd, gamma, beta;
  bool relu;

  explicit ChannelMap(const BatchNormMap& m)
      : mean(m.mean, 0), rstd(m.rstd, 1), gamma(m.gamma, 1), beta(m.beta, 0), relu(m.relu) {}
  TS_DEVICE ChannelLine<C> operator()(int64_t c) const {
    return {mean[c], rstd[c] * gamma[c], beta[c], relu};
  }
};

/// Operands: x, residual.
template <class T>
struct NormalizeChannels {
  using C = compute_t<T>;
  static constexpr int operands = 2;
  ChannelMap<T> map;
  bool sum;

  TS_DEVICE auto operator()(int64_t channel) const {
    return [line = map(channel), sum = sum](const Values<C, 2>& v) {
      C z = line.result(v.of[0] - line.mean);
      if (sum) z += v.of[1];
      return line.relu && z <= 0 ? C{0} : z;
    };
  }
};

/// Factors of terms, [n, channels] in scratch; all 0 without.
template <class C, int n>
struct Factors {
  C* data;
  int64_t channels;

  TS_DEVICE Values<C, n> operator[](int64_t channel) const {
    Values<C, n> f;
#pragma unroll
    for (int k = 0; k < n; ++k) f.of[k] = data ? data[k * channels + channel] : C{0};
    return f;
  }
  TS_DEVICE void put(int64_t channel, const Values<double, n>& f) const {
#pragma unroll
    for (int k = 0; k < n; ++k) data[k * channels + channel] = static_cast<C>(f.of[k]);
  }
};

// ---------------------------------------------------------------- gradient

/// Sums of g and of g * (x - mean), g being gy through relu. Operands: x, gy. With dx for gy and no
/// relu it is what the tangent of the statistics needs.
template <class T>
struct GradientTerms {
  using C = compute_t<T>;
  static constexpr int operands = 2, sums = 2;
  ChannelMap<T> map;

  struct Part {
    C g = 0, eg = 0;
  };
  TS_DEVICE void add(Part& p, int64_t, int64_t channel, const Values<C, 2>& v) const {
    const ChannelLine<C> line = map(channel);
    const C e = v.of[0] - line.mean, g = line.through(e, v.of[1]);
    p.g += g;
    p.eg = functors::fma(g, e, p.eg);
  }
  TS_DEVICE Values<double, 2> total(const Part& p, int64_t) const { return {{p.g, p.eg}}; }
};

/// With xhat = (x - mean) * rstd: ggamma = sum(gy xhat), gbeta = sum(gy), and
///   gx = gamma * rstd * (gy - gbeta / count - xhat * ggamma / count),
/// where the last two terms are there only because mean and rstd depend on x. Factors: of x - mean
/// and of 1.
template <class T>
struct GradientFinish {
  using C = compute_t<T>;
  ChannelMap<T> map;
  double share;  // 1 / count, or 0 where the statistics are given
  ParameterResult<T> ggamma, gbeta;
  Factors<C, 2> factors;

  TS_DEVICE void operator()(int64_t channel, const Values<double, 2>& sums) const {
    const double rstd = map.rstd[channel], scale = map(channel).scale;
    ggamma.put(channel, sums.of[1] * rstd);
    gbeta.put(channel, sums.of[0]);
    factors.put(channel, {{share > 0 ? -scale * rstd * rstd * sums.of[1] * share : 0,
                           share > 0 ? -scale * sums.of[0] * share : 0}});
  }
};

/// Operands: x, gy.
template <class T>
struct GradientChannels {
  using C = compute_t<T>;
  static constexpr int operands = 2;
  ChannelMap<T> map;
  Factors<C, 2> factors;

  TS_DEVICE auto operator()(int64_t channel) const {
    return [line = map(channel), f = factors[channel]](const Values<C, 2>& v) {
      const C e = v.of[0] - line.mean;
      return functors::fma(line.scale, line.through(e, v.of[1]),
                           functors::fma(f.of[0], e, f.of[1]));
    };
  }
};

// ---------------------------------------------------------------- tangents

/// dmean = mean(dx); rstd = (variance + epsilon)^(-1/2) moves by -rstd^3 mean((x - mean) dx).
template <class T>
struct StatisticsTangent {
  using C = compute_t<T>;
  double share;
  Parameter<T> rstd;
  C *dmean, *drstd;

  TS_DEVICE void operator()(int64_t channel, const Values<double, 2>& sums) const {
    const double r = rstd[channel];
    dmean[channel] = static_cast<C>(sums.of[0] * share);
    drstd[channel] = static_cast<C>(-r * r * r * sums.of[1] * share);
  }
};

/// dz = rstd gamma dx + (drstd gamma + rstd dgamma) (x - mean) + (dbeta - rstd gamma dmean).
/// Operands: x, y, dx, dresidual.
template <class T>
struct TangentChannels {
  using C = compute_t<T>;
  static constexpr int operands = 4;
  ChannelMap<T> map;
  Parameter<T> dmean, drstd, dgamma, dbeta;
  bool has_result;

  TS_DEVICE auto operator()(int64_t channel) const {
    ChannelLine<C> line = map(channel);
    line.relu = line.relu && !has_result;
    const C slope = drstd[channel] * map.gamma[channel] + map.rstd[channel] * dgamma[channel];
    const C constant = dbeta[channel] - line.scale * dmean[channel];
    return [=, has_result = has_result](const Values<C, 4>& v) {
      const C e = v.of[0] - line.mean;
      const C dz = functors::fma(line.scale, v.of[2], functors::fma(slope, e, constant)) + v.of[3];
      return has_result && !(v.of[1] > 0) ? C{0} : line.through(e, dz);
    };
  }
};

/// The operands of the gradient's tangent at one place: x - mean, gy, its tangent, that of x.
template <class C>
struct GradientPlace {
  C e, g, t, u;
  TS_DEVICE GradientPlace(const ChannelLine<C>& line, const Values<C, 4>& v)
      : e(v.of[0] - line.mean),
        g(line.through(e, v.of[1])),
        t(line.through(e, v.of[2])),
        u(v.of[3]) {}
};

/// Sums of g, e g, t, e t, u, e u, u g. Operands: x, gy, dgy, dx.
template <class T>
struct GradientTangentTerms {
  using C = compute_t<T>;
  static constexpr int operands = 4, sums = 7;
  ChannelMap<T> map;

  using Part = Values<C, 7>;
  TS_DEVICE void add(Part& p, int64_t, int64_t channel, const Values<C, 4>& v) const {
    const auto [e, g, t, u] = GradientPlace<C>(map(channel), v);
    p = SumOfValues{}(p, Part{{g, e * g, t, e * t, u, e * u, u * g}});
  }
  TS_DEVICE Values<double, 7> total(const Part& p, int64_t) const {
    Values<double, 7> all;
#pragma unroll
    for (int k = 0; k < 7; ++k) all.of[k] = p.of[k];
    return all;
  }
};

/// With P(v) = rstd * (v - mean(v) - xhat * mean(xhat v)), the gradient is gx = gamma P(gy), and
/// xhat moves by P(dx), rstd by -rstd^2 mean(xhat dx). Differentiating,
///   dgx = dgamma P(gy) + gamma (P(dgy) - rstd (mean(xhat dx) P(gy) + mean(xhat gy) P(dx) + xhat
///   mean(P(dx) gy))),
/// which is a combination of gy, dgy, dx, x - mean and 1 with one factor of each per channel.
template <class T>
struct GradientTangentFinish {
  using C = compute_t<T>;
  ChannelMap<T> map;
  Parameter<T> dgamma;
  double share;
  ParameterResult<T> dggamma, dgbeta;
  Factors<C, 5> factors;

  TS_DEVICE void operator()(int64_t c, const Values<double, 7>& sums) const {
    const double r = map.rstd[c], r2 = r * r, k = map.gamma[c], dk = dgamma[c];
    const auto [g, eg, t, et, u, eu, ug] = sums.of;
    const double mean_g = g * share, mean_eg = eg * share, mean_eu = eu * share;
    factors.put(c, {{r * (dk - k * r2 * mean_eu), k * r, -k * r * r2 * mean_eg,
                     -r * r2 * (dk * mean_eg + k * (et + ug - u * mean_g) * share) +
                         3 * k * r * r2 * r2 * mean_eg * mean_eu,
                     -r * mean_g * (dk - k * r2 * mean_eu) - k * r * t * share +
                         k * r * r2 * mean_eg * u * share}});
    dggamma.put(c, r * (et + ug - u * mean_g - r2 * eu * mean_eg));
    dgbeta.put(c, t);
  }
};

/// Operands: x, gy, dgy, dx.
template <class T>
struct GradientTangentChannels {
  using C = compute_t<T>;
  static constexpr int operands = 4;
  ChannelMap<T> map;
  Factors<C, 5> factors;

  TS_DEVICE auto operator()(int64_t channel) const {
    return [line = map(channel), f = factors[channel]](const Values<C, 4>& v) {
      const auto [e, g, t, u] = GradientPlace<C>(line, v);
      return functors::fma(
          f.of[0], g,
          functors::fma(f.of[1], t, functors::fma(f.of[2], u, functors::fma(f.of[3], e, f.of[4]))));
    };
  }
};

template <class C, int n>
Scratch scratch_of_factors(Stream& stream, int64_t channels) {
  return stream.scratch(static_cast<size_t>(n * channels) * sizeof(C));
}
double share_of(const BatchExtents& e) {
  return 1 / std::max(1.0, static_cast<double>(e.per_channel()));
}

}  // namespace

void batch_statistics(Stream& s, View x, const BatchNormParams& p, View mean, View rstd,
                      View running_mean, View running_var) {
  const BatchExtents e = check_batch_statistics(x, mean, rstd, running_mean, running_var);
  for_float(x.dtype, "batch_statistics", [&]<class T>() {
    using C = compute_t<T>;
    const MomentTerms<T> terms{x.as<T>(), e.inner};
    sum_channels<T>(
        s, "batch_statistics", e, {x}, terms,
        BatchStatistics<T>{terms, static_cast<double>(e.per_channel()), p.epsilon, p.momentum,
                           mean.as<C>(), rstd.as<C>(), Parameter<T>(running_mean, 0),
                           Parameter<T>(running_var, 0), ParameterResult<T>(running_mean),
                           ParameterResult<T>(running_var)});
  });
}

void batch_norm(Stream& s, View x, const BatchNormMap& map, View residual, View y) {
  const BatchExtents e = check_batch_norm(x, map, residual, y);
  for_float(x.dtype, "batch_norm", [&]<class T>() {
    map_channels<T>(s, "batch_norm", e, {x, residual}, y,
                    NormalizeChannels<T>{ChannelMap<T>(map), residual.data != nullptr});
  });
}

void batch_norm_gradient(Stream& s, View x, const BatchNormMap& map, View gy, bool batch_statistics,
                         View gx, View ggamma, View gbeta) {
  const BatchExtents e = check_batch_norm_gradient(x, map, gy, gx, ggamma, gbeta);
  for_float(x.dtype, "batch_norm_gradient", [&]<class T>() {
    using C = compute_t<T>;
    const ChannelMap<T> on_device(map);
    const Scratch scratch = scratch_of_factors<C, 2>(s, e.channels);
    Factors<C, 2> factors{nullptr, e.channels};
    if (batch_statistics || ggamma.data || gbeta.data) {
      factors.data = scratch.as<C>();
      sum_channels<T>(
          s, "batch_norm_gradient", e, {x, gy}, GradientTerms<T>{on_device},
          GradientFinish<T>{on_device, batch_statistics ? share_of(e) : 0,
                            ParameterResult<T>(ggamma), ParameterResult<T>(gbeta), factors});
    }
    if (gx.data)
      map_channels<T>(s, "batch_norm_gradient", e, {x, gy}, gx,
                      GradientChannels<T>{on_device, factors});
  });
}

void batch_statistics_tangent(Stream& s, View x, View mean, View rstd, View dx, View dmean,
                              View drstd) {
  const BatchExtents e = check_batch_statistics_tangent(x, mean, rstd, dx, dmean, drstd);
  for_float(x.dtype, "batch_statistics_tangent", [&]<class T>() {
    using C = compute_t<T>;
    sum_channels<T>(
        s, "batch_statistics_tangent", e, {x, dx}, GradientTerms<T>{ChannelMap<T>({mean, rstd})},
        StatisticsTangent<T>{share_of(e), Parameter<T>(rstd, 1), dmean.as<C>(), drstd.as<C>()});
  });
}

void batch_norm_tangent(Stream& s, View x, const BatchNormMap& map, View y, View dx,
                        const BatchNormMap& moves, View dresidual, View dy) {
  const BatchExtents e = check_batch_norm_tangent(x, map, y, dx, moves, dresidual, dy);
  for_float(x.dtype, "batch_norm_tangent", [&]<class T>() {
    map_channels<T>(s, "batch_norm_tangent", e, {x, y, dx, dresidual}, dy,
                    TangentChannels<T>{ChannelMap<T>(map), Parameter<T>(moves.mean, 0),
                                       Parameter<T>(moves.rstd, 0), Parameter<T>(moves.gamma, 0),
                                       Parameter<T>(moves.beta, 0), y.data != nullptr});
  });
}

void batch_norm_gradient_tangent(Stream& s, View x, const BatchNormMap& map, View gy, View dx,
                                 View dgamma, View dgy, View dgx, View dggamma, View dgbeta) {
  const BatchExtents e =
      check_batch_norm_gradient_tangent(x, map, gy, dx, dgamma, dgy, dgx, dggamma, dgbeta);
  const char* name = "batch_norm_gradient_tangent";
  for_float(x.dtype, name, [&]<class T>() {
    using C = compute_t<T>;
    const ChannelMap<T> on_device(map);
    const Scratch scratch = scratch_of_factors<C, 5>(s, e.channels);
    const Factors<C, 5> factors{scratch.as<C>(), e.channels};
    sum_channels<T>(
        s, name, e, {x, gy, dgy, dx}, GradientTangentTerms<T>{on_device},
        GradientTangentFinish<T>{on_device, Parameter<T>(dgamma, 0), share_of(e),
                                 ParameterResult<T>(dggamma), ParameterResult<T>(dgbeta), factors});
    if (dgx.data)
      map_channels<T>(s, name, e, {x, gy, dgy, dx}, dgx,
                      GradientTangentChannels<T>{on_device, factors});
  });
}

}  // namespace tessera::kernels::cuda
