// Layer norm, rms norm, group norm and their gradients. A run of elements that share statistics is
// a row, as in rowwise_softmax.cu: a thread keeps 64 bytes per operand and reads what lies behind a
// second time. Floor forward: x once, y once; that is what rows of up to 4096 elements of f32 move.
// Floor of the gradient: x and gy once, gx once; the gradients of gamma and beta read x and gy once
// more, as sums over channels.
#include "tessera/kernels/cuda/rowwise_channels.cuh"

namespace tessera::kernels::cuda {
namespace {

/// Runs and the channels of their elements.
struct NormRows {
  Rows rows;
  uint32_t groups, per_group;
  Divisor inner;

  TS_DEVICE int64_t first_channel(int64_t row) const { return row % groups * int64_t{per_group}; }
  /// The values of a parameter for the pack at `column`, which lies in one plane.
  template <int n, class T>
  TS_DEVICE Values<compute_t<T>, n> parameter(const Parameter<T>& p, int64_t first,
                                              uint32_t column) const {
    if (inner.value == 1) return p.template neighbours<n>(first + column);
    const compute_t<T> value = p[first + inner.quotient(column)];
    Values<compute_t<T>, n> all;
#pragma unroll
    for (int i = 0; i < n; ++i) all.of[i] = value;
    return all;
  }
};

/// y = (x - mean) * rstd * gamma + beta; `centred` is false for rms norm, whose mean is 0.
template <class T, int n, bool centred>
__global__ void __launch_bounds__(row_threads, 2)
    normalize_rows(NormRows r, const T* x, Parameter<T> gamma, Parameter<T> beta, double epsilon,
                   T* y, compute_t<T>* mean, compute_t<T>* rstd) {
  using C = compute_t<T>;
  for_rows(r.rows, [&](const Row& row) {
    const RowPacks<T, n, 1> packs(row, x);
    ThreadMoments<C> part;
    if (!centred) part.count = 1;  // so that the guess stays 0
    packs.each([&](uint32_t, const auto& p) {
#pragma unroll
      for (int i = 0; i < n; ++i) part.add(widen(p.of[0].lane[i]));
    });
    const C origin = centred ? row.of_first(part.guess) : C{0};
    const ShiftedSums sums = row.reduce(
        centred ? part.about(origin) : ShiftedSums{{0, static_cast<double>(part.squares)}},
        SumOfValues{});
    const Moments m = Moments::from(row.n, origin, sums);
    const C centre = static_cast<C>(m.mean), width = static_cast<C>(m.rstd(epsilon));
    if (row.first()) {
      if (mean) mean[row.number] = centre;
      if (rstd) rstd[row.number] = width;
    }
    const int64_t channel = r.first_channel(row.number);
    T* const to = y + row.number * row.n;
    packs.each([&](uint32_t column, const auto& p) {
      const auto scale = r.parameter<n>(gamma, channel, column),
                 shift = r.parameter<n>(beta, channel, column);
      store_values<n>(to + column, [&](int i) {
        return functors::fma((widen(p.of[0].lane[i]) - centre) * width, scale.of[i], shift.of[i]);
      });
    });
  });
}

/// gx = rstd * (gamma gy - average(gamma gy) - xhat average(gamma gy xhat)) with xhat = (x - mean)
/// * rstd and averages over the run. Operands: x, gy.
template <class T, int n, bool centred>
__global__ void __launch_bounds__(row_threads, 2)
    norm_gradient_rows(NormRows r, const T* x, const T* gy, Parameter<T> gamma,
                       const compute_t<T>* mean, const compute_t<T>* rstd, T* gx) {
  using C = compute_t<T>;
  for_rows(r.rows, [&](const Row& row) {
    const RowPacks<T, n, 2> packs(row, x, gy);
    const C centre = centred && row.there ? mean[row.number] : C{0},
            width = row.there ? rstd[row.number] : C{0};
    const int64_t channel = r.first_channel(row.number);
    Values<C, 2> sums{};
    packs.each([&](uint32_t column, const auto& p) {
      const auto scale = r.parameter<n>(gamma, channel, column);
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const C g = widen(p.of[1].lane[i]) * scale.of[i];
        sums.of[0] += g;
        sums.of[1] = functors::fma(g, (widen(p.of[0].lane[i]) - centre) * width, sums.of[1]);
      }
    });
    sums = row.reduce(sums, SumOfValues{});
    const C share = width / static_cast<C>(row.n);
    const C slope = -share * width * sums.of[1], offset = centred ? -share * sums.of[0] : C{0};
    T* const to = gx + row.number * row.n;
    packs.each([&](uint32_t column, const auto& p) {
      const auto scale = r.parameter<n>(gamma, channel, column);
      store_values<n>(to + column, [&](int i) {
        return functors::fma(widen(p.of[1].lane[i]) * scale.of[i], width,
                             functors::fma(widen(p.of[0].lane[i]) - centre, slope, offset));
      });
    });
  });
}

/// ggamma = sum of gy xhat, gbeta = that of gy, over samples (and inner). Operands: x, gy.
template <class T>
struct NormTerms {
  using C = compute_t<T>;
  static constexpr int operands = 2, sums = 2;
  const C *mean, *rstd;  // mean is null for rms norm
  int64_t groups;
  Divisor per_group;

  struct Part {
    C of_gamma = 0, of_beta = 0;
  };
  TS_DEVICE void add(Part& p, int64_t sample, int64_t channel, const Values<C, 2>& v) const {
    const int64_t run = sample * groups + per_group.quotient(static_cast<uint32_t>(channel));
    const C deviation = mean ? v.of[0] - mean[run] : v.of[0];
    p.of_gamma = functors::fma(v.of[1], deviation * rstd[run], p.of_gamma);
    p.of_beta += v.of[1];
  }
  TS_DEVICE Values<double, 2> total(const Part& p, int64_t) const {
    return {{p.of_gamma, p.of_beta}};
  }
};
template <class T>
struct NormParameters {
  ParameterResult<T> ggamma, gbeta;
  TS_DEVICE void operator()(int64_t channel, const Values<double, 2>& sums) const {
    ggamma.put(channel, sums.of[0]);
    gbeta.put(channel, sums.of[1]);
  }
};

/// Calls body<n>(rows) with the pack that fits all operands; parameters go in packs too. Four
/// halves, since their parameters may be floats: eight of those would be two accesses per lane,
/// each of which fills one half of every sector.
template <class T, class Body>
void for_runs(std::string_view operation, const NormExtents& e, std::initializer_list<View> all,
              Body&& body) {
  constexpr int most = vector_length<compute_t<T>>;
  for_pack<T, most>(e.inner == 1 ? e.per_group() : e.inner, all, [&]<int n>() {
    const Rows rows = rows_for<T, n>(operation, e.runs(), e.run());
    body.template operator()<n>(NormRows{rows, static_cast<uint32_t>(e.groups),
                                         static_cast<uint32_t>(e.per_group()),
                                         Divisor(std::max<int64_t>(1, e.inner))});
  });
}

template <bool centred>
void normalize(const char* name, Stream& stream, const NormExtents& e, const View& x,
               const View& gamma, const View& beta, double epsilon, const View& y, const View& mean,
               const View& rstd) {
  check_norm(name, e, x, gamma, beta, y, mean, rstd);
  if (e.runs() == 0) return;
  for_float(x.dtype, name, [&]<class T>() {
    using C = compute_t<T>;
    for_runs<T>(name, e, {x, y, gamma, beta}, [&]<int n>(const NormRows& r) {
      launch(stream, shape_for(name, r.rows), normalize_rows<T, n, centred>, r, x.as<T>(),
             Parameter<T>(gamma, 1), Parameter<T>(beta, 0), epsilon, y.as<T>(), mean.as<C>(),
             rstd.as<C>());
    });
  });
}

template <bool centred>
void gradient(const char* name, Stream& stream, const NormExtents& e, const View& x,
              const View& gamma, const View& mean, const View& rstd, const View& gy, const View& gx,
              const View& ggamma, const View& gbeta) {
  check_norm_gradient(name, centred, e, x, gamma, mean, rstd, gy, gx, ggamma, gbeta);
  TS_CHECK(e.channels < INT32_MAX, name, ": ", e.channels,
           " channels are more than 32-bit numbers count");
  for_float(x.dtype, name, [&]<class T>() {
    using C = compute_t<T>;
    // before gx, which may be the memory of gy
    if (ggamma.data || gbeta.data)
      sum_channels<T>(stream, name, {e.samples, e.channels, e.inner}, {x, gy},
                      NormTerms<T>{mean.as<C>(), rstd.as<C>(), e.groups,
                                   Divisor(std::max<int64_t>(1, e.per_group()))},
                      NormParameters<T>{ParameterResult<T>(ggamma), ParameterResult<T>(gbeta)});
    if (!gx.data || gx.numel() == 0) return;
    for_runs<T>(name, e, {x, gy, gx, gamma}, [&]<int n>(const NormRows& r) {
      launch(stream, shape_for(name, r.rows), norm_gradient_rows<T, n, centred>, r, x.as<T>(),
             gy.as<T>(), Parameter<T>(gamma, 1), mean.as<C>(), rstd.as<C>(), gx.as<T>());
    });
  });
}

}  // namespace

void layer_norm(Stream& s, View x, View gamma, View beta, double epsilon, View y, View mean,
                View rstd) {
  normalize<true>("layer_norm", s, layer_norm_extents("layer_norm", x), x, gamma, beta, epsilon, y,
                  mean, rstd);
}
void layer_norm_gradient(Stream& s, View x, View gamma, View mean, View rstd, View gy, View gx,
                         View ggamma, View gbeta) {
  gradient<true>("layer_norm_gradient", s, layer_norm_extents("layer_norm_gradient", x), x, gamma,
                 mean, rstd, gy, gx, ggamma, gbeta);
}
void rms_norm(Stream& s, View x, View gamma, double epsilon, View y, View rstd) {
  normalize<false>("rms_norm", s, layer_norm_extents("rms_norm", x), x, gamma, {}, epsilon, y, {},
                   rstd);
}
void rms_norm_gradient(Stream& s, View x, View gamma, View rstd, View gy, View gx, View ggamma) {
  gradient<false>("rms_norm_gradient", s, layer_norm_extents("rms_norm_gradient", x), x, gamma, {},
                  rstd, gy, gx, ggamma, {});
}
void group_norm(Stream& s, View x, int64_t groups, View gamma, View beta, double epsilon, View y,
                View mean, View rstd) {
  normalize<true>("group_norm", s, group_norm_extents("group_norm", x, groups), x, gamma, beta,
                  epsilon, y, mean, rstd);
}
void group_norm_gradient(Stream& s, View x, int64_t groups, View gamma, View mean, View rstd,
                         View gy, View gx, View ggamma, View gbeta) {
  gradient<true>("group_norm_gradient", s, group_norm_extents("group_norm_gradient", x, groups), x,
                 gamma, mean, rstd, gy, gx, ggamma, gbeta);
}

}  // namespace tessera::kernels::cuda
