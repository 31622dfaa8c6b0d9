// What ptx.cuh wraps: barriers, collectives of a warp, bits, halves, atomic operations and vector
// accesses.
#include <algorithm>

#include "tessera/kernels/cuda/ptx_tensor.cuh"
#include "tessera/tests/conformance/conformance.hpp"

namespace tessera::conformance {
namespace {

template <class T>
std::vector<T> random_values(size_t count, uint64_t seed) {
  Bits next(seed);
  std::vector<T> out(count);
  for (T& x : out) {
    const uint64_t bits = uint64_t{next()} << 32 | next();
    std::memcpy(&x, &bits, std::min(sizeof(T), sizeof bits));
  }
  return out;
}

// ---------------------------------------------------------------- collectives

enum class Move { index, exclusive_or, up, down };

template <class T>
__global__ void shuffle_all(const T* in, Move move, uint32_t width, uint32_t mask, T* out) {
  const uint32_t lane = lane_index();
  if (!(mask >> lane & 1)) return;
  for (uint32_t k = 0; k < width; ++k) {
    const T x = in[lane];
    out[k * warp_size + lane] = move == Move::index          ? shuffle(x, k, width, mask)
                                : move == Move::exclusive_or ? shuffle_xor(x, k, width, mask)
                                : move == Move::up           ? shuffle_up(x, k, width, mask)
                                                             : shuffle_down(x, k, width, mask);
  }
}

/// The lane that `lane` gets its value from.
uint32_t source(Move move, uint32_t lane, uint32_t k, uint32_t width) {
  const uint32_t first = lane / width * width, in_segment = lane % width;
  switch (move) {
    case Move::index:
      return first + k % width;
    case Move::exclusive_or:
      return first + (in_segment ^ k);
    case Move::up:
      return in_segment >= k ? lane - k : lane;
    case Move::down:
      return in_segment + k < width ? lane + k : lane;
  }
  return lane;
}

/// With half a mask only lanes of it exchange, by operands that stay within it.
template <class T>
void check_shuffles(const char* type) {
  const std::vector<T> in = random_values<T>(warp_size, sizeof(T));
  for (const Move move : {Move::index, Move::exclusive_or, Move::up, Move::down})
    for (uint32_t width = 1; width <= warp_size; width *= 2)
      for (const uint32_t mask : {full_warp, 0xffff0000u}) {
        if (width == warp_size && mask != full_warp) continue;
        const std::string name = concat("shuffle_", type, "_", static_cast<int>(move), "_", width,
                                        mask == full_warp ? "" : "_upper_half");
        for_schedules([&] {
          const Buffer<T> from(in), to(width * warp_size);
          launch(stream(), {"shuffle_all", {1}, {warp_size}}, shuffle_all<T>, from.data(), move,
                 width, mask, to.data());
          const std::vector<T> got = to.values();
          for (uint32_t k = 0; k < width; ++k)
            for (uint32_t lane = 0; lane < warp_size; ++lane) {
              if (!(mask >> lane & 1)) continue;
              EXPECT_EQ(std::memcmp(&got[k * warp_size + lane], &in[source(move, lane, k, width)],
                                    sizeof(T)),
                        0)
                  << name << " operand " << k << " lane " << lane;
            }
          check_recorded(name, got);
        });
      }
}

TEST(Warp, Shuffles) {
  check_shuffles<uint8_t>("u8");
  check_shuffles<uint16_t>("u16");
  check_shuffles<float>("f32");
  check_shuffles<uint64_t>("u64");
}

__global__ void vote(const uint32_t* in, uint32_t mask, uint32_t* out) {
  const uint32_t lane = lane_index(), x = in[lane];
  if (!(mask >> lane & 1)) return;
  out[lane] = ballot(x % 3 == 0, mask);
  out[warp_size + lane] = match_any(x % 4, mask);
  out[2 * warp_size + lane] = match_any(uint64_t{x % 4} << 40, mask);
  out[3 * warp_size + lane] = static_cast<uint32_t>(any(x % 64 == 0, mask)) |
                              static_cast<uint32_t>(all(x % 2 == 0, mask)) << 1;
}

TEST(Warp, Votes) {
  for (const uint32_t mask : {full_warp, 0x0ff0f00fu, 1u << 13}) {
    std::vector<uint32_t> in = random_values<uint32_t>(warp_size, mask);
    for (const bool even : {false, true}) {
      for (uint32_t& x : in) x = even ? x & ~1u : x;
      const std::string name = concat("vote_", mask, even ? "_even" : "");
      for_schedules([&] {
        const Buffer<uint32_t> from(in), to(4 * warp_size);
        launch(stream(), {"vote", {1}, {warp_size}}, vote, from.data(), mask, to.data());
        const std::vector<uint32_t> got = to.values();
        uint32_t thirds = 0, any_of = 0, all_of = 1;
        for (uint32_t l = 0; l < warp_size; ++l) {
          if (!(mask >> l & 1)) continue;
          thirds |= static_cast<uint32_t>(in[l] % 3 == 0) << l;
          any_of |= in[l] % 64 == 0;
          all_of &= in[l] % 2 == 0;
        }
        for (uint32_t l = 0; l < warp_size; ++l) {
          if (!(mask >> l & 1)) continue;
          uint32_t equals = 0;
          for (uint32_t other = 0; other < warp_size; ++other)
            equals |= static_cast<uint32_t>(mask >> other & 1 && in[other] % 4 == in[l] % 4)
                      << other;
          EXPECT_EQ(got[l], thirds) << name;
          EXPECT_EQ(got[warp_size + l], equals) << name;
          EXPECT_EQ(got[2 * warp_size + l], equals) << name;
          EXPECT_EQ(got[3 * warp_size + l], any_of | all_of << 1) << name;
        }
        check_recorded(name, got);
      });
    }
  }
}

// ---------------------------------------------------------------- barriers

struct Relay {
  uint32_t words[256];
};

/// Reversed by the whole block, then handed from its first half to its second at a named barrier.
__global__ void relay(const uint32_t* in, uint32_t* out) {
  Relay& shared = dynamic_shared<Relay>();
  const uint32_t me = thread_index().x, n = block_size().x, first = block_index().x * n;
  shared.words[me] = in[first + me];
  sync_block();
  const uint32_t reversed = shared.words[n - 1 - me];
  sync_block();
  if (me < n / 2) {
    shared.words[me] = reversed;
    arrive_barrier(3, n);
  } else {
    sync_barrier(3, n);
    out[first + me - n / 2] = shared.words[me - n / 2];
    out[first + me] = reversed;
  }
}

TEST(Block, Barriers) {
  constexpr uint32_t n = 256, blocks = 3;
  const std::vector<uint32_t> in = random_values<uint32_t>(n * blocks, 5);
  for_schedules([&] {
    const Buffer<uint32_t> from(in), to(n * blocks);
    launch(stream(), {"relay", {blocks}, {n}, sizeof(Relay)}, relay, from.data(), to.data());
    const std::vector<uint32_t> got = to.values();
    for (uint32_t b = 0; b < blocks; ++b)
      for (uint32_t i = 0; i < n; ++i) EXPECT_EQ(got[b * n + i], in[b * n + n - 1 - i]);
    check_recorded("barriers", got);
  });
}

// ---------------------------------------------------------------- bits and halves

__global__ void count_bits(const uint32_t* in, int64_t n, int32_t* out) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    out[3 * i] = population_count(in[i]);
    out[3 * i + 1] = lowest_bit(in[i]);
    out[3 * i + 2] = leading_zeros(in[i]);
  }
}

TEST(Bits, CountsAndPlaces) {
  std::vector<uint32_t> in = random_values<uint32_t>(100, 7);
  for (uint32_t bit = 0; bit < 32; ++bit) in.push_back(1u << bit);
  in.push_back(0);
  in.push_back(~0u);
  const Buffer<uint32_t> from(in);
  const Buffer<int32_t> to(3 * in.size());
  launch(stream(), {"count_bits", {2}, {64}}, count_bits, from.data(),
         static_cast<int64_t>(in.size()), to.data());
  const std::vector<int32_t> got = to.values();
  for (size_t i = 0; i < in.size(); ++i) {
    int32_t count = 0, lowest = -1, zeros = 32;
    for (int32_t bit = 0; bit < 32; ++bit)
      if (in[i] >> bit & 1) {
        ++count;
        if (lowest < 0) lowest = bit;
        zeros = 31 - bit;
      }
    EXPECT_EQ(got[3 * i], count) << in[i];
    EXPECT_EQ(got[3 * i + 1], lowest) << in[i];
    EXPECT_EQ(got[3 * i + 2], zeros) << in[i];
  }
  check_recorded("count_bits", got);
}

template <class T>
__global__ void widen_all(float* out) {
  for (int64_t i = first_element(); i < 1 << 16; i += element_step())
    out[i] = widen(T::from_bits(static_cast<uint16_t>(i)));
}
template <class T>
__global__ void narrow_all(const float* in, int64_t n, uint16_t* out) {
  for (int64_t i = first_element(); i < n; i += element_step()) out[i] = narrow<T>(in[i]).bits;
}

/// The nearest number of the format, ties to even, from the two that lie around x.
uint32_t nearest(const Format& f, float x) {
  const uint32_t sign = std::signbit(x) ? f.sign_bit() : 0;
  const double size = std::abs(static_cast<double>(x));
  uint32_t low = 0, high = f.infinity();  // value(low) <= size
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (f.value(middle) <= size ? low : high) = middle;
  }
  // infinity stands where the next number would
  const double above = high == f.infinity() ? 2 * f.value(low) - f.value(low - 1) : f.value(high);
  const double up = above - size, down = size - f.value(low);
  const bool rises = std::isinf(x) || up < down || (up == down && low % 2 == 1);
  return sign | (rises ? high : low);
}

template <class T>
void check_halves(const Format& f, const char* type) {
  const Buffer<float> wide(size_t{1} << 16);
  launch(stream(), {"widen_all", {8}, {256}}, widen_all<T>, wide.data());
  const std::vector<float> all = wide.values();
  std::vector<float> in;
  for (uint32_t bits = 0; bits < 1u << 16; ++bits) {
    const double wanted = f.value(bits);
    if (std::isnan(wanted)) {
      EXPECT_TRUE(std::isnan(all[bits])) << type << " " << bits;
      continue;
    }
    EXPECT_EQ(static_cast<double>(all[bits]), wanted) << type << " " << bits;
    if (bits % 61 == 0 && std::isfinite(wanted)) {  // and what lies between it and the next
      const double half_way = (wanted + f.value(bits + 1)) / 2;
      const auto tie = static_cast<float>(half_way);
      for (const float x : {all[bits], tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 1e38f)})
        if (std::isfinite(x)) in.push_back(x);
    }
  }
  const auto largest = static_cast<float>(f.value(f.largest()));
  for (const float x : {0.0f, -0.0f, INFINITY, -INFINITY, largest, -largest, 0x1.fffffep127f,
                        65519.996f, 65520.0f, 0x1p-25f, 0x1.000002p-25f, 0x1p-149f})
    in.push_back(x);
  const Buffer<float> from(in);
  const Buffer<uint16_t> to(in.size());
  launch(stream(), {"narrow_all", {8}, {256}}, narrow_all<T>, from.data(),
         static_cast<int64_t>(in.size()), to.data());
  const std::vector<uint16_t> got = to.values();
  for (size_t i = 0; i < in.size(); ++i)
    EXPECT_EQ(got[i], nearest(f, in[i])) << type << " of " << in[i];
  check_recorded(concat("narrow_", type), got);
}

TEST(Halves, WidenAndNarrow) {
  check_halves<f16>(half_format, "f16");
  check_halves<bf16>(bfloat_format, "bf16");
}

__global__ void add_pairs(const uint32_t* a, const uint32_t* b, int64_t n, uint32_t* out) {
  for (int64_t i = first_element(); i < n; i += element_step()) out[i] = add_halves(a[i], b[i]);
}

TEST(Halves, SumsOfPairs) {
  for (const Draw kind : {Draw::integers, Draw::reals, Draw::subnormal}) {
    std::vector<uint32_t> words[2];
    for (uint64_t side = 0; side < 2; ++side) {
      const auto low = draw<uint32_t>(half_format, kind, 500, 2 * side),
                 high = draw<uint32_t>(half_format, kind, 500, 2 * side + 1);
      for (size_t i = 0; i < low.size(); ++i) words[side].push_back(low[i] | high[i] << 16);
    }
    const Buffer<uint32_t> a(words[0]), b(words[1]), to(words[0].size());
    launch(stream(), {"add_pairs", {2}, {64}}, add_pairs, a.data(), b.data(), int64_t{500},
           to.data());
    const std::vector<uint32_t> got = to.values();
    for (size_t i = 0; i < got.size(); ++i)
      for (int shift = 0; shift <= 16; shift += 16) {
        const double exact = half_format.value(words[0][i] >> shift & 0xffff) +
                             half_format.value(words[1][i] >> shift & 0xffff);
        const uint32_t wanted = nearest(half_format, static_cast<float>(exact)),
                       sum = got[i] >> shift & 0xffff;
        EXPECT_TRUE(sum == wanted || (exact == 0 && (sum & 0x7fff) == 0)) << exact << ": " << sum;
      }
    check_recorded(concat("add_halves_", static_cast<int>(kind)), got);
  }
}

// ---------------------------------------------------------------- memory

template <class T>
struct Cells {
  T sum, greatest, least, exchanged;
};
template <class T>
__global__ void update_cells(const T* in, int64_t n, Cells<T>* cells, uint32_t* bits) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    atomic_add(&cells->sum, in[i]);
    atomic_max(&cells->greatest, in[i]);
    atomic_min(&cells->least, in[i]);
    T seen = atomic_compare_exchange(&cells->exchanged, T{}, T{}), before;
    do before = seen;
    while ((seen = atomic_compare_exchange(&cells->exchanged, before,
                                           static_cast<T>(before ^ in[i]))) != before);
    atomic_or(bits, 1u << (static_cast<uint32_t>(in[i]) & 31));
  }
}

template <class T>
void check_atomics() {
  const std::vector<T> in = random_values<T>(300, sizeof(T));
  using U = std::make_unsigned_t<T>;
  U sum = 0, exclusive = 0;
  uint32_t bits = 0;
  for (const T x : in) {
    sum += static_cast<U>(x);
    exclusive ^= static_cast<U>(x);
    bits |= 1u << (static_cast<uint32_t>(x) & 31);
  }
  for_schedules([&] {
    const Buffer<T> from(in);
    const Buffer<Cells<T>> cells(1, Cells<T>{0, in[0], in[0], 0});
    const Buffer<uint32_t> seen(1);
    launch(stream(), {"update_cells", {3}, {64}}, update_cells<T>, from.data(),
           static_cast<int64_t>(in.size()), cells.data(), seen.data());
    const Cells<T> got = cells.values()[0];
    EXPECT_EQ(static_cast<U>(got.sum), sum);
    EXPECT_EQ(got.greatest, *std::max_element(in.begin(), in.end()));
    EXPECT_EQ(got.least, *std::min_element(in.begin(), in.end()));
    EXPECT_EQ(static_cast<U>(got.exchanged), exclusive);
    EXPECT_EQ(seen.values()[0], bits);
  });
}

TEST(Memory, Atomics) {
  check_atomics<int32_t>();
  check_atomics<uint32_t>();
}

template <class T>
struct alignas(sizeof(T) * 4) Four {
  T lane[4];
};
template <class T>
__global__ void copy_fours(const Four<T>* in, int64_t n, bool streaming, Four<T>* out) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    Four<T> x = streaming ? load_streaming(in + i) : load_vector(in + i);
    const T first = x.lane[0];
    x.lane[0] = x.lane[3];
    x.lane[3] = first;
    if (streaming)
      store_streaming(out + i, x);
    else
      store_vector(out + i, x);
  }
}

template <class T>
void check_vectors() {
  const std::vector<T> values = random_values<T>(400, 9);
  std::vector<Four<T>> in(100);
  std::memcpy(static_cast<void*>(in.data()), values.data(), values.size() * sizeof(T));
  for (const bool streaming : {false, true}) {
    const Buffer<Four<T>> from(in), to(in.size());
    launch(stream(), {"copy_fours", {2}, {32}}, copy_fours<T>, from.data(), int64_t{100}, streaming,
           to.data());
    const std::vector<Four<T>> got = to.values();
    for (size_t i = 0; i < in.size(); ++i)
      for (size_t j = 0; j < 4; ++j)
        EXPECT_EQ(got[i].lane[j], in[i].lane[j % 3 == 0 ? 3 - j : j]) << sizeof(T) << " " << i;
  }
}

TEST(Memory, Vectors) {
  check_vectors<uint8_t>();
  check_vectors<uint16_t>();
  check_vectors<uint32_t>();
}

}  // namespace
}  // namespace tessera::conformance
