#include "tessera/kernels/random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/rows.hpp"
#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/random_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

// --- Philox on many counters at once ---

/// A word of each counter in the lower half of a lane; nothing looks at the upper half.
using Words = Vec<uint64_t>;

/// The product of the lower halves.
inline Words multiply_words(Words a, Words b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Words::Native>(_mm512_maskz_mul_epu32(
      0xff, reinterpret_cast<__m512i>(a.native), reinterpret_cast<__m512i>(b.native)));
#elif defined(__AVX2__)
  return reinterpret_cast<Words::Native>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a.native), reinterpret_cast<__m256i>(b.native)));
#elif defined(__SSE2__)
  return reinterpret_cast<Words::Native>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a.native), reinterpret_cast<__m128i>(b.native)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}
inline Words pair(Words low, Words high) { return (low & 0xffffffffu) | (high << 32); }

/// a[first] b[first] a[first + 2] b[first + 2] ...
template <int first>
inline Vec<uint32_t> every_other(Words a, Words b) {
  const Words::Native both = [&]<int... i>(std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a.native, b.native,
                                   (first + i / 2 * 2 + i % 2 * Words::width)...);
  }
  (std::make_integer_sequence<int, Words::width>{});
  return reinterpret_cast<Vec<uint32_t>::Native>(both);
}

constexpr int chains = vector_bytes == 64 ? 4 : 2;  // a round waits for products: several at once
constexpr int64_t group = int64_t{4} * chains * Words::width;  // words made at a time

/// Calls put(i, words i to i + width of the blocks from `counter` on) for every i below `group`;
/// see runtime/rng.hpp.
template <class Put>
inline void generate_group(uint64_t key, uint64_t counter, Put&& put) {
  // lane i has block i / 2, or for odd i that behind all even ones: `every_other` puts them in
  // order
  const Words blocks = []<int... i>(std::integer_sequence<int, i...>) {
    return Words::Native{(i / 2 + i % 2 * (Words::width / 2))...};
  }
  (std::make_integer_sequence<int, Words::width>{});
  Words c0[chains], c1[chains], c2[chains], c3[chains];
  unrolled<chains>([&](auto j) __attribute__((always_inline)) {
    c0[j] = blocks + (counter + uint64_t{j * Words::width});
    c1[j] = c0[j] >> 32;
    c2[j] = c3[j] = uint64_t{0};
  });
  Words k0 = key, k1 = key >> 32;
  for (int round = 0; round < 10; ++round) {
    unrolled<chains>([&](auto j) __attribute__((always_inline)) {
      const Words p0 = multiply_words(c0[j], uint64_t{0xD2511F53u}),
                  p1 = multiply_words(c2[j], uint64_t{0xCD9E8D57u});
      c0[j] = (p1 >> 32) ^ c1[j] ^ k0;
      c2[j] = (p0 >> 32) ^ c3[j] ^ k1;
      c1[j] = p1;
      c3[j] = p0;
    });
    k0 += uint64_t{0x9E3779B9u};
    k1 += uint64_t{0xBB67AE85u};
  }
  unrolled<chains>([&](auto j) __attribute__((always_inline)) {
    const Words low = pair(c0[j], c1[j]), high = pair(c2[j], c3[j]);
    constexpr int64_t i = int64_t{4} * j * Words::width;
    put(i, every_other<0>(low, high));
    put(i + Vec<uint32_t>::width, every_other<1>(low, high));
  });
}

// --- from words to elements, a tile at a time ---

constexpr int64_t thread_grain = 16384;  // words worth a thread

/// Calls put(i, words of the elements from i on) for every vector of words, on all threads.
template <class Put>
void for_vectors(RngState from, int64_t n, Put&& put) {
  const RngState rng = from.resolved();
  parallel_for((n + group - 1) / group, thread_grain / group, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g)
      generate_group(rng.seed, rng.offset + static_cast<uint64_t>(g * group / 4),
                     [&](int64_t i, Vec<uint32_t> words) { put(g * group + i, words); });
  });
}

constexpr int64_t tile = 1024;
static_assert(tile % group == 0);

/// Calls make(words, start, count): the words of elements [start, start + count), on all threads.
template <class Make>
void for_words(RngState from, int64_t n, Make&& make) {
  const RngState rng = from.resolved();
  parallel_for((n + tile - 1) / tile, thread_grain / tile, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[tile];
    for (int64_t start = begin * tile; start < std::min(n, end * tile); start += tile) {
      const int64_t count = std::min(tile, n - start);
      for (int64_t at = 0; at < count; at += group)
        generate_group(rng.seed, rng.offset + static_cast<uint64_t>(start + at) / 4,
                       [&](int64_t i, Vec<uint32_t> w) { store(words + at + i, w); });
      make(words, start, count);
    }
  });
}

/// y = what make(words, count, numbers) makes of each tile's words, in the compute type.
template <class S, class Make>
void fill_from_words(RngState rng, const View& y, Make&& make) {
  using T = compute_t<S>;
  for_words(rng, y.numel(), [&](const uint32_t* words, int64_t start, int64_t count) {
    T numbers[tile];
    make(words, count, numbers);
    S* to = y.as<S>() + start;
    row_each<T>(count, [&](auto at) { write(to, at, read(numbers, at)); });
  });
}
/// y[i] = f(word i) in the compute type.
template <class S, class F>
void map_words(RngState rng, const View& y, F&& f) {
  fill_from_words<S>(rng, y, [&](const uint32_t* words, int64_t count, compute_t<S>* numbers) {
    for (int64_t i = 0; i < count; ++i) numbers[i] = f(words[i]);
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
    fill_from_words<S>(rng, y, [&](const uint32_t* words, int64_t count, T* numbers) {
      T open[tile / 2], turns[tile / 2];
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
      for (int64_t i = 0; i < pairs; ++i) numbers[2 * i] = open[i], numbers[2 * i + 1] = turns[i];
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

/// The lanes that the chance takes.
Mask<float> taken(const Chance& chance, Vec<uint32_t> words) {
  const Mask<uint32_t> below = words <= Vec<uint32_t>(chance.last),
                       any = {Mask<uint32_t>::Native{} - chance.possible};
  return {(below & any).native};
}

void bernoulli(Stream&, RngState rng, double probability, View y) {
  check_random_output("bernoulli", y);
  const Chance chance("bernoulli", probability);
  for_computed(y.dtype, "bernoulli", [&]<class S>() {
    if constexpr (is_float(dtype_of<S>)) {
      using T = compute_t<S>;
      map_words<S>(rng, y, [=](uint32_t word) { return chance(word) ? T{1} : T{0}; });
    } else {
      for_words(rng, y.numel(), [&](const uint32_t* words, int64_t start, int64_t count) {
        S* to = y.as<S>() + start;
        for (int64_t i = 0; i < count; ++i) to[i] = static_cast<S>(chance(words[i]));
      });
    }
  });
}

/// What dropout does to elements that lie in `sequences`, each of which has numbers of its own:
/// `count` rows of `sequences` pieces of `width` elements.
template <class S>
struct Sequences {
  RngState rng;
  int64_t sequences, width, count;  // count: elements of a sequence
  Chance dropped;
  compute_t<S> factor;
  const S* x;
  S* y;

  int64_t step() const { return sequences * width; }
  /// Words from element `start` of sequence s on.
  template <class Put>
  void words(int64_t s, int64_t start, int64_t n, Put&& put) const {
    const RngState own = RngState{.offset = rng.offset, .origin = rng.origin + s}.resolved();
    for (int64_t at = 0; at < n; at += group)
      generate_group(own.seed, own.offset + static_cast<uint64_t>(start + at) / 4,
                     [&](int64_t i, Vec<uint32_t> w) { put(at + i, w); });
  }
};

/// Pieces of whole vectors: each vector of words meets its elements at once.
template <class S>
void drop_vectors(const Sequences<S>& q, int64_t start, int64_t n) {
  using T = compute_t<S>;
  for (int64_t s = 0; s < q.sequences; ++s) {
    int64_t column = start % q.width, at = start / q.width * q.step() + s * q.width + column;
    q.words(s, start, n, [&](int64_t i, Vec<uint32_t> words) {
      if (i >= n) return;
      write(q.y, Whole{at}, where(taken(q.dropped, words), T{0}, q.factor * read(q.x, Whole{at})));
      at += words.width, column += words.width;
      if (column == q.width) at += q.step() - q.width, column = 0;
    });
  }
}

/// Single elements: as many sequences as a vector has lanes put their decisions into a word for
/// each row.
template <class S>
void drop_elements(const Sequences<S>& q, int64_t start, int64_t n) {
  using T = compute_t<S>;
  using Bits = Vec<uint32_t>;  // of a row, or of a sequence
  Bits of_lane;
  for (int lane = 0; lane < Bits::width; ++lane) of_lane.set(lane, 1u << lane);
  alignas(64) uint32_t kept[tile];
  for (int64_t first = 0; first < q.sequences; first += Bits::width) {
    const int64_t lanes = std::min<int64_t>(Bits::width, q.sequences - first);
    std::fill_n(kept, tile, 0);
    for (int64_t s = 0; s < lanes; ++s)
      q.words(first + s, start, n, [&](int64_t i, Bits words) {
        const Mask<uint32_t> gone = {taken(q.dropped, words).native};
        store(kept + i, load(kept + i) | where(gone, 0, 1u << s));
      });
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = (start + i) * q.sequences + first;
      const Mask<float> keeps = {((Bits(kept[i]) & of_lane) != Bits(0)).native};
      const auto drop = [&](auto place) {
        write(q.y, place, where(keeps, q.factor * read(q.x, place), T{0}));
      };
      lanes == Bits::width ? drop(Whole{at}) : drop(Part{at, lanes});
    }
  }
}

/// Any pieces. No branch depends on a number: it would be mispredicted half of the time.
template <class S>
void drop_pieces(const Sequences<S>& q, int64_t start, int64_t n) {
  using T = compute_t<S>;
  using Bits = std::conditional_t<std::is_same_v<T, double>, uint64_t, uint32_t>;
  const uint32_t last = q.dropped.last, never = q.dropped.possible ? 0 : 1;
  alignas(64) uint32_t words[tile];
  alignas(64) Bits kept[tile];  // all bits, or none
  for (int64_t s = 0; s < q.sequences; ++s) {
    q.words(s, start, n, [&](int64_t i, Vec<uint32_t> w) { store(words + i, w); });
    for (int64_t i = 0; i < n; ++i)
      kept[i] = Bits{0} - static_cast<Bits>(static_cast<uint32_t>(words[i] > last) | never);
    int64_t column = start % q.width, at = start / q.width * q.step() + s * q.width + column;
    for (int64_t i = 0; i < n;) {
      const int64_t piece = std::min(n - i, q.width - column);
      for (int64_t k = 0; k < piece; ++k) {
        const T value = q.factor * static_cast<T>(q.x[at + k]);
        q.y[at + k] = static_cast<S>(std::bit_cast<T>(std::bit_cast<Bits>(value) & kept[i + k]));
      }
      i += piece, at += piece + q.step() - q.width, column = 0;
    }
  }
}

/// A tile of every sequence, one after another.
template <class S>
void drop_sequences(const Sequences<S>& q) {
  parallel_for((q.count + tile - 1) / tile, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t start = t * tile, n = std::min(tile, q.count - start);
      if constexpr (!std::is_same_v<S, double>) {
        if (q.width % Vec<uint32_t>::width == 0) {
          drop_vectors(q, start, n);
          continue;
        }
        if (q.width == 1) {
          drop_elements(q, start, n);
          continue;
        }
      }
      drop_pieces(q, start, n);
    }
  });
}

void dropout(Stream&, RngState rng, int64_t sequences, double probability, View x, View y) {
  check_dropout(rng, sequences, x, y);
  const Chance dropped("dropout", probability);
  if (sequences > 1) {
    for_float(y.dtype, "dropout", [&]<class S>() {
      if (y.numel() == 0) return;
      drop_sequences(Sequences<S>{rng, sequences, x.shape[x.rank - 1], x.numel() / sequences,
                                  dropped, static_cast<compute_t<S>>(1 / (1 - probability)),
                                  x.as<const S>(), y.as<S>()});
    });
    return;
  }
  for_float(y.dtype, "dropout", [&]<class S>() {
    using T = compute_t<S>;
    const T factor = static_cast<T>(1 / (1 - probability));
    const int64_t n = y.numel();
    const S* from = x.as<const S>();
    S* to = y.as<S>();
    for_vectors(rng, n, [=](int64_t i, Vec<uint32_t> words) {
      if constexpr (std::is_same_v<T, double>) {
        for (int64_t k = 0; k < std::min<int64_t>(words.width, n - i); ++k)
          to[i + k] = dropped(words[static_cast<int>(k)]) ? 0 : factor * from[i + k];
      } else {
        const auto drop = [&](auto at) {
          write(to, at, where(taken(dropped, words), 0, factor * read(from, at)));
        };
        if (i + words.width <= n)
          drop(Whole{i});
        else if (i < n)
          drop(Part{i, n - i});
      }
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
