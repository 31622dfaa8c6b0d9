#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/dtype.hpp"

/// What the devices' products share: their operands, checked and brought to few forms.
namespace tessera::kernels {

/// One matrix product. E: element of A and B, C: of C. Each matrix has a stride of 1.
template <class E, class C>
struct Product {
  int64_t m, n, k;
  const E* a;
  int64_t a_row, a_column;  // strides
  const E* b;
  int64_t b_row, b_column;
  C* c;
  int64_t c_row, c_column;
  compute_t<C> alpha, beta;
  const C* bias;
  BiasAxis bias_axis;
  Activation activation;

  /// C' = B' A'.
  Product transposed() const {
    Product p = *this;
    std::swap(p.m, p.n);
    std::swap(p.a, p.b);
    p.a_row = b_column, p.a_column = b_row;
    p.b_row = a_column, p.b_column = a_row;
    p.c_row = c_column, p.c_column = c_row;
    p.bias_axis = bias_axis == BiasAxis::row ? BiasAxis::column : BiasAxis::row;
    return p;
  }
  int64_t work() const { return m * n * std::max<int64_t>(k, 1); }  // multiply-adds
  bool has_row_bias() const { return bias && bias_axis == BiasAxis::row; }
};

/// The batch dimensions: extents and the strides of a, b, c.
struct Batch {
  int rank = 0;
  int64_t extent[max_rank], a[max_rank], b[max_rank], c[max_rank];

  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= extent[i];
    return n;
  }
  Batch transposed() const {
    Batch t = *this;
    std::swap_ranges(t.a, t.a + rank, t.b);
    return t;
  }
  template <class E, class C>
  Product<E, C> at(Product<E, C> p, int64_t index) const {
    for (int i = rank - 1; i >= 0; --i) {
      const int64_t x = i == 0 ? index : index % extent[i];
      index = i == 0 ? 0 : index / extent[i];
      p.a += x * a[i];
      p.b += x * b[i];
      p.c += x * c[i];
    }
    return p;
  }
};

/// The last two dimensions with the strides of single rows and columns made regular.
struct MatrixLayout {
  int64_t rows, columns, row, column;
};

inline MatrixLayout matrix_layout(const View& x, const char* name) {
  const int r = x.rank - 2;
  MatrixLayout l{x.shape[r], x.shape[r + 1], x.stride[r], x.stride[r + 1]};
  const auto fits = [](int64_t outer, int64_t outer_extent, int64_t inner_extent) {
    return outer_extent <= 1 || outer >= inner_extent;
  };
  if ((l.column == 1 || l.columns <= 1) && fits(l.row, l.rows, l.columns)) {
    l.column = 1;
    if (l.rows <= 1) l.row = std::max<int64_t>(l.columns, 1);
  } else {
    TS_CHECK((l.row == 1 || l.rows <= 1) && fits(l.column, l.columns, l.rows), "gemm: ", name, " ",
             x.dims(), " must be contiguous along rows or columns, its last strides are ", l.row,
             " and ", l.column);
    l.row = 1;
    if (l.columns <= 1) l.column = std::max<int64_t>(l.rows, 1);
  }
  return l;
}

inline void check_gemm(const View& a, const View& b, const View& c, const GemmParams& p) {
  TS_CHECK(
      a.dtype == b.dtype && (c.dtype == a.dtype || (is_half(a.dtype) && c.dtype == DType::f32)),
      "gemm: a and b of one floating dtype and c of the same, or f32 for halves; got ", a.dtype,
      ", ", b.dtype, " and ", c.dtype);
  TS_CHECK(c.rank >= 2 && a.rank == c.rank && b.rank == c.rank,
           "gemm: equal ranks of at least 2 expected, got ", a.dims(), " x ", b.dims(), " -> ",
           c.dims());
  const int r = c.rank - 2;
  bool fits =
      a.shape[r] == c.shape[r] && b.shape[r + 1] == c.shape[r + 1] && a.shape[r + 1] == b.shape[r];
  for (int i = 0; i < r; ++i) fits = fits && a.shape[i] == c.shape[i] && b.shape[i] == c.shape[i];
  TS_CHECK(fits, "gemm: shapes do not fit: ", a.dims(), " x ", b.dims(), " -> ", c.dims());
  if (p.bias) {
    const int64_t extent = p.bias_axis == BiasAxis::row ? c.shape[r] : c.shape[r + 1];
    TS_CHECK(p.bias.dtype == c.dtype && p.bias.numel() == extent && p.bias.contiguous(),
             "gemm: bias must be ", extent, " contiguous values of ", c.dtype, ", got ",
             p.bias.dtype, " ", p.bias.dims());
  }
}

template <class E, class C>
struct BatchedProduct {
  Product<E, C> product;
  Batch batch;

  bool empty() const { return batch.size() == 0 || product.m == 0 || product.n == 0; }
};

/// The product of checked operands, turned so that C's columns are adjacent; batch dimensions of
/// one entry are left out, and a batch over one and the same B is a taller A.
template <class E, class C>
BatchedProduct<E, C> batched_product(const View& a, const View& b, const View& c,
                                     const GemmParams& params) {
  const MatrixLayout la = matrix_layout(a, "a"), lb = matrix_layout(b, "b"),
                     lc = matrix_layout(c, "c");
  using T = compute_t<C>;
  Product<E, C> p{.m = la.rows,
                  .n = lb.columns,
                  .k = la.columns,
                  .a = a.as<const E>(),
                  .a_row = la.row,
                  .a_column = la.column,
                  .b = b.as<const E>(),
                  .b_row = lb.row,
                  .b_column = lb.column,
                  .c = c.as<C>(),
                  .c_row = lc.row,
                  .c_column = lc.column,
                  .alpha = static_cast<T>(params.alpha),
                  .beta = static_cast<T>(params.beta),
                  .bias = params.bias.as<const C>(),
                  .bias_axis = params.bias_axis,
                  .activation = params.activation};
  Batch batch;
  for (int i = 0; i < c.rank - 2; ++i) {
    if (c.shape[i] == 1) continue;
    batch.extent[batch.rank] = c.shape[i];
    batch.a[batch.rank] = a.stride[i];
    batch.b[batch.rank] = b.stride[i];
    batch.c[batch.rank++] = c.stride[i];
  }
  if (lc.column != 1) {
    p = p.transposed();
    batch = batch.transposed();
  }
  while (batch.rank > 0) {
    const int i = batch.rank - 1;
    const bool rows_go_on =
        batch.b[i] == 0 && batch.a[i] == p.m * p.a_row && batch.c[i] == p.m * p.c_row;
    if (!rows_go_on || p.a_column != 1 || p.has_row_bias()) break;
    p.m *= batch.extent[i];
    --batch.rank;
  }
  return {p, batch};
}

}  // namespace tessera::kernels
