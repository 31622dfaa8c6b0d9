#pragma once

#include <cmath>
#include <limits>

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Sparse matrix times dense matrix, and what graph networks do on the entries (edges) of a sparse
/// matrix. Entry e of row i has column col[e]. Dense operands are [n, width], or [n, heads, width]
/// with one set of entry values per head; entry operands are accordingly [nnz] or [nnz, heads].
///
/// Layout: entry operands contiguous; dense operands contiguous except for the stride of dimension
/// 0, which is free. One floating dtype per call; sums run in f32 (f64 for f64). Outputs overlap no
/// input unless said. The bits depend neither on the thread count nor on the variant: long rows are
/// summed in segments of a fixed length, joined in order.
namespace tessera::kernels {

/// A sparse matrix in compressed rows, with the entries of a row in any order. Kernels trust the
/// indices: row_ptr rises from 0 to nnz and 0 <= col < cols, as CsrMatrix has checked.
struct CsrView {
  int64_t rows = 0, cols = 0, nnz = 0;
  const int32_t* row_ptr = nullptr;  // [rows + 1]
  const int32_t* col = nullptr;      // [nnz]
  View values = {};                  // absent: every entry is 1
};

/// The ways of devices. On the CPU all but `vendor` mean the same: rows are handed out in equal
/// shares of rows + entries, long ones in segments.
enum class SpmmVariant : uint8_t {
  automatic,   // what choose_spmm says
  row_split,   // one worker per row
  merge_path,  // workers get equal shares of rows + entries; rows that are cut join in a second
               // stage
  vendor,      // cuSPARSE; throws where there is none
};

struct SpmmParams {
  double alpha = 1;
  double beta = 0;      // at 0, y is not read and may hold anything
  bool mean = false;    // divides each row by its number of entries; rows without entries stay 0
  View row_scale = {};  // absent, or contiguous [rows] in f32 (f64 with f64)
  View col_scale = {};  // absent, or contiguous [cols]: with both, D_r A D_c without stored values
  SpmmVariant variant = SpmmVariant::automatic;
};

struct EdgeAttentionParams {
  double slope = 0.2;     // of leaky_relu
  double dropout = 0;     // of the weights
  int64_t sequences = 1;  // the heads, in so many equal groups, have dropped numbers of their own
  RngState rng = {};
};

/// A graph given by features of its nodes, of which no link is stored: nodes i and j are linked
/// where
///
///   least n_i n_j <= f_i . f_j < below n_i n_j
///
/// With n_i = |f_i| the bounds are cosines. A node whose n is NaN is linked to none. Everything
/// here is f32: where features are integers and their products below 2^24, a product is exact and
/// the links are the same on every device.
struct SimilarityParams {
  double least = 1;
  double below = std::numeric_limits<double>::infinity();
  double diagonal = 1;  // weight of a node in its own sum, whatever its features
  /// A link of two nodes i > j is kept where word p % 4 of Philox block rng.offset + p / 4, with p
  /// = i (i - 1) / 2 + j, is below keep * 2^32. Uses up `Rng::take(n (n - 1) / 2)`.
  double keep = 1;
  RngState rng = {};
};

/// Words of Philox below this one keep links; 2^32: all do.
inline uint64_t keep_below(const SimilarityParams& p) {
  return static_cast<uint64_t>(std::ceil(p.keep * 0x1p32));
}
/// Whether the link of nodes i != j is kept.
TS_HD inline bool keeps_link(const RngState& rng, uint64_t keep_below, int64_t i, int64_t j) {
  const int64_t high = i > j ? i : j, low = i > j ? j : i;
  const auto p = static_cast<uint64_t>(high * (high - 1) / 2 + low);
  const Philox::Block b = Philox::generate(rng.seed, rng.offset + p / 4);
  const uint32_t even = p & 2 ? b.word[2] : b.word[0], odd = p & 2 ? b.word[3] : b.word[1];
  return (p & 1 ? odd : even) < keep_below;
}

enum class ExtremeOp : uint8_t { maximum, minimum };
enum class SegmentOp : uint8_t { sum, mean, maximum, minimum };

struct SpmmKernels {
  /// y[i] = alpha * row_scale[i] * sum over e in row i of values[e] * col_scale[col[e]] * x[col[e]]
  ///        + beta * y[i]
  void (*spmm)(Stream&, const CsrView& a, View x, View y, const SpmmParams&);
  /// scores[e, h] = alpha * sum over j of x[i, h, j] * z[col[e], h, j] for every entry e of row i:
  /// the products of dense rows that a's pattern selects. The transpose of spmm in its values.
  void (*sddmm)(Stream&, const CsrView& a, View x, View z, View scores, double alpha);
  /// scores[e] = x[i] + z[col[e]] for every entry e of row i; x [rows(, heads)], z [cols(, heads)].
  void (*edge_add)(Stream&, const CsrView& a, View x, View z, View scores);
  /// Softmax over the entries of each row, per head; y may be x.
  void (*edge_softmax)(Stream&, const CsrView& a, View x, View y);
  /// dx[e] = y[e] * (dy[e] - sum over the row of dy * y); dx may be dy.
  void (*edge_softmax_gradient)(Stream&, const CsrView& a, View y, View dy, View dx);

  /// y[i, h] = sum over the entries e of row i of w[e, h] x[col[e], h], where w[e, h] is the
  /// softmax over the row of leaky_relu(target[i, h] + source[col[e], h]), dropped as `dropout` of
  /// the same state would drop [nnz, sequences, heads / sequences]. Nothing is stored per entry;
  /// lse[i, h] is the logarithm of the row's sum of exponentials, -inf and y 0 for a row without
  /// entries, or with scores of -inf alone, whose gradients are 0. target [rows, heads], source
  /// [cols, heads], x [cols, heads, width], y [rows, heads, width]; lse [rows, heads] in the
  /// compute dtype. a's values take no part.
  void (*edge_attention)(Stream&, const CsrView& a, View target, View source, View x, View y,
                         View lse, const EdgeAttentionParams&);
  /// The gradient of sum(gy * y). Takes the transposed pattern and its permutation, as
  /// csr_transpose gives them. gtarget, gsource and gx are shaped as target, source and x.
  void (*edge_attention_gradient)(Stream&, const CsrView& a, const CsrView& transposed,
                                  View permutation, View target, View source, View x, View y,
                                  View lse, View gy, View gtarget, View gsource, View gx,
                                  const EdgeAttentionParams&);

  /// y[i, j] = the largest (smallest) x[col[e], j] over the entries of row i, index[i, j] (i32) =
  /// the entry e it came from. Ties take the first entry, NaN wins; a row without entries gives 0
  /// and index -1. x, y: [n, width]; a's values take no part.
  void (*aggregate_extreme)(Stream&, ExtremeOp, const CsrView& a, View x, View y, View index);
  /// y[i, j] = x[col[index[i, j]], j], or 0 where index is -1: aggregate_extreme, choice given.
  void (*aggregate_gather)(Stream&, const CsrView& a, View x, View index, View y);
  /// x[c, j] = sum of all y[i, j] whose index points at an entry of column c: the transpose of
  /// aggregate_gather. Takes the transposed matrix and its permutation, as csr_transpose gives
  /// them.
  void (*aggregate_scatter)(Stream&, const CsrView& transposed, View permutation, View y,
                            View index, View x);

  /// y[s] = sum, mean, largest or smallest of x[offsets[s] .. offsets[s + 1]), x [n, width]; with a
  /// permutation (i32 [n], optional) of x[permutation[..]]. offsets: i32 or i64 [segments + 1],
  /// rising, within [0, n]. index (optional, i64, y's shape): where the extreme came from, as a row
  /// of x, -1 for an empty segment, whose y is 0.
  void (*segment_reduce)(Stream&, SegmentOp, View x, View offsets, View permutation, View y,
                         View index);
  /// x[k] = y[s] for all k of segment s: the transpose of the segment sum. Rows of x outside every
  /// segment keep what they hold.
  void (*segment_expand)(Stream&, View y, View offsets, View permutation, View x);

  /// y[i] = diagonal * x[i] + sum of x[j] over all j != i linked to i. features: f32 [n, width],
  /// norms: f32 [n], contiguous; x, y as dense operands, of any width of their own. x is finite:
  /// devices may multiply rows that are not linked by 0.
  void (*similarity_spmm)(Stream&, View features, View norms, View x, View y,
                          const SimilarityParams&);

  /// The transpose of a's pattern: row_ptr (i32 [cols + 1]), col (i32 [nnz], rising within a row)
  /// and the permutation (i32 [nnz]) that carries values over: transposed[t] =
  /// values[permutation[t]].
  void (*csr_transpose)(Stream&, const CsrView& a, View row_ptr, View col, View permutation);
};

inline void spmm(Stream& s, const CsrView& a, View x, View y, const SpmmParams& p = {}) {
  call("spmm", s.device(), &Backend::spmm, &SpmmKernels::spmm, s, a, x, y, p);
}
inline void sddmm(Stream& s, const CsrView& a, View x, View z, View scores, double alpha = 1) {
  call("sddmm", s.device(), &Backend::spmm, &SpmmKernels::sddmm, s, a, x, z, scores, alpha);
}
inline void edge_add(Stream& s, const CsrView& a, View x, View z, View scores) {
  call("edge_add", s.device(), &Backend::spmm, &SpmmKernels::edge_add, s, a, x, z, scores);
}
inline void edge_softmax(Stream& s, const CsrView& a, View x, View y) {
  call("edge_softmax", s.device(), &Backend::spmm, &SpmmKernels::edge_softmax, s, a, x, y);
}
inline void edge_softmax_gradient(Stream& s, const CsrView& a, View y, View dy, View dx) {
  call("edge_softmax_gradient", s.device(), &Backend::spmm, &SpmmKernels::edge_softmax_gradient, s,
       a, y, dy, dx);
}
inline void edge_attention(Stream& s, const CsrView& a, View target, View source, View x, View y,
                           View lse, const EdgeAttentionParams& p = {}) {
  call("edge_attention", s.device(), &Backend::spmm, &SpmmKernels::edge_attention, s, a, target,
       source, x, y, lse, p);
}
inline void edge_attention_gradient(Stream& s, const CsrView& a, const CsrView& transposed,
                                    View permutation, View target, View source, View x, View y,
                                    View lse, View gy, View gtarget, View gsource, View gx,
                                    const EdgeAttentionParams& p = {}) {
  call("edge_attention_gradient", s.device(), &Backend::spmm, &SpmmKernels::edge_attention_gradient,
       s, a, transposed, permutation, target, source, x, y, lse, gy, gtarget, gsource, gx, p);
}
inline void aggregate_extreme(Stream& s, ExtremeOp op, const CsrView& a, View x, View y,
                              View index) {
  call("aggregate_extreme", s.device(), &Backend::spmm, &SpmmKernels::aggregate_extreme, s, op, a,
       x, y, index);
}
inline void aggregate_gather(Stream& s, const CsrView& a, View x, View index, View y) {
  call("aggregate_gather", s.device(), &Backend::spmm, &SpmmKernels::aggregate_gather, s, a, x,
       index, y);
}
inline void aggregate_scatter(Stream& s, const CsrView& transposed, View permutation, View y,
                              View index, View x) {
  call("aggregate_scatter", s.device(), &Backend::spmm, &SpmmKernels::aggregate_scatter, s,
       transposed, permutation, y, index, x);
}
inline void segment_reduce(Stream& s, SegmentOp op, View x, View offsets, View permutation, View y,
                           View index = {}) {
  call("segment_reduce", s.device(), &Backend::spmm, &SpmmKernels::segment_reduce, s, op, x,
       offsets, permutation, y, index);
}
inline void segment_expand(Stream& s, View y, View offsets, View permutation, View x) {
  call("segment_expand", s.device(), &Backend::spmm, &SpmmKernels::segment_expand, s, y, offsets,
       permutation, x);
}
inline void similarity_spmm(Stream& s, View features, View norms, View x, View y,
                            const SimilarityParams& p) {
  call("similarity_spmm", s.device(), &Backend::spmm, &SpmmKernels::similarity_spmm, s, features,
       norms, x, y, p);
}
inline void csr_transpose(Stream& s, const CsrView& a, View row_ptr, View col, View permutation) {
  call("csr_transpose", s.device(), &Backend::spmm, &SpmmKernels::csr_transpose, s, a, row_ptr, col,
       permutation);
}

/// The variant that `automatic` means for a product with `workers` warps or threads. Whole rows are
/// enough where rows are many and short on average; few rows per worker, or a dense matrix of few
/// rows, leave workers idle behind the longest row.
constexpr SpmmVariant choose_spmm(int64_t rows, int64_t nnz, int64_t longest_row, int64_t workers) {
  const int64_t share = (rows + nnz) / (workers > 0 ? workers : 1);
  return 8 * longest_row > share ? SpmmVariant::merge_path : SpmmVariant::row_split;
}

}  // namespace tessera::kernels
