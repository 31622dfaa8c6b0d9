#pragma once

#include <cstdint>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/host_device.hpp"

namespace tessera {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a pure
/// function from (key, counter) to four 32-bit words, the same on every device.
struct Philox {
  struct Block {
    uint32_t word[4];
  };

  TS_HD static Block generate(uint64_t key, uint64_t counter_low, uint64_t counter_high = 0) {
    uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
    uint32_t c2 = static_cast<uint32_t>(counter_high),
             c3 = static_cast<uint32_t>(counter_high >> 32);
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
      const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(p1);
      c3 = static_cast<uint32_t>(p0);
      c0 = n0;
      c2 = n2;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
  }
};

/// A position in a random sequence, passed by value. Element i of a tensor filled from `{seed,
/// offset}` is word i % 4 of block offset + i / 4; an Rng hands out disjoint ranges.
struct RngState {
  uint64_t seed = 0;
  uint64_t offset = 0;
  /// Optional, in memory of the device that makes the numbers: the position to count `offset` from,
  /// in place of {seed, 0}. It is read when they are made, so that recorded work (see
  /// runtime/recording.hpp) makes other numbers at each replay.
  const RngState* origin = nullptr;

  TS_HD RngState resolved() const {
    return origin ? RngState{origin->seed, origin->offset + offset} : *this;
  }
};

/// A 32-bit word as a float in (0, 1): never 0, never 1.
TS_HD inline float uniform_open(uint32_t word) {
  return (static_cast<float>(word >> 9) + 0.5f) * 0x1p-23f;
}

/// Hands out disjoint ranges of one Philox sequence. Copying an Rng copies the position; `split`
/// gives an independent sequence by name.
class Rng {
 public:
  explicit Rng(uint64_t seed = 0) : state_{seed, 0} {}
  explicit Rng(RngState state) : state_(state) {}

  /// Reserves numbers for `count` elements and returns where they start.
  RngState take(int64_t count) {
    const RngState at = state_;
    state_.offset += static_cast<uint64_t>((count + 3) / 4);
    return at;
  }
  Rng split(uint64_t stream) const {
    check_on_host("split");
    const Philox::Block b = Philox::generate(state_.seed, stream, 0x7465737365726100u);
    return Rng(b.word[0] | (uint64_t{b.word[1]} << 32));
  }
  RngState state() const { return state_; }

  uint32_t next_word() {
    check_on_host("next_word");
    return Philox::generate(state_.seed, state_.offset++).word[0];
  }
  /// Uniform in [0, bound) without modulo bias worth noting: 64-bit multiply-shift.
  uint64_t below(uint64_t bound) {
    check_on_host("below");
    const Philox::Block b = Philox::generate(state_.seed, state_.offset++);
    const uint64_t word = b.word[0] | (uint64_t{b.word[1]} << 32);
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>((static_cast<Wide>(word) * bound) >> 64);
  }
  double uniform() {
    check_on_host("uniform");
    const Philox::Block b = Philox::generate(state_.seed, state_.offset++);
    const uint64_t word = b.word[0] | (uint64_t{b.word[1]} << 32);
    return (static_cast<double>(word >> 12) + 0.5) * 0x1p-52;
  }

 private:
  void check_on_host(const char* operation) const {
    TS_CHECK(!state_.origin, "Rng::", operation,
             ": the position is in a device's memory; only its kernels can draw there");
  }

  RngState state_;
};

/// Fisher-Yates over [first, last) with numbers from `rng`.
template <class Iterator>
void shuffle(Iterator first, Iterator last, Rng& rng) {
  for (auto n = last - first; n > 1; --n) {
    const auto k = static_cast<decltype(n)>(rng.below(static_cast<uint64_t>(n)));
    auto moved = first[n - 1];
    first[n - 1] = first[k];
    first[k] = moved;
  }
}

}  // namespace tessera
