#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Fused scaled-dot-product attention,
///
///   y = dropout(softmax(scale * q k' + bias, over the keys that may be seen)) v,
///
/// tile by tile with a running maximum and sum: the [queries, keys] matrix is never stored. Only
/// the log-sum-exp of each query is kept for the gradient, which computes the probabilities again.
///
/// Shapes: q [..., queries, dim], k [..., keys, dim], v [..., keys, value_dim], y [..., queries,
/// value_dim], with the same leading extents (batch, heads, ...; rank 2 to 6). Any strides as long
/// as the last dimension of each is contiguous, so q, k and v may be slices of one [batch, tokens,
/// 3, heads, dim] buffer, and their gradients of another; an input may repeat over leading axes by
/// stride 0 (keys shared by several heads). One floating dtype, halves computed in float. Outputs
/// overlap nothing.
///
/// A query that may see no key has y = 0, lse = -inf and zero gradients.
namespace tessera::kernels {

/// What a query may see, and what is added to its scores. Each is optional (a default View);
/// leading axes, queries and keys broadcast by stride 0.
struct AttentionMask {
  View bias = {};         // [..., queries, keys], q's dtype or compute dtype; -inf hides a key
  View mask = {};         // [..., queries, keys], bool, true where the query sees the key
  View key_lengths = {};  // [...] (the leading extents), i32 or i64 in [0, keys]: keys from there
                          // on are hidden
};

struct AttentionParams {
  double scale = 1;  // usually 1 / sqrt(dim)
  bool causal =
      false;  // query i sees key j where j - keys <= i - queries: the last query sees all keys
  /// Each probability is dropped with this chance, the others divided by 1 - dropout. Probability
  /// (l, i, j) of leading index l takes the Philox word number (l * queries + i) * (keys rounded up
  /// to 4) + j of `rng` and is dropped where word < dropout * 2^32, as the random family's
  /// `dropout` drops element number (l * queries + i) * (keys rounded up to 4) + j.
  double dropout = 0;
  RngState rng = {};
};

/// How many numbers `Rng::take` must reserve for one call with dropout.
inline int64_t attention_random_numbers(int64_t leading, int64_t queries, int64_t keys) {
  return leading * queries * ((keys + 3) / 4 * 4);
}

struct AttentionKernels {
  /// lse: [..., queries], contiguous, compute dtype, optional output.
  void (*attention)(Stream&, View q, View k, View v, const AttentionMask&, const AttentionParams&,
                    View y, View lse);
  /// Gradients from gy (y's shape), y and lse of the forward call with the same mask and params.
  /// gbias: optional, bias's shape and compute dtype; where its stride is 0 the gradient is summed
  /// over that axis. Deterministic for any thread count.
  void (*attention_gradient)(Stream&, View q, View k, View v, const AttentionMask&,
                             const AttentionParams&, View y, View lse, View gy, View gq, View gk,
                             View gv, View gbias);
};

inline void attention(Stream& s, View q, View k, View v, const AttentionMask& mask,
                      const AttentionParams& p, View y, View lse = {}) {
  call("attention", s.device(), &Backend::attention, &AttentionKernels::attention, s, q, k, v, mask,
       p, y, lse);
}
inline void attention_gradient(Stream& s, View q, View k, View v, const AttentionMask& mask,
                               const AttentionParams& p, View y, View lse, View gy, View gq,
                               View gk, View gv, View gbias = {}) {
  call("attention_gradient", s.device(), &Backend::attention, &AttentionKernels::attention_gradient,
       s, q, k, v, mask, p, y, lse, gy, gq, gk, gv, gbias);
}

}  // namespace tessera::kernels
