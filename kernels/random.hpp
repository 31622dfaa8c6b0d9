#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Random numbers by position. Element i of a contiguous output, in row-major order, is made from
/// word i % 4 of Philox block offset + i / 4, so it depends on the RngState and i alone: not on
/// threads, and not on the device. What comes from integers (uniform in [0, 1), rademacher,
/// bernoulli, dropout masks, permutations) has the same bits everywhere; scaling and normal numbers
/// are the same formula, rounded by each device. A call with n elements uses up `Rng::take(n)`.
namespace tessera::kernels {

struct RandomKernels {
  /// y = low + (high - low) u. u in [0, 1): the leading bits of the word, as many as the dtype's
  /// significand holds (32 for f64), so u never rounds to 1. y: floating, contiguous.
  void (*uniform)(Stream&, RngState, double low, double high, View y);
  /// y = mean + deviation n with n standard normal, by Box and Muller: words (w0, w1), and likewise
  /// (w2, w3), give r cos t and r sin t with r = sqrt(-2 log((w0 + 1/2) / 2^32)), t = 2 pi w1 /
  /// 2^32. In f32 both fractions keep the words' upper 23 and 24 bits, as uniform_open and u do. y:
  /// floating, contiguous.
  void (*normal)(Stream&, RngState, double mean, double deviation, View y);
  /// y = -scale where the word's top bit is set, else scale. y: floating, contiguous.
  void (*rademacher)(Stream&, RngState, double scale, View y);
  /// y = 1 where word < probability * 2^32, else 0. y: any dtype, contiguous; 0 <= probability
  /// <= 1.
  void (*bernoulli)(Stream&, RngState, double probability, View y);
  /// y = 0 where `bernoulli` of the same state and probability gives 1, else x / (1 - probability).
  /// Linear in x, and its own derivative when called again with the same state. x, y: contiguous,
  /// equal shape and floating dtype, the same memory or disjoint.
  /// `sequences` > 1: x and y are [.., sequences, width], and x[.., s, ..] is dropped as it would
  /// be alone, with the position that counts from state.origin[s].
  void (*dropout)(Stream&, RngState, int64_t sequences, double probability, View x, View y);
  /// y = the numbers 0 .. n-1 in an order in which each has equal chance: sorted by 64-bit keys,
  /// key i being words 2i (low) and 2i + 1 (high), ties by number. Uses up `Rng::take(2 * n)`. y
  /// [n]: i32 or i64.
  void (*permutation)(Stream&, RngState, View y);
};

inline void uniform(Stream& s, RngState rng, double low, double high, View y) {
  call("uniform", s.device(), &Backend::random, &RandomKernels::uniform, s, rng, low, high, y);
}
inline void normal(Stream& s, RngState rng, double mean, double deviation, View y) {
  call("normal", s.device(), &Backend::random, &RandomKernels::normal, s, rng, mean, deviation, y);
}
inline void rademacher(Stream& s, RngState rng, double scale, View y) {
  call("rademacher", s.device(), &Backend::random, &RandomKernels::rademacher, s, rng, scale, y);
}
inline void bernoulli(Stream& s, RngState rng, double probability, View y) {
  call("bernoulli", s.device(), &Backend::random, &RandomKernels::bernoulli, s, rng, probability,
       y);
}
inline void dropout(Stream& s, RngState rng, double probability, View x, View y,
                    int64_t sequences = 1) {
  call("dropout", s.device(), &Backend::random, &RandomKernels::dropout, s, rng, sequences,
       probability, x, y);
}
inline void permutation(Stream& s, RngState rng, View y) {
  call("permutation", s.device(), &Backend::random, &RandomKernels::permutation, s, rng, y);
}

}  // namespace tessera::kernels
