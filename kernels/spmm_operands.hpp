#pragma once

#include <cmath>
#include <limits>
#include <string_view>

#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/error.hpp"

/// Operands of the spmm family as its kernels use them, checked against the contract of the
/// family's header; errors name the operation, the operand and its shape.
namespace tessera::kernels {

/// A dense operand [n, width] or [n, heads, width]: rows `stride` elements apart.
struct DenseRows {
  int64_t n, heads, width, stride;
};
inline DenseRows dense_rows(std::string_view operation, std::string_view name, const View& x) {
  TS_CHECK(x.rank == 2 || x.rank == 3, operation, ": ", name, " must be [n, width] or ",
           "[n, heads, width], got ", x.dims());
  const DenseRows rows{x.shape[0], x.rank == 3 ? x.shape[1] : 1, x.shape[x.rank - 1], x.stride[0]};
  const bool inner_contiguous = (rows.width <= 1 || x.stride[x.rank - 1] == 1) &&
                                (x.rank == 2 || rows.heads <= 1 || x.stride[1] == rows.width);
  TS_CHECK(inner_contiguous || x.numel() == 0, operation, ": the rows of ", name,
           " must be contiguous; shape ", x.dims());
  return rows;
}

/// Heads of an entry operand [nnz] or [nnz, heads].
inline int64_t entry_heads(std::string_view operation, std::string_view name, const View& x,
                           int64_t nnz) {
  TS_CHECK((x.rank == 1 || x.rank == 2) && x.shape[0] == nnz, operation, ": ", name, " must be [",
           nnz, "] or [", nnz, ", heads], got ", x.dims());
  TS_CHECK(x.contiguous(), operation, ": ", name, " must be contiguous");
  return x.rank == 2 ? x.shape[1] : 1;
}

inline void check_dtype(std::string_view operation, std::string_view name, const View& x,
                        DType wanted) {
  TS_CHECK(x.dtype == wanted, operation, ": ", name, " is ", x.dtype, ", expected ", wanted);
}

/// A vector of scales [n] in the compute dtype of `dtype`, or null.
inline const void* scale_vector(std::string_view name, const View& v, int64_t n, DType dtype) {
  if (!v) return nullptr;
  TS_CHECK(v.rank == 1 && v.shape[0] == n && v.contiguous(), "spmm: ", name,
           " must be contiguous [", n, "], got ", v.dims());
  check_dtype("spmm", name, v, dtype == DType::f64 ? DType::f64 : DType::f32);
  return v.data;
}

struct SpmmOperands {
  DenseRows x, y;
  int64_t value_heads;  // 1: one value for all heads
};
inline SpmmOperands check_spmm(const CsrView& a, const View& x, const View& y,
                               const SpmmParams& params) {
  const DenseRows from = dense_rows("spmm", "x", x), to = dense_rows("spmm", "y", y);
  TS_CHECK(from.n == a.cols && to.n == a.rows && from.heads == to.heads && from.width == to.width,
           "spmm: a [", a.rows, ", ", a.cols, "] times x ", x.dims(), " does not give y ",
           y.dims());
  check_dtype("spmm", "y", y, x.dtype);
  int64_t value_heads = 1;
  if (a.values) {
    value_heads = entry_heads("spmm", "values", a.values, a.nnz);
    check_dtype("spmm", "values", a.values, x.dtype);
    TS_CHECK(value_heads == 1 || value_heads == from.heads, "spmm: values ", a.values.dims(),
             " have other heads than x ", x.dims());
  }
  scale_vector("row_scale", params.row_scale, a.rows, x.dtype);
  scale_vector("col_scale", params.col_scale, a.cols, x.dtype);
  return {from, to, value_heads};
}

struct SddmmOperands {
  DenseRows x, z;
  int64_t heads;
};
inline SddmmOperands check_sddmm(const CsrView& a, const View& x, const View& z,
                                 const View& scores) {
  const DenseRows rows = dense_rows("sddmm", "x", x), columns = dense_rows("sddmm", "z", z);
  const int64_t heads = entry_heads("sddmm", "scores", scores, a.nnz);
  TS_CHECK(rows.n == a.rows && columns.n == a.cols && rows.heads == columns.heads &&
               rows.width == columns.width && rows.heads == heads,
           "sddmm: x ", x.dims(), " and z ", z.dims(), " do not give scores ", scores.dims(),
           " on a pattern of ", a.rows, " x ", a.cols);
  check_dtype("sddmm", "z", z, x.dtype);
  check_dtype("sddmm", "scores", scores, x.dtype);
  return {rows, columns, heads};
}

/// Returns the heads.
inline int64_t check_edge_add(const CsrView& a, const View& x, const View& z, const View& scores) {
  const int64_t heads = entry_heads("edge_add", "scores", scores, a.nnz);
  TS_CHECK(entry_heads("edge_add", "x", x, a.rows) == heads &&
               entry_heads("edge_add", "z", z, a.cols) == heads,
           "edge_add: x ", x.dims(), ", z ", z.dims(), " and scores ", scores.dims(),
           " differ in heads");
  check_dtype("edge_add", "x", x, scores.dtype);
  check_dtype("edge_add", "z", z, scores.dtype);
  return heads;
}

/// Heads of two entry operands that must be alike.
inline int64_t same_heads(std::string_view operation, const CsrView& a, std::string_view name0,
                          const View& v0, std::string_view name1, const View& v1) {
  const int64_t heads = entry_heads(operation, name0, v0, a.nnz);
  TS_CHECK(entry_heads(operation, name1, v1, a.nnz) == heads, operation, ": ", name0, " ",
           v0.dims(), " and ", name1, " ", v1.dims(), " differ in heads");
  check_dtype(operation, name1, v1, v0.dtype);
  return heads;
}

struct EdgeAttentionOperands {
  DenseRows x, y;
  int64_t heads, width;
};
inline EdgeAttentionOperands check_edge_attention(std::string_view operation, const CsrView& a,
                                                  const View& target, const View& source,
                                                  const View& x, const View& y, const View& lse,
                                                  const EdgeAttentionParams& params) {
  const DenseRows from = dense_rows(operation, "x", x), to = dense_rows(operation, "y", y);
  TS_CHECK(x.rank == 3 && y.rank == 3 && from.n == a.cols && to.n == a.rows &&
               from.heads == to.heads && from.width == to.width && from.width > 0,
           operation, ": x ", x.dims(), " on a pattern of ", a.rows, " x ", a.cols,
           " does not give y ", y.dims());
  const auto per_head = [&](std::string_view name, const View& v, int64_t rows, DType dtype) {
    TS_CHECK(v.rank == 2 && v.shape[0] == rows && v.shape[1] == from.heads && v.contiguous(),
             operation, ": ", name, " must be contiguous [", rows, ", ", from.heads, "], got ",
             v.dims());
    check_dtype(operation, name, v, dtype);
  };
  per_head("target", target, a.rows, x.dtype);
  per_head("source", source, a.cols, x.dtype);
  per_head("lse", lse, a.rows, x.dtype == DType::f64 ? DType::f64 : DType::f32);
  check_dtype(operation, "y", y, x.dtype);
  TS_CHECK(params.dropout >= 0 && params.dropout < 1, operation, ": dropout ", params.dropout,
           " is not in [0, 1)");
  TS_CHECK(params.sequences >= 1 && from.heads % params.sequences == 0, operation, ": ", from.heads,
           " heads do not make ", params.sequences, " sequences");
  TS_CHECK(params.sequences == 1 || params.dropout == 0 || params.rng.origin, operation, ": ",
           params.sequences, " sequences need an origin for each");
  return {from, to, from.heads, from.width};
}
inline EdgeAttentionOperands check_edge_attention_gradient(
    const CsrView& a, const CsrView& transposed, const View& permutation, const View& target,
    const View& source, const View& x, const View& y, const View& lse, const View& gy,
    const View& gtarget, const View& gsource, const View& gx, const EdgeAttentionParams& params) {
  constexpr std::string_view operation = "edge_attention_gradient";
  const EdgeAttentionOperands o =
      check_edge_attention(operation, a, target, source, x, y, lse, params);
  check_edge_attention(operation, a, gtarget, gsource, gx, gy, lse, params);
  check_dtype(operation, "gx", gx, x.dtype);
  TS_CHECK(transposed.rows == a.cols && transposed.cols == a.rows && transposed.nnz == a.nnz,
           operation, ": ", transposed.rows, " x ", transposed.cols, " with ", transposed.nnz,
           " entries is not the transpose of ", a.rows, " x ", a.cols, " with ", a.nnz);
  TS_CHECK(
      permutation.dtype == DType::i32 && permutation.numel() == a.nnz && permutation.contiguous(),
      operation, ": permutation must be contiguous i32 [", a.nnz, "], got ", permutation.dtype, " ",
      permutation.dims());
  return o;
}

/// Which weights of edge_attention are dropped; the others are multiplied by 1 / (1 - dropout).
struct EdgeDropout {
  RngState rng;
  int64_t sequences, heads;  // heads of one sequence
  uint64_t drop_below;       // words of Philox; 0 without dropout

  EdgeDropout(const EdgeAttentionParams& p, int64_t all_heads)
      : rng(p.rng),
        sequences(p.sequences),
        heads(all_heads / p.sequences),
        drop_below(static_cast<uint64_t>(std::ceil(p.dropout * 0x1p32))) {}

  TS_HD RngState state_of(int64_t sequence) const {
    return sequences > 1
               ? RngState{rng.origin[sequence].seed, rng.origin[sequence].offset + rng.offset}
               : rng.resolved();
  }
  /// That of entry e, any head.
  TS_HD bool drops(int64_t e, int64_t head) const {
    const RngState state = state_of(head / heads);
    const auto p = static_cast<uint64_t>(e * heads + head % heads);
    const Philox::Block b = Philox::generate(state.seed, state.offset + p / 4);
    const uint32_t even = p & 2 ? b.word[2] : b.word[0], odd = p & 2 ? b.word[3] : b.word[1];
    return (p & 1 ? odd : even) < drop_below;
  }
};

inline void check_width(std::string_view operation, const View& v, int64_t rows, int64_t width) {
  const DenseRows dense = dense_rows(operation, "an operand", v);
  TS_CHECK(v.rank == 2 && dense.n == rows && dense.width == width, operation, ": expected [", rows,
           ", ", width, "], got ", v.dims());
}
inline void check_index(std::string_view operation, const View& index, DType dtype, int64_t rows,
                        int64_t width) {
  TS_CHECK(index.dtype == dtype && index.rank == 2 && index.shape[0] == rows &&
               index.shape[1] == width && index.contiguous(),
           operation, ": index must be contiguous ", dtype, " [", rows, ", ", width, "], got ",
           index.dtype, " ", index.dims());
}

/// These return the width.
inline int64_t check_aggregate_extreme(const CsrView& a, const View& x, const View& y,
                                       const View& index) {
  const int64_t width = dense_rows("aggregate_extreme", "x", x).width;
  check_width("aggregate_extreme", x, a.cols, width);
  check_width("aggregate_extreme", y, a.rows, width);
  check_dtype("aggregate_extreme", "y", y, x.dtype);
  check_index("aggregate_extreme", index, DType::i32, a.rows, width);
  return width;
}
inline int64_t check_aggregate_gather(const CsrView& a, const View& x, const View& index,
                                      const View& y) {
  const int64_t width = dense_rows("aggregate_gather", "x", x).width;
  check_width("aggregate_gather", x, a.cols, width);
  check_width("aggregate_gather", y, a.rows, width);
  check_dtype("aggregate_gather", "y", y, x.dtype);
  check_index("aggregate_gather", index, DType::i32, a.rows, width);
  return width;
}
inline int64_t check_aggregate_scatter(const CsrView& transposed, const View& permutation,
                                       const View& y, const View& index, const View& x) {
  const int64_t width = dense_rows("aggregate_scatter", "x", x).width;
  check_width("aggregate_scatter", y, transposed.cols, width);
  check_width("aggregate_scatter", x, transposed.rows, width);
  check_dtype("aggregate_scatter", "y", y, x.dtype);
  check_index("aggregate_scatter", index, DType::i32, transposed.cols, width);
  TS_CHECK(permutation.dtype == DType::i32 && permutation.numel() == transposed.nnz &&
               permutation.contiguous(),
           "aggregate_scatter: permutation must be contiguous i32 [", transposed.nnz, "], got ",
           permutation.dtype, " ", permutation.dims());
  return width;
}

/// Offsets and permutation of segments over n rows, without a look at their values.
inline void check_segments(std::string_view operation, const View& offsets, const View& permutation,
                           int64_t n) {
  TS_CHECK(offsets.rank == 1 && offsets.shape[0] >= 1 && offsets.contiguous(), operation,
           ": offsets must be contiguous [segments + 1], got ", offsets.dims());
  TS_CHECK(n <= INT32_MAX, operation, ": ", n, " rows are more than 32-bit indices can address");
  if (!permutation) return;
  TS_CHECK(permutation.dtype == DType::i32 && permutation.rank == 1 && permutation.shape[0] == n &&
               permutation.contiguous(),
           operation, ": permutation must be contiguous i32 [", n, "], got ", permutation.dtype,
           " ", permutation.dims());
}

inline void check_csr_transpose(const CsrView& a, const View& row_ptr, const View& col,
                                const View& permutation) {
  const auto check = [](std::string_view name, const View& v, int64_t n) {
    TS_CHECK(v.dtype == DType::i32 && v.rank == 1 && v.shape[0] == n && v.contiguous(),
             "csr_transpose: ", name, " must be contiguous i32 [", n, "], got ", v.dtype, " ",
             v.dims());
  };
  check("row_ptr", row_ptr, a.cols + 1);
  check("col", col, a.nnz);
  check("permutation", permutation, a.nnz);
}

struct SimilarityOperands {
  DenseRows x, y;
  int64_t features;  // of a node
  uint64_t keep_below;
};
inline SimilarityOperands check_similarity(const View& features, const View& norms, const View& x,
                                           const View& y, const SimilarityParams& params) {
  constexpr std::string_view operation = "similarity_spmm";
  const DenseRows from = dense_rows(operation, "x", x), to = dense_rows(operation, "y", y);
  TS_CHECK(features.rank == 2 && features.contiguous() && features.shape[0] == from.n, operation,
           ": features must be contiguous [", from.n, ", width], got ", features.dims());
  TS_CHECK(norms.rank == 1 && norms.contiguous() && norms.shape[0] == from.n, operation,
           ": norms must be contiguous [", from.n, "], got ", norms.dims());
  check_dtype(operation, "features", features, DType::f32);
  check_dtype(operation, "norms", norms, DType::f32);
  TS_CHECK(to.n == from.n && to.heads == from.heads && to.width == from.width, operation, ": x ",
           x.dims(), " does not give y ", y.dims());
  check_dtype(operation, "y", y, x.dtype);
  TS_CHECK(params.keep >= 0 && params.keep <= 1, operation, ": keep ", params.keep,
           " is no probability");
  constexpr int64_t most = std::numeric_limits<int32_t>::max() / 2;
  TS_CHECK(from.n <= most && from.heads * from.width <= most && features.shape[1] <= most,
           operation, ": x ", x.dims(), " or features ", features.dims(),
           " are larger than 32-bit numbers count");
  return {from, to, features.shape[1], keep_below(params)};
}

}  // namespace tessera::kernels
