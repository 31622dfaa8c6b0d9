#pragma once

#include <algorithm>
#include <array>
#include <type_traits>

#include "tessera/kernels/cpu/rowwise.hpp"
#include "tessera/kernels/functors.hpp"

/// Loops of batch norm, whose sets of elements are channels over samples and inner extents.
/// Channels are separate planes in memory where there is an inner extent, and neighbours (columns)
/// where there is none. A run is a plane, or the columns of one sample; what has a value per
/// channel is read through `channel`:
///
///     layout.each(y, 2, [=](int64_t offset, int64_t n, auto channel, auto store) {
///       row_each<C>(n, [=, m = channel(mean)](auto at) { store(y + offset, at, read(x + offset,
///       at) - m(at)); });
///     });
namespace tessera::kernels::cpu {

struct PlaneChannel {
  int64_t c;
  template <class C>
  auto operator()(const C* values) const {
    return [v = Vec<C>(values[c])](auto) { return v; };
  }
};
struct ColumnChannels {
  template <class C>
  auto operator()(const C* values) const {
    return [values](auto at) { return read(values, at); };
  }
};

struct BatchLayout : BatchExtents {
  Blocks sample_blocks() const {
    return Blocks(samples, std::max<int64_t>(1, 1024 / std::max<int64_t>(1, inner)), 64);
  }

  /// body(offset, n, channel, store) for each run of `out`; `operands` views of its size pass by.
  template <class Body>
  void each(const View& out, int operands, Body&& body) const {
    if (samples * channels * inner == 0) return;
    const bool columns = inner == 1;
    const int64_t planes = columns ? 1 : channels, size = columns ? channels : inner;
    with_store(out, size, operands, [&](auto store) {
      parallel_for(samples * planes, std::max<int64_t>(1, row_grain / size),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       if (columns)
                         body(i * size, size, ColumnChannels{}, store);
                       else
                         body(i * size, size, PlaneChannel{i % planes}, store);
                     }
                     store.finish();
                   });
    });
  }
};

/// What is known of each channel when all blocks of samples have been joined, in order.
template <class Partial>
class PerChannel {
 public:
  /// of_plane(sample, channel) gives a Partial; of_columns(begin, end, partials) those of all
  /// channels for a range of samples.
  template <class OfPlane, class OfColumns>
  PerChannel(Stream& s, const BatchLayout& l, OfPlane&& of_plane, OfColumns&& of_columns)
      : blocks_(l.sample_blocks()),
        scratch_(
            static_cast<size_t>(std::max<int64_t>(1, blocks_.count) * l.channels) * sizeof(Partial),
            s),
        partial_(scratch_.as<Partial>()) {
    if (blocks_.count == 0) std::fill_n(partial_, l.channels, Partial{});
    // A few images of many channels: cut the channels too, so that there is work for all threads.
    const Blocks strips(
        l.channels, 1,
        l.inner == 1 ? 1 : std::max<int64_t>(1, 32 / std::max<int64_t>(1, blocks_.count)));
    const int64_t work = blocks_.size * strips.size * l.inner;
    parallel_for(blocks_.count * strips.count,
                 std::max<int64_t>(1, row_grain / std::max<int64_t>(1, work)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t task = begin; task < end; ++task) {
                     const int64_t block = task / strips.count, strip = task % strips.count;
                     Partial* to = partial_ + block * l.channels;
                     if (l.inner == 1) {
                       of_columns(blocks_.begin(block), blocks_.end(block), to);
                       continue;
                     }
                     for (int64_t c = strips.begin(strip); c < strips.end(strip); ++c)
                       to[c] = Partial{};
                     for (int64_t i = blocks_.begin(block); i < blocks_.end(block); ++i)
                       for (int64_t c = strips.begin(strip); c < strips.end(strip); ++c)
                         to[c].join(of_plane(i, c));
                   }
                 });
    for (int64_t b = 1; b < blocks_.count; ++b)
      for (int64_t c = 0; c < l.channels; ++c) partial_[c].join(partial_[b * l.channels + c]);
  }
  const Partial& operator[](int64_t channel) const { return partial_[channel]; }

 private:
  Blocks blocks_;
  Scratch scratch_;
  Partial* partial_;
};

/// Running sums of n vectors each, twice, for the even and the odd terms: shorter chains of
/// additions have less rounding, and do not wait for each other.
template <size_t n, class C>
class VectorSums {
 public:
  using Vectors = std::array<Vec<C>, n>;
  VectorSums() {
    for (Vectors& set : sets_) set.fill(Vec<C>(C{0}));
  }
  void add(size_t parity, const Vectors& term) {
    for (size_t k = 0; k < n; ++k) sets_[parity % 2][k] += term[k];
  }
  Vec<C> operator[](size_t k) const { return sets_[0][k] + sets_[1][k]; }

 private:
  std::array<Vectors, 2> sets_;
};

/// Sums of body(row) over rows [begin, end).
template <size_t n, class C, class Body>
VectorSums<n, C> sum_rows(int64_t begin, int64_t end, Body&& body) {
  VectorSums<n, C> sums;
  int64_t r = begin;
  for (; r + 2 <= end; r += 2) sums.add(0, body(r)), sums.add(1, body(r + 1));
  if (r < end) sums.add(0, body(r));
  return sums;
}

template <size_t n>
struct Sums {
  std::array<double, n> of{};
  void join(const Sums& other) {
    for (size_t k = 0; k < n; ++k) of[k] += other.of[k];
  }
};

/// Sums over each channel of the n vectors that terms(offset, channel)(place) gives.
template <size_t n, class C, class Terms>
PerChannel<Sums<n>> channel_sums(Stream& s, const BatchLayout& l, Terms&& terms) {
  const auto of_plane = [&](int64_t i, int64_t c) {
    constexpr int64_t block = 4096, w = Vec<C>::width;  // sums of a block are of type C
    const auto term = terms((i * l.channels + c) * l.inner, PlaneChannel{c});
    Sums<n> all;
    for (int64_t begin = 0; begin < l.inner; begin += block) {
      const int64_t end = std::min(begin + block, l.inner);
      VectorSums<n, C> sums;
      int64_t j = begin;
      for (; j + 2 * w <= end; j += 2 * w) {
        sums.add(0, term(Whole{j}));
        sums.add(1, term(Whole{j + w}));
      }
      if (j + w <= end) sums.add(0, term(Whole{j})), j += w;
      if (j < end) {
        const Part at{j, end - j};
        auto last = term(at);
        for (Vec<C>& v : last) v = within(at, v, C{0});
        sums.add(1, last);
      }
      for (size_t k = 0; k < n; ++k) all.of[k] += static_cast<double>(horizontal_sum(sums[k]));
    }
    return all;
  };
  const auto of_columns = [&](int64_t begin, int64_t end, Sums<n>* to) {
    row_each<C>(l.channels, [&](auto at) {
      const auto sums = sum_rows<n, C>(
          begin, end, [&](int64_t r) { return terms(r * l.channels, ColumnChannels{})(at); });
      const int64_t count = std::min<int64_t>(Vec<C>::width, l.channels - at.i);
      for (size_t k = 0; k < n; ++k) {
        const Vec<C> sum = sums[k];
        for (int64_t j = 0; j < count; ++j)
          to[at.i + j].of[k] = static_cast<double>(sum[static_cast<int>(j)]);
      }
    });
  };
  return PerChannel<Sums<n>>(s, l, of_plane, of_columns);
}

/// A BatchNormMap in the compute type.
template <class C>
struct ChannelMap {
  Parameter<C> mean, rstd, gamma, beta;
  Scratch products;

  ChannelMap(Stream& s, const BatchNormMap& map, int64_t channels)
      : mean(s, map.mean, channels, C{0}),
        rstd(s, map.rstd, channels, C{1}),
        gamma(s, map.gamma, channels, C{1}),
        beta(s, map.beta, channels, C{0}),
        products(static_cast<size_t>(channels) * sizeof(C), s) {
    for (int64_t c = 0; c < channels; ++c) products.as<C>()[c] = rstd[c] * gamma[c];
  }
  const C* scale() const { return products.as<C>(); }  // rstd * gamma

  /// z at a place of a run, from x - mean there.
  template <class Channel>
  auto result(Channel channel) const {
    return [a = channel(scale()), b = channel(beta.data())](auto at, Vec<C> deviation) {
      return fma(deviation, a(at), b(at));
    };
  }
  /// What a change g of the result means for z: with relu g counts where z > 0.
  template <class Relu, class Channel>
  auto through(Relu, Channel channel) const {
    return [z = result(channel)](auto at, Vec<C> deviation, Vec<C> g) {
      if constexpr (Relu::value)
        return functors::relu_gradient(g, z(at, deviation));
      else
        return g;
    };
  }
};

/// body(std::true_type) or body(std::false_type).
template <class Body>
void with_flag(bool flag, Body&& body) {
  if (flag)
    body(std::true_type{});
  else
    body(std::false_type{});
}

}  // namespace tessera::kernels::cpu
