// Batch norm: statistics of a channel over samples and inner extents. Channels are separate planes
// where there is an inner extent, and neighbours in memory (columns) where there is none.
#include "tessera/kernels/cpu/moments.hpp"
#include "tessera/kernels/cpu/rowwise.hpp"

namespace tessera::kernels::cpu {
namespace {

struct Layout {
  int64_t samples, channels, inner;

  Layout(std::string_view operation, const View& x) {
    TS_CHECK(x.rank >= 2, operation, ": x ", x.dims(),
             " must have at least the axes sample and channel");
    samples = x.shape[0], channels = x.shape[1], inner = 1;
    for (int i = 2; i < x.rank; ++i) inner *= x.shape[i];
  }
  double per_channel() const { return static_cast<double>(samples * inner); }
  // Calls body(sample, channel, store) for each plane of `out`, body(sample, 0, store) for each row
  // of columns.
  template <class Body>
  void each(const View& out, int operands, Body&& body) const {
    const int64_t planes = inner == 1 ? 1 : channels, size = inner == 1 ? channels : inner;
    if (samples * channels * inner == 0) return;
    with_store(out, size, operands, [&](auto store) {
      parallel_for(samples * planes, std::max<int64_t>(1, row_grain / size),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) body(i / planes, i % planes, store);
                     store.finish();
                   });
    });
  }
};

/// Fills partial[block * channels + channel] for fixed blocks of samples and joins the blocks of
/// each channel in order: result(channel) afterwards. `of_plane(sample, channel)` gives a Partial,
/// `of_columns(begin, end, partials)` those of all channels for a range of samples.
template <class Partial, class OfPlane, class OfColumns>
void per_channel(const Layout& l, Partial* partial, const Blocks& blocks, OfPlane&& of_plane,
                 OfColumns&& of_columns) {
  // A few images of many channels: cut the channels too, so that there is work for all threads.
  const Blocks strips(
      l.channels, 1,
      l.inner == 1 ? 1 : std::max<int64_t>(1, 32 / std::max<int64_t>(1, blocks.count)));
  const int64_t work = blocks.size * strips.size * l.inner;
  parallel_for(blocks.count * strips.count,
               std::max<int64_t>(1, row_grain / std::max<int64_t>(1, work)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t task = begin; task < end; ++task) {
                   const int64_t block = task / strips.count, strip = task % strips.count;
                   Partial* to = partial + block * l.channels;
                   if (l.inner == 1) {
                     of_columns(blocks.begin(block), blocks.end(block), to);
                     continue;
                   }
                   for (int64_t c = strips.begin(strip); c < strips.end(strip); ++c)
                     to[c] = Partial{};
                   for (int64_t i = blocks.begin(block); i < blocks.end(block); ++i)
                     for (int64_t c = strips.begin(strip); c < strips.end(strip); ++c)
                       to[c].join(of_plane(i, c));
                 }
               });
  for (int64_t b = 1; b < blocks.count; ++b)
    for (int64_t c = 0; c < l.channels; ++c) partial[c].join(partial[b * l.channels + c]);
}

// Sums over rows [begin, end) of the two vectors that body(row) gives.
template <class C, class Body>
Two<Vec<C>> column_sums(int64_t begin, int64_t end, Body&& body) {
  Vec<C> a(C{0}), b(C{0}), c(C{0}), d(C{0});
  int64_t r = begin;
  for (; r + 2 <= end; r += 2) {
    const Two<Vec<C>> even = body(r), odd = body(r + 1);
    a += even.first, b += even.second;
    c += odd.first, d += odd.second;
  }
  if (r < end) {
    const Two<Vec<C>> even = body(r);
    a += even.first, b += even.second;
  }
  return {a + c, b + d};
}

struct GradientSums {
  double gy = 0, gy_deviation = 0;  // sums of gy and of gy * (x - mean)
  void join(const GradientSums& other) { gy += other.gy, gy_deviation += other.gy_deviation; }
};

template <class T, class C = compute_t<T>>
void channel_moments(const Layout& l, const T* x, Moments* partial, const Blocks& blocks) {
  per_channel(
      l, partial, blocks,
      [&](int64_t i, int64_t c) { return moments(x + (i * l.channels + c) * l.inner, l.inner); },
      [&](int64_t begin, int64_t end, Moments* to) {
        const double count = static_cast<double>(end - begin);
        row_each<C>(l.channels, [&](auto at) {
          const auto value = [&](int64_t r) { return read(x + r * l.channels, at); };
          const Vec<C> guess = column_sums<C>(begin, end,
                                              [&](int64_t r) {
                                                return Two<Vec<C>>{value(r), value(r)};
                                              })
                                   .first /
                               Vec<C>(static_cast<C>(count));
          const auto [sum, squares] = column_sums<C>(begin, end, [&](int64_t r) {
            const Vec<C> d = value(r) - guess;
            return Two<Vec<C>>{d, d * d};
          });
          const int64_t n = std::min<int64_t>(Vec<C>::width, l.channels - at.i);
          for (int k = 0; k < n; ++k)
            to[at.i + k] =
                moments_about(static_cast<double>(guess[k]), count, static_cast<double>(sum[k]),
                              static_cast<double>(squares[k]));
        });
      });
}

template <class T, class C = compute_t<T>>
void channel_gradient_sums(const Layout& l, const T* x, const T* gy, const C* mean,
                           GradientSums* partial, const Blocks& blocks) {
  per_channel(
      l, partial, blocks,
      [&](int64_t i, int64_t c) {
        const int64_t plane = (i * l.channels + c) * l.inner;
        const auto [sum, dot] = gradient_sums(x + plane, gy + plane, l.inner, mean[c]);
        return GradientSums{sum, dot};
      },
      [&](int64_t begin, int64_t end, GradientSums* to) {
        row_each<C>(l.channels, [&](auto at) {
          const Vec<C> centre = read(mean, at);
          const auto [sum, dot] = column_sums<C>(begin, end, [&](int64_t r) {
            const Vec<C> g = read(gy + r * l.channels, at);
            return Two<Vec<C>>{g, g * (read(x + r * l.channels, at) - centre)};
          });
          const int64_t n = std::min<int64_t>(Vec<C>::width, l.channels - at.i);
          for (int k = 0; k < n; ++k)
            to[at.i + k] = {static_cast<double>(sum[k]), static_cast<double>(dot[k])};
        });
      });
}

Blocks sample_blocks(const Layout& l) {
  return Blocks(l.samples, std::max<int64_t>(1, 1024 / std::max<int64_t>(1, l.inner)), 64);
}

// y = (x - mean) * scale + beta with one value of each per channel.
template <class T, class C = compute_t<T>>
void apply(const Layout& l, const View& x, const View& y, const C* mean, const C* scale,
           const C* beta) {
  l.each(y, 2, [&](int64_t i, int64_t c, auto store) {
    const int64_t start = i * l.channels * l.inner + c * l.inner;
    const T* from = x.as<const T>() + start;
    T* to = y.as<T>() + start;
    if (l.inner == 1) {
      row_each<C>(l.channels, [=](auto at) {
        store(to, at, fma(read(from, at) - read(mean, at), read(scale, at), read(beta, at)));
      });
    } else {
      normalize_plane(from, to, l.inner, mean[c], scale[c], beta[c], store);
    }
  });
}

}  // namespace

void batch_norm(Stream& s, View x, View gamma, View beta, const BatchNormParams& p, View y,
                View mean, View rstd, View running_mean, View running_var) {
  const Layout l("batch_norm", x);
  const DType wide = compute_dtype(x.dtype);
  check_alike("batch_norm", {{"x", x}, {"y", y}});
  check_operands("batch_norm", {l.channels}, x.dtype, wide,
                 {{"gamma", gamma, optional},
                  {"beta", beta, optional},
                  {"running_mean", running_mean, optional},
                  {"running_var", running_var, optional}});
  check_operands("batch_norm", {l.channels}, wide, wide,
                 {{"mean", mean, optional}, {"rstd", rstd, optional}});
  TS_CHECK(!running_var.data || l.channels == 0 || l.samples * l.inner != 1, "batch_norm: x ",
           x.dims(), " has ", l.samples * l.inner,
           " value per channel; an unbiased variance needs at least 2");
  for_float(x.dtype, "batch_norm", [&]<class T>() {
    using C = compute_t<T>;
    const Parameter<C> gammas(s, gamma, l.channels, C{1}), betas(s, beta, l.channels, C{0});
    const Blocks blocks = sample_blocks(l);
    const Scratch moments_scratch = s.scratch(
        static_cast<size_t>(std::max<int64_t>(1, blocks.count) * l.channels) * sizeof(Moments));
    const Scratch scratch = s.scratch(static_cast<size_t>(2 * l.channels) * sizeof(C));
    Moments* channel = moments_scratch.as<Moments>();
    if (blocks.count == 0) std::fill_n(channel, l.channels, Moments{});
    channel_moments(l, x.as<const T>(), channel, blocks);

    C *centre = scratch.as<C>(), *scale = centre + l.channels;
    const auto inverse = [&](int64_t c) {
      return 1 / std::sqrt(channel[c].variance() + p.epsilon);
    };
    for (int64_t c = 0; c < l.channels; ++c) {
      centre[c] = static_cast<C>(channel[c].mean);
      scale[c] = static_cast<C>(inverse(c)) * gammas[c];
    }
    apply<T, C>(l, x, y, centre, scale, betas.data());

    fill_from(mean, [&](int64_t c) { return channel[c].mean; });
    fill_from(rstd, inverse);
    const double n = l.per_channel();
    if (n == 0) return;  // nothing was seen: the running statistics stay
    const auto update = [&](const View& running, auto&& batch) {
      const Parameter<double> before(s, running, l.channels, 0);
      fill_from(running,
                [&](int64_t c) { return (1 - p.momentum) * before[c] + p.momentum * batch(c); });
    };
    update(running_mean, [&](int64_t c) { return channel[c].mean; });
    update(running_var, [&](int64_t c) { return channel[c].squares / (n - 1); });
  });
}

void batch_norm_inference(Stream& s, View x, View gamma, View beta, View mean, View var,
                          double epsilon, View y, View rstd) {
  const Layout l("batch_norm_inference", x);
  const DType wide = compute_dtype(x.dtype);
  check_alike("batch_norm_inference", {{"x", x}, {"y", y}});
  check_operands(
      "batch_norm_inference", {l.channels}, x.dtype, wide,
      {{"gamma", gamma, optional}, {"beta", beta, optional}, {"mean", mean}, {"var", var}});
  check_operands("batch_norm_inference", {l.channels}, wide, wide, {{"rstd", rstd, optional}});
  for_float(x.dtype, "batch_norm_inference", [&]<class T>() {
    using C = compute_t<T>;
    const Parameter<C> gammas(s, gamma, l.channels, C{1}), betas(s, beta, l.channels, C{0});
    const Parameter<C> centre(s, mean, l.channels, C{0}), variance(s, var, l.channels, C{1});
    const Scratch scratch = s.scratch(static_cast<size_t>(l.channels) * sizeof(C));
    C* scale = scratch.as<C>();
    const auto inverse = [&](int64_t c) {
      return 1 / std::sqrt(static_cast<double>(variance[c]) + epsilon);
    };
    for (int64_t c = 0; c < l.channels; ++c) scale[c] = static_cast<C>(inverse(c)) * gammas[c];
    apply<T, C>(l, x, y, centre.data(), scale, betas.data());
    fill_from(rstd, inverse);
  });
}

// With xhat = (x - mean) * rstd: ggamma = sum(gy xhat), gbeta = sum(gy), and
//   gx = gamma * rstd * (gy - gbeta / count - xhat * ggamma / count),
// where the last two terms are there only because mean and rstd depend on x.
void batch_norm_gradient(Stream& s, View x, View gamma, View mean, View rstd, View gy,
                         bool batch_statistics, View gx, View ggamma, View gbeta) {
  const Layout l("batch_norm_gradient", x);
  const DType wide = compute_dtype(x.dtype);
  check_alike("batch_norm_gradient", {{"x", x}, {"gy", gy}, {"gx", gx, optional}});
  check_operands("batch_norm_gradient", {l.channels}, x.dtype, wide,
                 {{"gamma", gamma, optional},
                  {"mean", mean},
                  {"rstd", rstd},
                  {"ggamma", ggamma, optional},
                  {"gbeta", gbeta, optional}});
  for_float(x.dtype, "batch_norm_gradient", [&]<class T>() {
    using C = compute_t<T>;
    const T *from = x.as<const T>(), *grad = gy.as<const T>();
    const Parameter<C> gammas(s, gamma, l.channels, C{1}), centre(s, mean, l.channels, C{0}),
        width(s, rstd, l.channels, C{1});
    const Blocks blocks = sample_blocks(l);
    const Scratch sums_scratch =
        s.scratch(static_cast<size_t>(std::max<int64_t>(1, blocks.count) * l.channels) *
                  sizeof(GradientSums));
    GradientSums* sums = sums_scratch.as<GradientSums>();
    if (blocks.count == 0 || (!batch_statistics && !ggamma.data && !gbeta.data))
      std::fill_n(sums, l.channels, GradientSums{});
    else
      channel_gradient_sums(l, from, grad, centre.data(), sums, blocks);

    if (gx.data) {
      const Scratch scratch = s.scratch(static_cast<size_t>(3 * l.channels) * sizeof(C));
      C *a = scratch.as<C>(), *b = a + l.channels,
        *d = b + l.channels;  // gx = a gy + b (x - mean) + d
      const double share = batch_statistics && l.per_channel() > 0 ? 1 / l.per_channel() : 0;
      for (int64_t c = 0; c < l.channels; ++c) {
        a[c] = gammas[c] * width[c];
        b[c] = static_cast<C>(-a[c] * width[c] * width[c] * sums[c].gy_deviation * share);
        d[c] = static_cast<C>(-a[c] * sums[c].gy * share);
      }
      T* to = gx.as<T>();
      l.each(gx, 3, [&](int64_t i, int64_t c, auto store) {
        if (l.inner == 1) {
          const int64_t row = i * l.channels;
          row_each<C>(l.channels, [&](auto at) {
            write(
                to + row, at,
                fma(read(a, at), read(grad + row, at),
                    fma(read(b, at), read(from + row, at) - read(centre.data(), at), read(d, at))));
          });
        } else {
          const int64_t plane = (i * l.channels + c) * l.inner;
          gradient_plane(from + plane, grad + plane, to + plane, l.inner, centre[c], a[c], b[c],
                         d[c], store);
        }
      });
    }
    fill_from(ggamma,
              [&](int64_t c) { return sums[c].gy_deviation * static_cast<double>(width[c]); });
    fill_from(gbeta, [&](int64_t c) { return sums[c].gy; });
  });
}

namespace {

// Sums over a channel; e is x - mean, g is gy, t its tangent, u the tangent of x.
struct TangentSums {
  double g = 0, eg = 0, t = 0, et = 0, u = 0, eu = 0, ug = 0;
  void join(const TangentSums& o) {
    g += o.g, eg += o.eg, t += o.t, et += o.et, u += o.u, eu += o.eu, ug += o.ug;
  }
};

template <class C>
struct TangentVectors {
  Vec<C> g{C{0}}, eg{C{0}}, t{C{0}}, et{C{0}}, u{C{0}}, eu{C{0}}, ug{C{0}};
  void add(Vec<C> e, Vec<C> gy, Vec<C> dgy, Vec<C> dx) {
    g += gy, eg += e * gy, t += dgy, et += e * dgy, u += dx, eu += e * dx, ug += dx * gy;
  }
};

// Operands of the tangent; dx and dgy may be null for zero.
template <class T>
struct TangentOperands {
  const T *x, *gy, *dx, *dgy;

  // Calls body(e, gy, dgy, dx) at a place of the run that starts at `offset`.
  template <class C, class At, class Body>
  void visit(int64_t offset, At at, Vec<C> mean, Body&& body) const {
    const Vec<C> zero(C{0});
    body(read(x + offset, at) - mean, read(gy + offset, at), dgy ? read(dgy + offset, at) : zero,
         dx ? read(dx + offset, at) : zero);
  }
};

template <class T, class C = compute_t<T>>
void channel_tangent_sums(const Layout& l, const TangentOperands<T>& from, const C* mean,
                          TangentSums* partial, const Blocks& blocks) {
  per_channel(
      l, partial, blocks,
      [&](int64_t i, int64_t c) {
        TangentVectors<C> sum;
        row_each<C>(l.inner, [&](auto at) {
          from.template visit<C>((i * l.channels + c) * l.inner, at, Vec<C>(mean[c]),
                                 [&](Vec<C> e, Vec<C> g, Vec<C> t, Vec<C> u) {
                                   sum.add(within(at, e, C{0}), g, t, u);
                                 });
        });
        return TangentSums{horizontal_sum(sum.g),  horizontal_sum(sum.eg), horizontal_sum(sum.t),
                           horizontal_sum(sum.et), horizontal_sum(sum.u),  horizontal_sum(sum.eu),
                           horizontal_sum(sum.ug)};
      },
      [&](int64_t begin, int64_t end, TangentSums* to) {
        row_each<C>(l.channels, [&](auto at) {
          TangentVectors<C> sum;
          for (int64_t r = begin; r < end; ++r)
            from.template visit<C>(
                r * l.channels, at, read(mean, at),
                [&](Vec<C> e, Vec<C> g, Vec<C> t, Vec<C> u) { sum.add(e, g, t, u); });
          const int64_t n = std::min<int64_t>(Vec<C>::width, l.channels - at.i);
          for (int k = 0; k < n; ++k)
            to[at.i + k] = {sum.g[k], sum.eg[k], sum.t[k], sum.et[k],
                            sum.u[k], sum.eu[k], sum.ug[k]};
        });
      });
}

}  // namespace

// With P(v) = rstd * (v - mean(v) - xhat * mean(xhat v)), the gradient is gx = gamma P(gy), and
// xhat moves by P(dx), rstd by -rstd^2 mean(xhat dx). Differentiating,
//   dgx = dgamma P(gy) + gamma (P(dgy) - rstd (mean(xhat dx) P(gy) + mean(xhat gy) P(dx) + xhat
//   mean(P(dx) gy))),
// which is a combination of gy, dgy, dx, x - mean and 1 with one factor of each per channel.
void batch_norm_gradient_tangent(Stream& s, View x, View gamma, View mean, View rstd, View gy,
                                 View dx, View dgamma, View dgy, View dgx, View dggamma,
                                 View dgbeta) {
  const Layout l("batch_norm_gradient_tangent", x);
  const DType wide = compute_dtype(x.dtype);
  check_alike(
      "batch_norm_gradient_tangent",
      {{"x", x}, {"gy", gy}, {"dx", dx, optional}, {"dgy", dgy, optional}, {"dgx", dgx, optional}});
  check_operands("batch_norm_gradient_tangent", {l.channels}, x.dtype, wide,
                 {{"gamma", gamma, optional},
                  {"mean", mean},
                  {"rstd", rstd},
                  {"dgamma", dgamma, optional},
                  {"dggamma", dggamma, optional},
                  {"dgbeta", dgbeta, optional}});
  for_float(x.dtype, "batch_norm_gradient_tangent", [&]<class T>() {
    using C = compute_t<T>;
    const TangentOperands<T> from{x.as<const T>(), gy.as<const T>(), dx.as<const T>(),
                                  dgy.as<const T>()};
    const Parameter<C> gammas(s, gamma, l.channels, C{1}), moved(s, dgamma, l.channels, C{0}),
        centre(s, mean, l.channels, C{0}), width(s, rstd, l.channels, C{1});
    const Blocks blocks = sample_blocks(l);
    const Scratch sums_scratch = s.scratch(
        static_cast<size_t>(std::max<int64_t>(1, blocks.count) * l.channels) * sizeof(TangentSums));
    TangentSums* sums = sums_scratch.as<TangentSums>();
    if (blocks.count == 0)
      std::fill_n(sums, l.channels, TangentSums{});
    else
      channel_tangent_sums(l, from, centre.data(), sums, blocks);

    const double n = l.per_channel(), share = n > 0 ? 1 / n : 0;
    const Scratch scratch = s.scratch(static_cast<size_t>(5 * l.channels) * sizeof(C));
    C *of_gy = scratch.as<C>(), *of_dgy = of_gy + l.channels, *of_dx = of_dgy + l.channels,
      *of_e = of_dx + l.channels, *constant = of_e + l.channels;
    for (int64_t c = 0; c < l.channels; ++c) {
      const double r = static_cast<double>(width[c]), r2 = r * r,
                   k = static_cast<double>(gammas[c]), dk = static_cast<double>(moved[c]);
      const TangentSums& m = sums[c];
      const double g = m.g * share, eg = m.eg * share, t = m.t * share, et = m.et * share,
                   u = m.u * share, eu = m.eu * share, ug = m.ug * share;
      of_gy[c] = static_cast<C>(r * (dk - k * r2 * eu));
      of_dgy[c] = static_cast<C>(k * r);
      of_dx[c] = static_cast<C>(-k * r * r2 * eg);
      of_e[c] = static_cast<C>(-r * r2 * (dk * eg + k * (et + ug - u * g)) +
                               3 * k * r * r2 * r2 * eg * eu);
      constant[c] = static_cast<C>(-r * g * (dk - k * r2 * eu) - k * r * t + k * r * r2 * eg * u);
    }
    fill_from(dggamma, [&](int64_t c) {
      const double r = static_cast<double>(width[c]);
      const TangentSums& m = sums[c];
      return r * (m.et + m.ug - m.u * m.g * share - r * r * m.eu * m.eg * share);
    });
    fill_from(dgbeta, [&](int64_t c) { return sums[c].t; });
    if (!dgx.data) return;

    T* to = dgx.as<T>();
    l.each(dgx, 5, [&](int64_t i, int64_t c, auto store) {
      const bool columns = l.inner == 1;
      const int64_t offset = columns ? i * l.channels : (i * l.channels + c) * l.inner;
      row_each<C>(columns ? l.channels : l.inner, [&](auto at) {
        const auto factor = [&](const C* p) { return columns ? read(p, at) : Vec<C>(p[c]); };
        from.template visit<C>(
            offset, at, factor(centre.data()), [&](Vec<C> e, Vec<C> g, Vec<C> t, Vec<C> v) {
              const Vec<C> sum =
                  fma(factor(of_gy), g,
                      fma(factor(of_dgy), t,
                          fma(factor(of_dx), v, fma(factor(of_e), e, factor(constant)))));
              store(to + offset, at, sum);
            });
      });
    });
  });
}

}  // namespace tessera::kernels::cpu
