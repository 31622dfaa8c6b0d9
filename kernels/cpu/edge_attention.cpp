// Attention over the entries of each row, with nothing stored per entry.
//
// The weights of one row, [entries, heads], live in a buffer of the thread; then the row is summed
// like a sparse product, a head and a chunk of its columns at a time. The gradient makes the
// weights again from lse: once by rows, for the targets, which needs the inner products of gy and
// x; and once by columns, for sources and x, where each row of gy is gathered for both. So x is
// gathered twice and gy once in all, and memory beside the operands is [rows, heads].
#include <cmath>
#include <limits>
#include <vector>

#include "tessera/kernels/cpu/column_chunks.hpp"
#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/cpu/spmm.hpp"
#include "tessera/kernels/cpu/vector.hpp"

namespace tessera::kernels::cpu {
namespace {

template <class T>
struct Problem {
  using C = compute_t<T>;
  CsrView a;
  const T *target, *source, *x;
  int64_t heads, width, x_stride, y_stride;
  C slope, kept;  // kept: factor of weights that dropout keeps
  EdgeDropout dropout;

  C leaky(C v) const { return v > 0 ? v : slope * v; }

  /// scores[h] = leaky_relu(target[h] + source[h])
  void scores(const T* of_target, const T* of_source, C* out) const {
    for (int64_t h = 0; h < heads; ++h)
      out[h] = leaky(static_cast<C>(of_target[h]) + static_cast<C>(of_source[h]));
  }
};

template <class C>
void exponentials(C* p, int64_t n) {
  constexpr int64_t lanes = Vec<C>::width;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(p + i, exp(load(p + i)));
  if (i < n) store(p + i, exp(load(p + i, n - i)), n - i);
}

/// What exponents are taken from: exp(score - origin) is 0 where all scores of a row are -inf.
template <class C>
C origin_of(C lse) {
  return lse == -std::numeric_limits<C>::infinity() ? C{0} : lse;
}

/// Softmax over the entries of `row` into weights [entries, heads], before dropout; `lse` [heads].
template <class T, class C = compute_t<T>>
void row_weights(const Problem<T>& p, int64_t row, C* weights, C* lse) {
  const int64_t begin = p.a.row_ptr[row], n = p.a.row_ptr[row + 1] - begin, heads = p.heads;
  std::fill(lse, lse + heads, -std::numeric_limits<C>::infinity());
  for (int64_t e = 0; e < n; ++e) {
    C* const w = weights + e * heads;
    p.scores(p.target + row * heads, p.source + p.a.col[begin + e] * heads, w);
    for (int64_t h = 0; h < heads; ++h) lse[h] = w[h] > lse[h] || std::isnan(w[h]) ? w[h] : lse[h];
  }
  for (int64_t e = 0; e < n; ++e)
    for (int64_t h = 0; h < heads; ++h) weights[e * heads + h] -= origin_of(lse[h]);
  exponentials(weights, n * heads);
  C* const sum = weights + n * heads;  // one row more
  std::fill(sum, sum + heads, C{0});
  for (int64_t e = 0; e < n; ++e)
    for (int64_t h = 0; h < heads; ++h) sum[h] += weights[e * heads + h];
  for (int64_t h = 0; h < heads; ++h) {
    if (n > 0) lse[h] += std::log(sum[h]);
    sum[h] = sum[h] == 0 ? C{0} : 1 / sum[h];
  }
  for (int64_t e = 0; e < n; ++e)
    for (int64_t h = 0; h < heads; ++h) weights[e * heads + h] *= sum[h];
}

template <class T, class C = compute_t<T>>
void drop_entry(const Problem<T>& p, int64_t e, C* weights) {
  const EdgeDropout& d = p.dropout;
  if (d.drop_below == 0) return;
  for (int64_t sequence = 0; sequence < d.sequences; ++sequence, weights += d.heads) {
    const RngState state = d.state_of(sequence);
    for (int64_t h = 0; h < d.heads;) {  // four numbers come at a time
      const auto first = static_cast<uint64_t>(e * d.heads + h);
      const Philox::Block block = Philox::generate(state.seed, state.offset + first / 4);
      for (uint64_t word = first % 4; word < 4 && h < d.heads; ++word, ++h)
        weights[h] *= block.word[word] < d.drop_below ? C{0} : p.kept;
    }
  }
}

template <class T, class Chunk>
[[gnu::noinline]] void sum_head(const Problem<T>& p, int64_t begin, int64_t n,
                                const compute_t<T>* weights, const T* x, T* y, Chunk chunk) {
  using C = compute_t<T>;
  Sums<C, Chunk> sums;
  sums.each(x, [](const T*, Vec<C>& sum) { sum = C{0}; });
  for (int64_t e = 0; e < n; ++e) {
    const Vec<C> weight(weights[e * p.heads]);
    sums.each(
        x + p.a.col[begin + e] * p.x_stride, [&](const T* from, Vec<C>& sum)
                                                 __attribute__((always_inline)) {
                                                   sum = fma(chunk.read(from), weight, sum);
                                                 });
  }
  sums.each(y, [&](T* to, Vec<C> sum) { chunk.write(to, sum); });
}

int64_t longest_row(const CsrView& a, int64_t first, int64_t last) {
  int64_t longest = 0;
  for (int64_t row = first; row < last; ++row)
    longest = std::max<int64_t>(longest, a.row_ptr[row + 1] - a.row_ptr[row]);
  return longest;
}

template <class T, class C = compute_t<T>>
void attend(const Problem<T>& p, int64_t first, int64_t last, T* y, C* lse) {
  std::vector<C> buffer(static_cast<size_t>((longest_row(p.a, first, last) + 1) * p.heads));
  for (int64_t row = first; row < last; ++row) {
    const int64_t begin = p.a.row_ptr[row], n = p.a.row_ptr[row + 1] - begin;
    C* const weights = buffer.data();
    row_weights(p, row, weights, lse + row * p.heads);
    for (int64_t e = 0; e < n; ++e) drop_entry(p, begin + e, weights + e * p.heads);
    for (int64_t h = 0; h < p.heads; ++h)
      for_chunks<C>(p.width, [&](int64_t column, auto chunk) {
        const int64_t at = h * p.width + column;
        sum_head(p, begin, n, weights + h, p.x + at, y + row * p.y_stride + at, chunk);
      });
  }
}

/// What both halves of the gradient read.
template <class T>
struct Gradient : Problem<T> {
  using C = compute_t<T>;
  const C* lse;
  const T* gy;
  int64_t gy_stride;
  const C* delta;  // [rows, heads]: gy . y

  /// Weights of entry e = (row, column) before dropout, and how the scores' gradients pass through
  /// leaky_relu.
  void weights(int64_t row, int64_t column, C* w, C* passed) const {
    const int64_t n = this->heads;
    const T *t = this->target + row * n, *s = this->source + column * n;
    for (int64_t h = 0; h < n; ++h) {
      const C v = static_cast<C>(t[h]) + static_cast<C>(s[h]);
      passed[h] = v > 0 ? C{1} : this->slope;
      w[h] = this->leaky(v) - origin_of(lse[row * n + h]);
    }
    exponentials(w, n);
  }
};

/// gtarget of rows [first, last).
template <class T, class C = compute_t<T>>
void target_gradient(const Gradient<T>& p, int64_t first, int64_t last, T* gtarget) {
  const int64_t heads = p.heads;
  std::vector<C> buffer(static_cast<size_t>(4 * heads));
  C *w = buffer.data(), *passed = w + heads, *factor = passed + heads, *sum = factor + heads;
  for (int64_t row = first; row < last; ++row) {
    std::fill(sum, sum + heads, C{0});
    const T* gy = p.gy + row * p.gy_stride;
    const C* delta = p.delta + row * heads;
    for (int64_t e = p.a.row_ptr[row]; e < p.a.row_ptr[row + 1]; ++e) {
      const int64_t column = p.a.col[e];
      p.weights(row, column, w, passed);
      std::fill(factor, factor + heads, C{1});
      drop_entry<T>(p, e, factor);
      const T* x = p.x + column * p.x_stride;
      for (int64_t h = 0; h < heads; ++h) {
        const C product = dot(gy + h * p.width, x + h * p.width, p.width);
        sum[h] += w[h] * (factor[h] * product - delta[h]) * passed[h];
      }
    }
    for (int64_t h = 0; h < heads; ++h) gtarget[row * heads + h] = static_cast<T>(sum[h]);
  }
}

/// gx of one column's head, a chunk of its width: products[t] is what of gy . x the chunk has.
template <class T, class Chunk>
[[gnu::noinline]] void column_head(const Gradient<T>& p, const CsrView& transposed, int64_t begin,
                                   int64_t n, const compute_t<T>* weights, const T* x, const T* gy,
                                   T* gx, compute_t<T>* products, Chunk chunk) {
  using C = compute_t<T>;
  Sums<C, Chunk> sums, own;
  sums.each(x, [](const T*, Vec<C>& sum) { sum = C{0}; });
  own.each(x, [&](const T* from, Vec<C>& value) { value = chunk.read(from); });
  for (int64_t t = 0; t < n; ++t) {
    const Vec<C> weight(weights[t * p.heads]);
    const T* row = gy + transposed.col[begin + t] * p.gy_stride;
    Vec<C> product(C{0});
    unrolled<Chunk::vectors>([&](auto i) __attribute__((always_inline)) {
      const Vec<C> g = chunk.read(row + i * Vec<C>::width);
      product = fma(g, own.sum[i], product);
      sums.sum[i] = fma(g, weight, sums.sum[i]);
    });
    products[t * p.heads] += horizontal_sum(product);
  }
  sums.each(gx, [&](T* to, Vec<C> sum) { chunk.write(to, sum); });
}

/// gsource and gx of columns [first, last).
template <class T, class C = compute_t<T>>
void column_gradient(const Gradient<T>& p, const CsrView& transposed, const int32_t* permutation,
                     int64_t first, int64_t last, T* gsource, T* gx, int64_t gx_stride) {
  const int64_t heads = p.heads;
  const auto size = static_cast<size_t>(longest_row(transposed, first, last) * heads);
  // [entries, heads]: weights before and after dropout, slopes, products gy . x
  std::vector<C> weights(size), dropped(size), passed(size), products(size);
  std::vector<C> sum(static_cast<size_t>(heads));
  for (int64_t column = first; column < last; ++column) {
    const int64_t begin = transposed.row_ptr[column], n = transposed.row_ptr[column + 1] - begin;
    for (int64_t t = 0; t < n; ++t) {
      const auto at = static_cast<size_t>(t * heads);
      p.weights(transposed.col[begin + t], column, &weights[at], &passed[at]);
      std::copy_n(&weights[at], heads, &dropped[at]);
      drop_entry<T>(p, permutation[begin + t], &dropped[at]);
    }
    std::fill_n(products.begin(), n * heads, C{0});
    for (int64_t h = 0; h < heads; ++h)
      for_chunks<C>(p.width, [&](int64_t at, auto chunk) {
        at += h * p.width;
        column_head(p, transposed, begin, n, dropped.data() + h, p.x + column * p.x_stride + at,
                    p.gy + at, gx + column * gx_stride + at, products.data() + h, chunk);
      });
    std::fill(sum.begin(), sum.end(), C{0});
    for (int64_t t = 0; t < n; ++t) {
      const C* delta = p.delta + transposed.col[begin + t] * heads;
      for (int64_t h = 0; h < heads; ++h) {
        const auto at = static_cast<size_t>(t * heads + h);
        sum[static_cast<size_t>(h)] +=
            (dropped[at] * products[at] - weights[at] * delta[h]) * passed[at];
      }
    }
    for (int64_t h = 0; h < heads; ++h)
      gsource[column * heads + h] = static_cast<T>(sum[static_cast<size_t>(h)]);
  }
}

}  // namespace

void edge_attention(Stream&, const CsrView& a, View target, View source, View x, View y, View lse,
                    const EdgeAttentionParams& params) {
  const EdgeAttentionOperands o =
      check_edge_attention("edge_attention", a, target, source, x, y, lse, params);
  for_float(x.dtype, "edge_attention", [&]<class T>() {
    using C = compute_t<T>;
    const Problem<T> p{a,
                       target.as<T>(),
                       source.as<T>(),
                       x.as<T>(),
                       o.heads,
                       o.width,
                       o.x.stride,
                       o.y.stride,
                       static_cast<C>(params.slope),
                       static_cast<C>(1 / (1 - params.dropout)),
                       EdgeDropout(params, o.heads)};
    for_balanced_rows(a, o.heads * (o.width + 16), [&](int64_t first, int64_t last) {
      attend(p, first, last, y.as<T>(), lse.as<C>());
    });
  });
}

void edge_attention_gradient(Stream& stream, const CsrView& a, const CsrView& transposed,
                             View permutation, View target, View source, View x, View y, View lse,
                             View gy, View gtarget, View gsource, View gx,
                             const EdgeAttentionParams& params) {
  const EdgeAttentionOperands o = check_edge_attention_gradient(
      a, transposed, permutation, target, source, x, y, lse, gy, gtarget, gsource, gx, params);
  for_float(x.dtype, "edge_attention_gradient", [&]<class T>() {
    using C = compute_t<T>;
    const Scratch deltas = stream.scratch(static_cast<size_t>(a.rows * o.heads) * sizeof(C));
    const Gradient<T> p{{a, target.as<T>(), source.as<T>(), x.as<T>(), o.heads, o.width, o.x.stride,
                         o.y.stride, static_cast<C>(params.slope),
                         static_cast<C>(1 / (1 - params.dropout)), EdgeDropout(params, o.heads)},
                        lse.as<C>(),
                        gy.as<T>(),
                        gy.stride[0],
                        deltas.as<C>()};
    const int64_t cost = o.heads * (o.width + 16);
    parallel_for(a.rows, 1 + (1 << 14) / (cost + 1), [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row)
        for (int64_t h = 0; h < o.heads; ++h)
          deltas.as<C>()[row * o.heads + h] =
              dot(gy.as<T>() + row * gy.stride[0] + h * o.width,
                  y.as<T>() + row * o.y.stride + h * o.width, o.width);
    });
    for_balanced_rows(a, cost, [&](int64_t first, int64_t last) {
      target_gradient(p, first, last, gtarget.as<T>());
    });
    for_balanced_rows(transposed, 2 * cost, [&](int64_t first, int64_t last) {
      column_gradient(p, transposed, permutation.as<int32_t>(), first, last, gsource.as<T>(),
                      gx.as<T>(), gx.stride[0]);
    });
  });
}

}  // namespace tessera::kernels::cpu
