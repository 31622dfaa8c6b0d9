#pragma once

#include <algorithm>

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/spmm_operands.hpp"

/// What the files of the spmm family share. spmm.cpp holds the sums, edges.cpp what works on
/// entries, edge_attention.cpp attention in one pass, aggregate.cpp the choice of extremes,
/// similarity.cpp graphs that are not stored; the table is at the end of spmm.cpp.
namespace tessera::kernels::cpu {

void sddmm(Stream&, const CsrView& a, View x, View z, View scores, double alpha);
void edge_add(Stream&, const CsrView& a, View x, View z, View scores);
void edge_softmax(Stream&, const CsrView& a, View x, View y);
void edge_softmax_gradient(Stream&, const CsrView& a, View y, View dy, View dx);
void edge_attention(Stream&, const CsrView& a, View target, View source, View x, View y, View lse,
                    const EdgeAttentionParams&);
void edge_attention_gradient(Stream&, const CsrView& a, const CsrView& transposed, View permutation,
                             View target, View source, View x, View y, View lse, View gy,
                             View gtarget, View gsource, View gx, const EdgeAttentionParams&);
void aggregate_extreme(Stream&, ExtremeOp, const CsrView& a, View x, View y, View index);
void aggregate_gather(Stream&, const CsrView& a, View x, View index, View y);
void aggregate_scatter(Stream&, const CsrView& transposed, View permutation, View y, View index,
                       View x);
void similarity_spmm(Stream&, View features, View norms, View x, View y, const SimilarityParams&);
/// The extremes of segments, whose rows may be permuted; index is i64 and names rows of x.
void segment_extreme(SegmentOp, const CsrView& segments, View x, View y, View index);

/// Cuts rows into pieces of about equal cost, where a row costs 1 and each of its entries 1: the
/// first row of piece `piece` of `pieces`. A piece is never cut inside a row.
inline int64_t balanced_cut(const int32_t* row_ptr, int64_t rows, int64_t piece, int64_t pieces) {
  const int64_t target = (rows + row_ptr[rows] - row_ptr[0]) * piece / pieces;
  int64_t low = 0, high = rows;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (middle + row_ptr[middle] - row_ptr[0] < target)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/// Calls body(first, last) on pieces of the rows of `a`, several at a time when they are worth it;
/// `cost` is the work per entry in floating-point operations.
template <class Body>
void for_balanced_rows(const CsrView& a, int64_t cost, Body&& body) {
  if ((a.rows + a.nnz) * cost < (int64_t{1} << 16)) {
    if (a.rows > 0) body(int64_t{0}, a.rows);
    return;
  }
  const int64_t pieces = std::min<int64_t>(a.rows, int64_t{8} * max_threads());
  parallel_blocks(pieces, [&](int64_t piece) {
    const int64_t first = balanced_cut(a.row_ptr, a.rows, piece, pieces);
    const int64_t last = balanced_cut(a.row_ptr, a.rows, piece + 1, pieces);
    if (first < last) body(first, last);
  });
}

}  // namespace tessera::kernels::cpu
