// Normalisations whose statistics belong to a contiguous run of one sample: layer norm and rms norm
// are the case of one group and no inner extent.
#include "tessera/kernels/cpu/moments.hpp"
#include "tessera/kernels/cpu/rowwise.hpp"

namespace tessera::kernels::cpu {
namespace {

struct Layout : NormExtents {
  int64_t grain() const { return std::max<int64_t>(1, row_grain / std::max<int64_t>(1, run())); }
};

template <class T, class C = compute_t<T>>
Moments about_zero(const T* x, int64_t n) {
  const C squares = row_sum<C>(n, [=](auto at) {
    const Vec<C> v = read(x, at);
    return v * v;
  });
  return {static_cast<double>(n), 0, static_cast<double>(squares)};
}

// `centred` is false for rms norm, whose mean is taken to be 0.
template <class T, bool centred>
void normalize(Stream& s, const Layout& l, const View& x, const View& gamma, const View& beta,
               double epsilon, const View& y, const View& mean, const View& rstd) {
  using C = compute_t<T>;
  const Parameter<C> scales(s, gamma, l.channels, C{1}), shifts(s, beta, l.channels, C{0});
  with_store(y, l.inner == 1 ? l.per_group() : l.inner, 2, [&](auto store) {
    parallel_for(l.runs(), l.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* from = x.as<T>() + r * l.run();
        T* to = y.as<T>() + r * l.run();
        const int64_t channel = r % l.groups * l.per_group();
        const Moments m = centred ? moments(from, l.run()) : about_zero(from, l.run());
        const C centre = static_cast<C>(m.mean),
                width = static_cast<C>(1 / std::sqrt(m.variance() + epsilon));
        if (mean.data) mean.as<C>()[r] = centre;
        if (rstd.data) rstd.as<C>()[r] = width;
        const C *g = scales.data() + channel, *b = shifts.data() + channel;
        if (l.inner == 1) {
          row_each<C>(l.per_group(), [=, c = Vec<C>(centre), w = Vec<C>(width)](auto at) {
            store(to, at, fma((read(from, at) - c) * w, read(g, at), read(b, at)));
          });
        } else {
          for (int64_t i = 0; i < l.per_group(); ++i)
            normalize_plane(from + i * l.inner, to + i * l.inner, l.inner, centre, width * g[i],
                            b[i], store);
        }
      }
      store.finish();
    });
  });
}

// With xhat = (x - mean) * rstd and averages over the run:
//   gx = rstd * (gamma gy - average(gamma gy) - xhat average(gamma gy xhat))
//   ggamma = sum over samples (and inner) of gy xhat, gbeta = that of gy.

// inner == 1. Parameter sums are kept per block of samples and added up at the end in order.
// Several samples go through a row together, so that the block's sums are loaded and stored once
// for all.
template <class T, bool centred, bool with_parameters>
struct RowsGradient {
  using C = compute_t<T>;
  static constexpr int together = 4;
  int64_t groups, n;  // n elements of a run
  const T *x, *gy;
  T* gx;  // may be null
  const C *mean, *rstd, *gamma;
  C* sums;  // [block][gamma, beta][groups * n]

  int64_t channels() const { return groups * n; }

  template <class Store>
  void block(int64_t block, int64_t begin, int64_t end, Store store) const {
    C* block_sums = sums + 2 * block * channels();
    if (with_parameters) std::fill_n(block_sums, 2 * channels(), C{0});
    for (int64_t g = 0; g < groups; ++g) {
      int64_t i = begin;
      for (; i + together <= end; i += together) samples<together>(i, g, block_sums, store);
      for (; i < end; ++i) samples<1>(i, g, block_sums, store);
    }
  }

  template <int count, class Store>
  void samples(int64_t first, int64_t group, C* block_sums, Store store) const {
    constexpr int64_t w = Vec<C>::width;
    const int64_t run = first * groups + group, start = run * n;
    C *gamma_sums = block_sums + group * n, *beta_sums = gamma_sums + channels();
    const C* scales = gamma + group * n;
    Vec<C> centre[count], width[count], sum[count], dot[count];
    unrolled<count>([&](auto k) __attribute__((always_inline)) {
      centre[k] = centred ? mean[run + k * groups] : C{0};
      width[k] = rstd[run + k * groups];
      sum[k] = dot[k] = C{0};
    });
    // Behind the end of the row gy reads as 0, and with it all that is summed.
    const auto visit = [&](auto at) __attribute__((always_inline)) {
      const Vec<C> scale = read(scales, at);
      Vec<C> of_gamma(C{0}), of_beta(C{0});
      unrolled<count>([&](auto k) __attribute__((always_inline)) {
        const Vec<C> v = read(gy + start + k * channels(), at);
        const Vec<C> normal = (read(x + start + k * channels(), at) - centre[k]) * width[k];
        of_gamma = fma(v, normal, of_gamma);
        of_beta += v;
        sum[k] = fma(v, scale, sum[k]);
        dot[k] = fma(v * scale, normal, dot[k]);
      });
      if constexpr (with_parameters) {
        write(gamma_sums, at, read(gamma_sums, at) + of_gamma);
        if (centred) write(beta_sums, at, read(beta_sums, at) + of_beta);
      }
    };
    int64_t i = 0;
    for (; i + w <= n; i += w) visit(Whole{i});
    if (i < n) visit(Part{i, n - i});
    if (!gx) return;
    unrolled<count>([&](auto k) {
      const int64_t row = start + k * channels();
      const C r = rstd[run + k * groups], share = r / static_cast<C>(n);
      const Vec<C> scale = r, slope = -share * r * horizontal_sum(dot[k]);
      const Vec<C> offset = centred ? -share * horizontal_sum(sum[k]) : C{0};
      row_each<C>(n, [&, c = centre[k]](auto at) {
        const Vec<C> v = read(gy + row, at) * read(scales, at);
        store(gx + row, at, fma(v, scale, fma(read(x + row, at) - c, slope, offset)));
      });
    });
  }
};

template <class T, bool centred, bool with_parameters>
void gradient_of_rows(Stream& s, const Layout& l, const View& x, const View& gamma,
                      const View& mean, const View& rstd, const View& gy, const View& gx,
                      const View& ggamma, const View& gbeta) {
  using C = compute_t<T>;
  const int64_t channels = l.channels;
  const Parameter<C> scales(s, gamma, channels, C{1});
  const Blocks blocks(l.samples, 32, 64);
  const Scratch scratch =
      s.scratch(with_parameters ? static_cast<size_t>(2 * blocks.count * channels) * sizeof(C) : 0);
  C* sums = scratch.as<C>();
  const RowsGradient<T, centred, with_parameters> gradient{
      l.groups,           l.per_group(), x.as<const T>(),
      gy.as<const T>(),   gx.as<T>(),    mean.as<C>(),
      rstd.as<const C>(), scales.data(), sums};
  with_store(gx, l.per_group(), 3, [&](auto store) {
    const int64_t grain = l.grain() / (blocks.size * l.groups) + 1;
    parallel_for(blocks.count, grain, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        gradient.block(b, blocks.begin(b), blocks.end(b), store);
      store.finish();
    });
  });
  if constexpr (with_parameters) {
    parallel_for(2 * channels, row_grain / 16, [&](int64_t begin, int64_t end) {
      for (int64_t b = 1; b < blocks.count; ++b) {
        const C* from = sums + 2 * b * channels + begin;
        C* to = sums + begin;
        row_each<C>(end - begin, [=](auto at) { write(to, at, read(to, at) + read(from, at)); });
      }
    });
    const bool none = blocks.count == 0;
    fill_from(ggamma, [&](int64_t i) { return none ? C{0} : sums[i]; });
    fill_from(gbeta, [&](int64_t i) { return none ? C{0} : sums[channels + i]; });
  }
}

// inner > 1: each (sample, channel) plane has one sum for gamma and one for beta.
template <class T>
void gradient_of_planes(Stream& s, const Layout& l, const View& x, const View& gamma,
                        const View& mean, const View& rstd, const View& gy, const View& gx,
                        const View& ggamma, const View& gbeta) {
  using C = compute_t<T>;
  const Parameter<C> scales(s, gamma, l.channels, C{1});
  const Scratch scratch =
      s.scratch(static_cast<size_t>(l.samples * l.channels) * sizeof(Two<double>));
  Two<double>* sums = scratch.as<Two<double>>();  // of gy and gy * xhat, per plane
  with_store(gx, l.inner, 3, [&](auto store) {
    parallel_for(l.runs(), l.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T *from = x.as<T>() + r * l.run(), *grad = gy.as<T>() + r * l.run();
        const C centre = mean.as<C>()[r], width = rstd.as<C>()[r];
        const C* g = scales.data() + r % l.groups * l.per_group();
        Two<double>* plane_sums = sums + r * l.per_group();
        double sum = 0, dot = 0;
        for (int64_t i = 0; i < l.per_group(); ++i) {
          plane_sums[i] = gradient_sums(from + i * l.inner, grad + i * l.inner, l.inner, centre);
          plane_sums[i].second *= width;
          sum += g[i] * plane_sums[i].first;
          dot += g[i] * plane_sums[i].second;
        }
        if (!gx.data) continue;
        const double count = static_cast<double>(l.run());
        const C slope = static_cast<C>(-width * width * dot / count),
                offset = static_cast<C>(-width * sum / count);
        for (int64_t i = 0; i < l.per_group(); ++i)
          gradient_plane(from + i * l.inner, grad + i * l.inner,
                         gx.as<T>() + r * l.run() + i * l.inner, l.inner, centre, width * g[i],
                         slope, offset, store);
      }
      store.finish();
    });
  });
  const auto over_samples = [&](double Two<double>::*which) {
    return [&, which](int64_t channel) {
      double sum = 0;
      for (int64_t i = 0; i < l.samples; ++i) sum += sums[i * l.channels + channel].*which;
      return sum;
    };
  };
  fill_from(ggamma, over_samples(&Two<double>::second));
  fill_from(gbeta, over_samples(&Two<double>::first));
}

template <class T, bool centred>
void gradient(Stream& s, const Layout& l, const View& x, const View& gamma, const View& mean,
              const View& rstd, const View& gy, const View& gx, const View& ggamma,
              const View& gbeta) {
  const auto chosen = l.inner != 1                ? gradient_of_planes<T>
                      : ggamma.data || gbeta.data ? gradient_of_rows<T, centred, true>
                                                  : gradient_of_rows<T, centred, false>;
  chosen(s, l, x, gamma, mean, rstd, gy, gx, ggamma, gbeta);
}

}  // namespace

void layer_norm(Stream& s, View x, View gamma, View beta, double epsilon, View y, View mean,
                View rstd) {
  const Layout l{layer_norm_extents("layer_norm", x)};
  check_norm("layer_norm", l, x, gamma, beta, y, mean, rstd);
  for_float(x.dtype, "layer_norm",
            [&]<class T>() { normalize<T, true>(s, l, x, gamma, beta, epsilon, y, mean, rstd); });
}

void layer_norm_gradient(Stream& s, View x, View gamma, View mean, View rstd, View gy, View gx,
                         View ggamma, View gbeta) {
  const Layout l{layer_norm_extents("layer_norm_gradient", x)};
  check_norm_gradient("layer_norm_gradient", true, l, x, gamma, mean, rstd, gy, gx, ggamma, gbeta);
  for_float(x.dtype, "layer_norm_gradient", [&]<class T>() {
    gradient<T, true>(s, l, x, gamma, mean, rstd, gy, gx, ggamma, gbeta);
  });
}

void rms_norm(Stream& s, View x, View gamma, double epsilon, View y, View rstd) {
  const Layout l{layer_norm_extents("rms_norm", x)};
  check_norm("rms_norm", l, x, gamma, {}, y, {}, rstd);
  for_float(x.dtype, "rms_norm",
            [&]<class T>() { normalize<T, false>(s, l, x, gamma, {}, epsilon, y, {}, rstd); });
}

void rms_norm_gradient(Stream& s, View x, View gamma, View rstd, View gy, View gx, View ggamma) {
  const Layout l{layer_norm_extents("rms_norm_gradient", x)};
  check_norm_gradient("rms_norm_gradient", false, l, x, gamma, {}, rstd, gy, gx, ggamma, {});
  for_float(x.dtype, "rms_norm_gradient",
            [&]<class T>() { gradient<T, false>(s, l, x, gamma, {}, rstd, gy, gx, ggamma, {}); });
}

void group_norm(Stream& s, View x, int64_t groups, View gamma, View beta, double epsilon, View y,
                View mean, View rstd) {
  const Layout l{group_norm_extents("group_norm", x, groups)};
  check_norm("group_norm", l, x, gamma, beta, y, mean, rstd);
  for_float(x.dtype, "group_norm",
            [&]<class T>() { normalize<T, true>(s, l, x, gamma, beta, epsilon, y, mean, rstd); });
}

void group_norm_gradient(Stream& s, View x, int64_t groups, View gamma, View mean, View rstd,
                         View gy, View gx, View ggamma, View gbeta) {
  const Layout l{group_norm_extents("group_norm_gradient", x, groups)};
  check_norm_gradient("group_norm_gradient", true, l, x, gamma, mean, rstd, gy, gx, ggamma, gbeta);
  for_float(x.dtype, "group_norm_gradient", [&]<class T>() {
    gradient<T, true>(s, l, x, gamma, mean, rstd, gy, gx, ggamma, gbeta);
  });
}

}  // namespace tessera::kernels::cpu
