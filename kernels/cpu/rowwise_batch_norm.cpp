// Batch norm: statistics of a channel over samples and inner extents.
#include "tessera/kernels/cpu/batch_channels.hpp"
#include "tessera/kernels/cpu/moments.hpp"

namespace tessera::kernels::cpu {
namespace {

// Moments of all channels over rows [begin, end) of columns: the mean, then deviations from it.
template <class T, class C = compute_t<T>>
void column_moments(const BatchLayout& l, const T* x, int64_t begin, int64_t end, Moments* to) {
  const double count = static_cast<double>(end - begin);
  row_each<C>(l.channels, [&](auto at) {
    const auto value = [&](int64_t r) { return read(x + r * l.channels, at); };
    const Vec<C> guess =
        sum_rows<1, C>(begin, end, [&](int64_t r) { return std::array{value(r)}; })[0] /
        Vec<C>(static_cast<C>(count));
    const auto sums = sum_rows<2, C>(begin, end, [&](int64_t r) {
      const Vec<C> d = value(r) - guess;
      return std::array{d, d * d};
    });
    const Vec<C> sum = sums[0], squares = sums[1];
    const int64_t n = std::min<int64_t>(Vec<C>::width, l.channels - at.i);
    for (int k = 0; k < n; ++k)
      to[at.i + k] = moments_about(static_cast<double>(guess[k]), count,
                                   static_cast<double>(sum[k]), static_cast<double>(squares[k]));
  });
}

}  // namespace

void batch_statistics(Stream& s, View x, const BatchNormParams& p, View mean, View rstd,
                      View running_mean, View running_var) {
  const BatchLayout l{check_batch_statistics(x, mean, rstd, running_mean, running_var)};
  for_float(x.dtype, "batch_statistics", [&]<class T>() {
    const T* from = x.as<const T>();
    const PerChannel<Moments> channel(
        s, l,
        [&](int64_t i, int64_t c) {
          return moments(from + (i * l.channels + c) * l.inner, l.inner);
        },
        [&](int64_t begin, int64_t end, Moments* to) { column_moments(l, from, begin, end, to); });
    fill_from(mean, [&](int64_t c) { return channel[c].mean; });
    fill_from(rstd, [&](int64_t c) { return 1 / std::sqrt(channel[c].variance() + p.epsilon); });

    const double n = static_cast<double>(l.per_channel());
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

void batch_norm(Stream& s, View x, const BatchNormMap& map, View residual, View y) {
  const BatchLayout l{check_batch_norm(x, map, residual, y)};
  for_float(x.dtype, "batch_norm", [&]<class T>() {
    using C = compute_t<T>;
    const ChannelMap<C> channels(s, map, l.channels);
    const T *from = x.as<const T>(), *added = residual.as<const T>();
    T* to = y.as<T>();
    with_flag(map.relu, [&](auto relu) {
      with_flag(added != nullptr, [&](auto sum) {
        l.each(y, 3, [&](int64_t offset, int64_t n, auto channel, auto store) {
          row_each<C>(n, [=, mean = channel(channels.mean.data()),
                          result = channels.result(channel)](auto at) {
            Vec<C> z = result(at, read(from + offset, at) - mean(at));
            if constexpr (sum) z += read(added + offset, at);
            if constexpr (relu) z = functors::relu(z);
            store(to + offset, at, z);
          });
        });
      });
    });
  });
}

// With xhat = (x - mean) * rstd: ggamma = sum(gy xhat), gbeta = sum(gy), and
//   gx = gamma * rstd * (gy - gbeta / count - xhat * ggamma / count),
// where the last two terms are there only because mean and rstd depend on x.
void batch_norm_gradient(Stream& s, View x, const BatchNormMap& map, View gy, bool batch_statistics,
                         View gx, View ggamma, View gbeta) {
  const BatchLayout l{check_batch_norm_gradient(x, map, gy, gx, ggamma, gbeta)};
  for_float(x.dtype, "batch_norm_gradient", [&]<class T>() {
    using C = compute_t<T>;
    const ChannelMap<C> channels(s, map, l.channels);
    const T *from = x.as<const T>(), *grad = gy.as<const T>();
    const Scratch factors = s.scratch(static_cast<size_t>(2 * l.channels) * sizeof(C));
    C *of_deviation = factors.as<C>(), *constant = of_deviation + l.channels;
    with_flag(map.relu, [&](auto relu) {
      // Deviations and gy at places of a run.
      const auto operands = [&, relu](int64_t offset, auto channel) {
        return [=, mean = channel(channels.mean.data()),
                through = channels.through(relu, channel)](auto at) {
          const Vec<C> e = read(from + offset, at) - mean(at);
          return Two<Vec<C>>{e, through(at, e, read(grad + offset, at))};
        };
      };
      std::fill_n(of_deviation, 2 * l.channels, C{0});
      if (batch_statistics || ggamma.data || gbeta.data) {
        const auto sums = channel_sums<2, C>(s, l, [&](int64_t offset, auto channel) {
          return [at_place = operands(offset, channel)](auto at) {
            const auto [e, g] = at_place(at);
            return std::array{g, g * e};
          };
        });
        fill_from(ggamma,
                  [&](int64_t c) { return sums[c].of[1] * static_cast<double>(channels.rstd[c]); });
        fill_from(gbeta, [&](int64_t c) { return sums[c].of[0]; });
        const double share = batch_statistics ? 1 / static_cast<double>(l.per_channel()) : 0;
        for (int64_t c = 0; share > 0 && c < l.channels; ++c) {
          const C scale = channels.scale()[c], rstd = channels.rstd[c];
          of_deviation[c] = static_cast<C>(-scale * rstd * rstd * sums[c].of[1] * share);
          constant[c] = static_cast<C>(-scale * sums[c].of[0] * share);
        }
      }
      if (!gx.data) return;
      T* to = gx.as<T>();
      l.each(gx, 3, [&](int64_t offset, int64_t n, auto channel, auto store) {
        row_each<C>(n, [=, at_place = operands(offset, channel), a = channel(channels.scale()),
                        b = channel(of_deviation), d = channel(constant)](auto at) {
          const auto [e, g] = at_place(at);
          store(to + offset, at, fma(a(at), g, fma(b(at), e, d(at))));
        });
      });
    });
  });
}

}  // namespace tessera::kernels::cpu
