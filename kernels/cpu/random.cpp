#include "tessera/kernels/random.hpp"

#include <algorithm>
#include <cmath>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/random_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

// --- Philox on as many counters as a vector has lanes ---

using Words = Vec<uint32_t>;

/// Products of the lower halves of 64-bit lanes.
inline Vec<uint64_t> multiply_halves(Vec<uint64_t> a, Vec<uint64_t> b) {
#if defined(__AVX512F__)
  using Native = Vec<uint64_t>::Native;
  return reinterpret_cast<Native>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a.native),
                                                         reinterpret_cast<__m512i>(b.native)));
#elif defined(__AVX2__)
  using Native = Vec<uint64_t>::Native;
  return reinterpret_cast<Native>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a.native), reinterpret_cast<__m256i>(b.native)));
#elif defined(__SSE2__)
  using Native = Vec<uint64_t>::Native;
  return reinterpret_cast<Native>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a.native), reinterpret_cast<__m128i>(b.native)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

struct Product {
  Words high, low;
};
inline Product multiply(Words x, uint32_t factor) {
  using Wide = Vec<uint64_t>;
  constexpr uint64_t lower = 0xffffffffu, upper = ~lower;
  const Wide pairs = reinterpret_cast<Wide::Native>(x.native), f = uint64_t{factor};
  const Wide even = multiply_halves(pairs, f), odd = multiply_halves(pairs >> 32, f);
  const Wide high = (even >> 32) | (odd & upper), low = (even & lower) | (odd << 32);
  return {reinterpret_cast<Words::Native>(high.native),
          reinterpret_cast<Words::Native>(low.native)};
}

/// a0 b0 a1 b1 ... of the lower or the upper halves.
template <bool upper>
inline Words zip(Words a, Words b) {
  constexpr int width = Words::width, from = upper ? width / 2 : 0;
  return [&]<int... i>(std::integer_sequence<int, i...>)->Words {
    return __builtin_shufflevector(a.native, b.native, (from + i / 2 + i % 2 * width)...);
  }
  (std::make_integer_sequence<int, width>{});
}

constexpr int64_t group = 4 * Words::width;  // words made at a time

/// words[0 .. group) = the words of the blocks from `counter` on; see runtime/rng.hpp.
inline void generate_group(uint64_t key, uint64_t counter, uint32_t* words) {
  constexpr auto lane_numbers = []<int... i>(std::integer_sequence<int, i...>) {
    return Words::Native{i...};
  };
  const Words lanes = lane_numbers(std::make_integer_sequence<int, Words::width>{});
  const Words first = static_cast<uint32_t>(counter), upper = static_cast<uint32_t>(counter >> 32);
  Words c0 = first + lanes, c1 = where(c0 < first, upper + 1u, upper), c2 = 0u, c3 = 0u;
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const Product p0 = multiply(c0, 0xD2511F53u), p1 = multiply(c2, 0xCD9E8D57u);
    c0 = p1.high ^ c1 ^ k0;
    c2 = p0.high ^ c3 ^ k1;
    c1 = p1.low;
    c3 = p0.low;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const Words a = zip<false>(c0, c2), b = zip<true>(c0, c2), c = zip<false>(c1, c3),
              d = zip<true>(c1, c3);
  store(words, zip<false>(a, c));
  store(words + Words::width, zip<true>(a, c));
  store(words + 2 * Words::width, zip<false>(b, d));
  store(words + 3 * Words::width, zip<true>(b, d));
}

// --- from words to elements, a tile at a time ---

constexpr int64_t tile = 1024;
static_assert(tile % group == 0);
constexpr int64_t tiles_per_thread = 16;

/// Calls make(words, start, count): the words of elements [start, start + count), on all threads.
template <class Make>
void for_words(RngState rng, int64_t n, Make&& make) {
  parallel_for((n + tile - 1) / tile, tiles_per_thread, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[tile];
    for (int64_t start = begin * tile; start < std::min(n, end * tile); start += tile) {
      const int64_t count = std::min(tile, n - start);
      for (int64_t i = 0; i < count; i += group)
        generate_group(rng.seed, rng.offset + static_cast<uint64_t>(start + i) / 4, words + i);
      make(words, start, count);
    }
  });
}

template <class From, class To>
void convert_row(const From* from, int64_t n, To* to) {
  constexpr int64_t width = Vec<compute_t<From>>::width;
  int64_t i = 0;
  for (; i + width <= n; i += width) store(to + i, load(from + i));
  if (i < n) store(to + i, load(from + i, n - i), n - i);
}

/// y[i] = f(word) in the compute type.
template <class S, class F>
void map_words(RngState rng, const View& y, F&& f) {
  for_words(rng, y.numel(), [&](const uint32_t* words, int64_t start, int64_t count) {
    compute_t<S> made[tile];
    for (int64_t i = 0; i < count; ++i) made[i] = f(words[i]);
    convert_row(made, count, y.as<S>() + start);
  });
}

void uniform(Stream&, RngState rng, double low, double high, View y) {
  check_random_output("uniform", y);
  for_float(y.dtype, "uniform", [&]<class S>() {
    using T = compute_t<S>;
    const T base = static_cast<T>(low), span = static_cast<T>(high - low);
    if constexpr (std::is_same_v<S, double>) {
      map_words<S>(rng, y, [=](uint32_t word) { return base + span * (word * 0x1p-32); });
    } else {
      constexpr int bits = std::is_same_v<S, float> ? 24 : std::is_same_v<S, f16> ? 11 : 8;
      constexpr T unit = T{1} / (1 << bits);
      map_words<S>(rng, y, [=](uint32_t word) {
        return base + span * (static_cast<T>(static_cast<int32_t>(word >> (32 - bits))) * unit);
      });
    }
  });
}

/// cos and sin of 2 pi t, 0 <= t <= 1.
template <class T>
void sincos_turns(Vec<T> t, Vec<T>& cosine, Vec<T>& sine) {
  using F = detail::Format<T>;
  using Bits = Vec<bits_t<T>>;
  const Vec<T> shifted = fma(t, T{4}, F::magic), quarters = shifted - F::magic;
  const Bits k = bit_cast<bits_t<T>>(shifted);
  const Vec<T> x = static_cast<T>(6.283185307179586) * fma(quarters, T{-0.25}, t), s = x * x;
  Vec<T> c, z;  // Taylor on [-pi/4, pi/4]
  if constexpr (std::is_same_v<T, float>) {
    z = detail::polynomial<T>(s, 1, -1.f / 6, 1.f / 120, -1.f / 5040, 1.f / 362880);
    c = detail::polynomial<T>(s, 1, -1.f / 2, 1.f / 24, -1.f / 720, 1.f / 40320, -1.f / 3628800);
  } else {
    z = detail::polynomial<T>(s, 1, -1. / 6, 1. / 120, -1. / 5040, 1. / 362880, -1. / 39916800,
                              1. / 6227020800, -1. / 1307674368000, 1. / 355687428096000);
    c = detail::polynomial<T>(s, 1, -1. / 2, 1. / 24, -1. / 720, 1. / 40320, -1. / 3628800,
                              1. / 479001600, -1. / 87178291200, 1. / 20922789888000,
                              -1. / 6402373705728000);
  }
  z *= x;
  const Mask<T> odd = {((k & bits_t<T>{1}) != bits_t<T>{0}).native};
  const Mask<T> negative_cosine = {(((k + bits_t<T>{1}) & bits_t<T>{2}) != bits_t<T>{0}).native};
  const Mask<T> negative_sine = {((k & bits_t<T>{2}) != bits_t<T>{0}).native};
  cosine = where(odd, z, c);
  sine = where(odd, c, z);
  cosine = where(negative_cosine, -cosine, cosine);
  sine = where(negative_sine, -sine, sine);
}

void normal(Stream&, RngState rng, double mean, double deviation, View y) {
  check_random_output("normal", y);
  for_float(y.dtype, "normal", [&]<class S>() {
    using T = compute_t<S>;
    using V = Vec<T>;
    const V shift = static_cast<T>(mean), scale = static_cast<T>(deviation);
    for_words(rng, y.numel(), [&](const uint32_t* words, int64_t start, int64_t count) {
      T open[tile / 2], turns[tile / 2], made[tile];
      const int64_t pairs = (count + 1) / 2;
      for (int64_t i = 0; i < pairs; ++i) {
        if constexpr (std::is_same_v<T, float>) {
          open[i] = uniform_open(words[2 * i]);
          turns[i] = static_cast<float>(static_cast<int32_t>(words[2 * i + 1] >> 8)) * 0x1p-24f;
        } else {
          open[i] = (words[2 * i] + 0.5) * 0x1p-32;
          turns[i] = words[2 * i + 1] * 0x1p-32;
        }
      }
      for (int64_t i = 0; i < pairs; i += V::width) {  // the arrays hold whole vectors
        const V radius = scale * sqrt(T{-2} * log(load(open + i)));
        V cosine, sine;
        sincos_turns(load(turns + i), cosine, sine);
        store(open + i, fma(radius, cosine, shift));
        store(turns + i, fma(radius, sine, shift));
      }
      for (int64_t i = 0; i < pairs; ++i) made[2 * i] = open[i], made[2 * i + 1] = turns[i];
      convert_row(made, count, y.as<S>() + start);
    });
  });
}

void rademacher(Stream&, RngState rng, double scale, View y) {
  check_random_output("rademacher", y);
  for_float(y.dtype, "rademacher", [&]<class S>() {
    const auto plus = static_cast<compute_t<S>>(scale), minus = -plus;
    map_words<S>(rng, y, [=](uint32_t word) { return word >> 31 ? minus : plus; });
  });
}

void bernoulli(Stream&, RngState rng, double probability, View y) {
  check_random_output("bernoulli", y);
  const Chance chance("bernoulli", probability);
  for_any(y.dtype, [&]<class S>() {
    const S one = static_cast<S>(1.0f), zero = static_cast<S>(0.0f);
    for_words(rng, y.numel(), [&](const uint32_t* words, int64_t start, int64_t count) {
      S* to = y.as<S>() + start;
      for (int64_t i = 0; i < count; ++i) to[i] = chance(words[i]) ? one : zero;
    });
  });
}

void dropout(Stream&, RngState rng, double probability, View x, View y) {
  check_dropout(x, y);
  const Chance dropped("dropout", probability);
  for_float(y.dtype, "dropout", [&]<class S>() {
    using T = compute_t<S>;
    const T factor = static_cast<T>(1 / (1 - probability));
    for_words(rng, y.numel(), [&](const uint32_t* words, int64_t start, int64_t count) {
      T values[tile];
      convert_row(x.as<const S>() + start, count, values);
      for (int64_t i = 0; i < count; ++i) values[i] = dropped(words[i]) ? T{0} : values[i] * factor;
      convert_row(values, count, y.as<S>() + start);
    });
  });
}

void permutation(Stream& stream, RngState rng, View y) {
  check_permutation(y);
  const int64_t n = y.numel();
  for_index(y.dtype, "permutation", [&]<class I>() {
    struct Entry {
      uint64_t key;
      I number;
    };
    const Scratch scratch = stream.scratch(static_cast<size_t>(n) * sizeof(Entry));
    Entry* entries = scratch.as<Entry>();
    for_words(rng, 2 * n, [&](const uint32_t* words, int64_t start, int64_t count) {
      for (int64_t i = 0; i < count; i += 2)
        entries[(start + i) / 2] = {words[i] | (uint64_t{words[i + 1]} << 32),
                                    static_cast<I>((start + i) / 2)};
    });
    std::sort(entries, entries + n, [](const Entry& a, const Entry& b) {
      return a.key != b.key ? a.key < b.key : a.number < b.number;
    });
    for (int64_t i = 0; i < n; ++i) y.as<I>()[i] = entries[i].number;
  });
}

}  // namespace

const RandomKernels random_kernels{
    .uniform = uniform,
    .normal = normal,
    .rademacher = rademacher,
    .bernoulli = bernoulli,
    .dropout = dropout,
    .permutation = permutation,
};

}  // namespace tessera::kernels::cpu
