// Random numbers by position. A thread per Philox block: ten rounds in registers, four elements in
// one access. Elements of eight bytes go two to a thread, whose neighbour draws the same block:
// four of them are two accesses, each of which would fill one half of every sector. Floor: the
// output once (dropout: x too); the rounds cost about as much time as writing 16 bytes. Nothing
// depends on the grid.
#include "tessera/kernels/random.hpp"

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/sort.cuh"
#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/random_operands.hpp"
#include "tessera/kernels/sort_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t block_threads = 256;
constexpr int words = 4;  // of a Philox block
/// Elements of a thread, each made of a word: those of a block that one access moves.
template <class S>
constexpr int drawn = vector_length<S> < words ? vector_length<S> : words;

/// The words of elements [first, first + drawn<S>).
template <class S>
TS_DEVICE Pack<uint32_t, drawn<S>> draw(const RngState& rng, int64_t first) {
  constexpr int n = drawn<S>;
  static_assert(n == words || n == words / 2);
  const Philox::Block block =
      Philox::generate(rng.seed, rng.offset + static_cast<uint64_t>(first / words));
  const bool second = first % words != 0;  // half of the block
  Pack<uint32_t, n> all;
#pragma unroll
  for (int j = 0; j < n; ++j) all.lane[j] = second ? block.word[words - n + j] : block.word[j];
  return all;
}

/// y[i .. i + drawn<S>) = make(i, words of these elements), written in one access where y is
/// aligned to it.
template <class S, class Make>
TS_DEVICE void for_draws(RngState from, S* y, int64_t n, bool dense, Make make) {
  constexpr int each = drawn<S>;
  const RngState rng = from.resolved();
  for (int64_t i = first_element() * each; i < n; i += element_step() * each) {
    const Pack<S, each> made = make(i, draw<S>(rng, i));
    if (dense && i + each <= n) {
      store_vector(reinterpret_cast<Pack<S, each>*>(y + i), made);
    } else {
#pragma unroll
      for (int j = 0; j < each; ++j)
        if (i + j < n) y[i + j] = made.lane[j];
    }
  }
}
/// The same, word by word.
template <class S, class F>
TS_DEVICE void map_words(RngState rng, S* y, int64_t n, bool dense, F f) {
  for_draws(rng, y, n, dense, [=](int64_t, const auto& from) {
    Pack<S, drawn<S>> made;
#pragma unroll
    for (int j = 0; j < drawn<S>; ++j) made.lane[j] = narrow<S>(f(from.lane[j]));
    return made;
  });
}

template <class S>
__global__ void __launch_bounds__(block_threads)
    make_uniform(RngState rng, double low, double high, S* y, int64_t n, bool dense) {
  using T = compute_t<S>;
  const T base = static_cast<T>(low), span = static_cast<T>(high - low);
  constexpr int bits = std::is_same_v<S, double>  ? 32
                       : std::is_same_v<S, float> ? 24
                       : std::is_same_v<S, f16>   ? 11
                                                  : 8;
  constexpr T unit = T{1} / static_cast<T>(int64_t{1} << bits);
  map_words(rng, y, n, dense, [=](uint32_t word) {
    return base + span * (static_cast<T>(word >> (32 - bits)) * unit);
  });
}

/// cos and sin of 2 pi t, 0 <= t <= 1, by quarter turns.
template <class T>
TS_DEVICE void sincos_turns(T t, T& cosine, T& sine) {
  const T quarters = functors::round(4 * t);
  const T x = static_cast<T>(6.283185307179586) * functors::fma(quarters, T{-0.25}, t);
  const T c = functors::cos(x), s = functors::sin(x);
  const int k = static_cast<int>(quarters);
  cosine = k & 1 ? s : c;
  sine = k & 1 ? c : s;
  if ((k + 1) & 2) cosine = -cosine;
  if (k & 2) sine = -sine;
}

template <class S>
__global__ void __launch_bounds__(block_threads)
    make_normal(RngState rng, double mean, double deviation, S* y, int64_t n, bool dense) {
  using T = compute_t<S>;
  const T shift = static_cast<T>(mean), scale = static_cast<T>(deviation);
  for_draws(rng, y, n, dense, [=](int64_t, const auto& from) {
    Pack<S, drawn<S>> made;
#pragma unroll
    for (int j = 0; j < drawn<S>; j += 2) {
      T open, turns;
      if constexpr (std::is_same_v<T, float>) {
        open = uniform_open(from.lane[j]);
        turns = static_cast<float>(from.lane[j + 1] >> 8) * 0x1p-24f;
      } else {
        open = (from.lane[j] + 0.5) * 0x1p-32;
        turns = from.lane[j + 1] * 0x1p-32;
      }
      const T radius = scale * functors::sqrt(T{-2} * functors::log(open));
      T cosine, sine;
      sincos_turns(turns, cosine, sine);
      made.lane[j] = narrow<S>(functors::fma(radius, cosine, shift));
      made.lane[j + 1] = narrow<S>(functors::fma(radius, sine, shift));
    }
    return made;
  });
}

template <class S>
__global__ void __launch_bounds__(block_threads)
    make_rademacher(RngState rng, double scale, S* y, int64_t n, bool dense) {
  const auto plus = static_cast<compute_t<S>>(scale);
  map_words(rng, y, n, dense, [=](uint32_t word) { return word >> 31 ? -plus : plus; });
}

template <class S>
__global__ void __launch_bounds__(block_threads)
    make_bernoulli(RngState rng, Chance chance, S* y, int64_t n, bool dense) {
  map_words(rng, y, n, dense,
            [=](uint32_t word) { return static_cast<compute_t<S>>(chance(word)); });
}

template <class S>
__global__ void __launch_bounds__(block_threads)
    drop(RngState rng, Chance dropped, double factor, const S* x, S* y, int64_t n, bool dense) {
  using T = compute_t<S>;
  constexpr int each = drawn<S>;
  const T kept = static_cast<T>(factor);
  for_draws(rng, y, n, dense, [=](int64_t i, const auto& from) {
    Pack<S, each> pack{};
    if (dense && i + each <= n) {
      pack = load_vector(reinterpret_cast<const Pack<S, each>*>(x + i));
    } else {
#pragma unroll
      for (int j = 0; j < each; ++j)
        if (i + j < n) pack.lane[j] = x[i + j];
    }
#pragma unroll
    for (int j = 0; j < each; ++j)
      pack.lane[j] = narrow<S>(dropped(from.lane[j]) ? T{0} : widen(pack.lane[j]) * kept);
    return pack;
  });
}

/// The same for [rows, sequences, width], each sequence with numbers of its own.
template <class S>
__global__ void __launch_bounds__(block_threads)
    drop_sequences(RngState rng, int64_t sequences, int64_t width, Chance dropped, double factor,
                   const S* x, S* y, int64_t count, bool packs) {
  using T = compute_t<S>;
  constexpr int each = drawn<S>;
  const T kept = static_cast<T>(factor);
  const int64_t draws = (count + each - 1) / each;
  for (int64_t k = first_element(); k < sequences * draws; k += element_step()) {
    const int64_t s = k / draws, i = k % draws * each;  // element i of sequence s
    RngState own = rng.origin[s];
    own.offset += rng.offset;
    const Pack<uint32_t, each> word = draw<S>(own, i);
    const auto place = [=](int64_t n) { return (n / width * sequences + s) * width + n % width; };
    const auto drop = [&](int j, S from) {
      return narrow<S>(dropped(word.lane[j]) ? T{0} : widen(from) * kept);
    };
    if (packs) {
      auto pack = load_vector(reinterpret_cast<const Pack<S, each>*>(x + place(i)));
#pragma unroll
      for (int j = 0; j < each; ++j) pack.lane[j] = drop(j, pack.lane[j]);
      store_vector(reinterpret_cast<Pack<S, each>*>(y + place(i)), pack);
    } else {
#pragma unroll
      for (int j = 0; j < each; ++j)
        if (i + j < count) y[place(i + j)] = drop(j, x[place(i + j)]);
    }
  }
}

// ---------------------------------------------------------------- launches

template <class S>
LaunchShape shape_for(const char* name, int64_t n) {
  return {name, {blocks_for(n, drawn<S> * block_threads)}, {block_threads}};
}
template <class S>
bool dense(const View& v) {
  return aligned(v.data, drawn<S> * sizeof(S));
}

void uniform(Stream& stream, RngState rng, double low, double high, View y) {
  check_random_output("uniform", y);
  for_float(y.dtype, "uniform", [&]<class S>() {
    if (y.numel() > 0)
      launch(stream, shape_for<S>("uniform", y.numel()), make_uniform<S>, rng, low, high, y.as<S>(),
             y.numel(), dense<S>(y));
  });
}

void normal(Stream& stream, RngState rng, double mean, double deviation, View y) {
  check_random_output("normal", y);
  for_float(y.dtype, "normal", [&]<class S>() {
    if (y.numel() > 0)
      launch(stream, shape_for<S>("normal", y.numel()), make_normal<S>, rng, mean, deviation,
             y.as<S>(), y.numel(), dense<S>(y));
  });
}

void rademacher(Stream& stream, RngState rng, double scale, View y) {
  check_random_output("rademacher", y);
  for_float(y.dtype, "rademacher", [&]<class S>() {
    if (y.numel() > 0)
      launch(stream, shape_for<S>("rademacher", y.numel()), make_rademacher<S>, rng, scale,
             y.as<S>(), y.numel(), dense<S>(y));
  });
}

void bernoulli(Stream& stream, RngState rng, double probability, View y) {
  check_random_output("bernoulli", y);
  const Chance chance("bernoulli", probability);
  for_computed(y.dtype, "bernoulli", [&]<class S>() {
    if (y.numel() > 0)
      launch(stream, shape_for<S>("bernoulli", y.numel()), make_bernoulli<S>, rng, chance,
             y.as<S>(), y.numel(), dense<S>(y));
  });
}

void dropout(Stream& stream, RngState rng, int64_t sequences, double probability, View x, View y) {
  check_dropout(rng, sequences, x, y);
  const Chance dropped("dropout", probability);
  for_float(y.dtype, "dropout", [&]<class S>() {
    if (y.numel() == 0) return;
    const bool packs = dense<S>(x) && dense<S>(y);
    if (const int64_t width = sequences > 1 ? x.shape[x.rank - 1] : 0; sequences > 1)
      launch(stream, shape_for<S>("dropout", y.numel()), drop_sequences<S>, rng, sequences, width,
             dropped, 1 / (1 - probability), x.as<S>(), y.as<S>(), y.numel() / sequences,
             packs && width % drawn<S> == 0);
    else
      launch(stream, shape_for<S>("dropout", y.numel()), drop<S>, rng, dropped,
             1 / (1 - probability), x.as<S>(), y.as<S>(), y.numel(), packs);
  });
}

// ---------------------------------------------------------------- permutations

/// The keys of numbers 2 i and 2 i + 1, from block i.
TS_DEVICE Pack<uint64_t, 2> keys_of_pair(RngState from, int64_t i) {
  const RngState rng = from.resolved();
  const Philox::Block b = Philox::generate(rng.seed, rng.offset + static_cast<uint64_t>(i));
  return {b.word[0] | uint64_t{b.word[1]} << 32, b.word[2] | uint64_t{b.word[3]} << 32};
}

constexpr int64_t longest_in_a_block = 2 * block_threads;

/// By one block: the place of a number is the number of keys before its own.
template <class I>
__global__ void __launch_bounds__(block_threads) permute_in_block(RngState rng, I* y, uint32_t n) {
  struct Shared {
    uint64_t keys[longest_in_a_block];
  };
  Shared& shared = static_shared<Shared>();
  const uint32_t thread = thread_index().x;
  if (2 * thread < n) {
    const Pack<uint64_t, 2> keys = keys_of_pair(rng, thread);
    shared.keys[2 * thread] = keys.lane[0];
    shared.keys[2 * thread + 1] = keys.lane[1];
  }
  sync_block();
  for (uint32_t i = thread; i < n; i += block_threads) {
    const uint64_t key = shared.keys[i];
    uint32_t place = 0;
    for (uint32_t j = 0; j < n; ++j) {
      const uint64_t other = shared.keys[j];
      place += other < key || (other == key && j < i);
    }
    y[place] = static_cast<I>(i);
  }
}

/// The keys and the numbers themselves.
__global__ void __launch_bounds__(block_threads)
    make_keys(RngState rng, Items<uint64_t> items, int64_t n) {
  for (int64_t i = first_element(); 2 * i < n; i += element_step()) {
    const Pack<uint64_t, 2> keys = keys_of_pair(rng, i);
    const Pack<uint32_t, 2> positions{static_cast<uint32_t>(2 * i),
                                      static_cast<uint32_t>(2 * i + 1)};
    if (2 * i + 1 < n) {
      store_vector(reinterpret_cast<Pack<uint64_t, 2>*>(items.keys) + i, keys);
      store_vector(reinterpret_cast<Pack<uint32_t, 2>*>(items.positions) + i, positions);
    } else {
      items.keys[2 * i] = keys.lane[0];
      items.positions[2 * i] = positions.lane[0];
    }
  }
}

/// y[i] = numbers[i]
template <class I>
__global__ void __launch_bounds__(block_threads)
    write_numbers(const uint32_t* numbers, I* y, int64_t n) {
  for (int64_t i = first_element(); i < n; i += element_step()) y[i] = static_cast<I>(numbers[i]);
}

/// Floor of many numbers: the eight passes of radix_sort over keys of 64 bits.
void permutation(Stream& stream, RngState rng, View y) {
  check_permutation(y);
  const int64_t n = y.numel();
  if (n == 0) return;
  TS_CHECK(n <= longest_sorted, "permutation: ", n, " numbers are too many for ", stream.device());
  for_index(y.dtype, "permutation", [&]<class I>() {
    if (n <= longest_in_a_block)
      return launch(stream, {"permutation", {1}, {block_threads}}, permute_in_block<I>, rng,
                    y.as<I>(), n);
    const ItemMemory<uint64_t> memory(stream, n);
    launch(stream, {"permutation", {blocks_for(n, 2 * block_threads)}, {block_threads}}, make_keys,
           rng, memory.items, n);
    const Items<uint64_t> sorted = radix_sort(stream, memory.items, memory.spare, n, 64);
    launch(stream, {"permutation write_numbers", {blocks_for(n, block_threads)}, {block_threads}},
           write_numbers<I>, sorted.positions, y.as<I>(), n);
  });
}

}  // namespace

extern const RandomKernels random_kernels{
    .uniform = uniform,
    .normal = normal,
    .rademacher = rademacher,
    .bernoulli = bernoulli,
    .dropout = dropout,
    .permutation = permutation,
};

}  // namespace tessera::kernels::cuda
