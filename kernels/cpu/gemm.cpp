#include "tessera/kernels/gemm.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/blas.hpp"
#include "tessera/kernels/cpu/epilogue.hpp"
#include "tessera/kernels/cpu/gemm_product.hpp"

namespace tessera::kernels::cpu {
namespace {

template <class E, class C>
void own_gemm(Stream& s, const Product<E, C>& p, const Batch& batch) {
  const Product<E, C> turned = p.transposed();
  // Of two ways with few rows, the one whose B is contiguous along k.
  if (has_few_rows(turned) && (turned.b_row == 1 || !has_few_rows(p)))
    return few_rows_gemm(s, turned, batch.transposed());
  if (has_few_rows(p)) return few_rows_gemm(s, p, batch);
  blocked_gemm(s, p, batch);
}

#if defined(TESSERA_HAVE_BLAS)
constexpr bool have_blas = true;
#else
constexpr bool have_blas = false;
#endif

template <class E>
constexpr bool vendor_knows = have_blas && (std::is_same_v<E, float> || std::is_same_v<E, double>);

template <class T>
void vendor_gemm([[maybe_unused]] const Product<T, T>& p, [[maybe_unused]] const Batch& batch) {
#if defined(TESSERA_HAVE_BLAS)
  constexpr int64_t limit = std::numeric_limits<int>::max();
  const auto leading = [](int64_t row, int64_t column) {
    return std::max<int64_t>({row, column, 1});
  };
  const int64_t lda = leading(p.a_row, p.a_column), ldb = leading(p.b_row, p.b_column);
  TS_CHECK(std::max({p.m, p.n, p.k, lda, ldb, p.c_row}) <= limit,
           "gemm: extents of the vendor variant are 32-bit");
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  // Row-major C = A B is column-major C' = B' A'.
  const int64_t count = batch.size();
  const auto one = [&](int64_t i) {
    const Product<T, T> q = batch.at(p, i);
    blas_gemm(q.b_column == 1 ? 'N' : 'T', q.a_column == 1 ? 'N' : 'T', n, m, k, q.alpha, q.b,
              static_cast<int>(ldb), q.a, static_cast<int>(lda), q.beta, q.c,
              static_cast<int>(q.c_row));
    if (!q.bias && q.activation == Activation::none) return;
    const bool by_row = q.bias && q.bias_axis == BiasAxis::row;
    for (int64_t r = 0; r < q.m; ++r) {
      T* c = q.c + r * q.c_row;
      finish_row(c, q.n, by_row ? q.bias[r] : T(0), by_row ? nullptr : q.bias, T(0), q.activation,
                 c);
    }
  };
  // Inside a parallel region the library stays on one thread.
  if (count >= max_threads() && p.m * p.n * p.k < 8 * thread_work) {
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) one(i);
    });
  } else {
    for (int64_t i = 0; i < count; ++i) one(i);
  }
#endif
}

// The last two dimensions with the strides of single rows and columns made regular.
struct Layout {
  int64_t rows, columns, row, column;
};

Layout layout_of(const View& x, const char* name) {
  const int r = x.rank - 2;
  Layout l{x.shape[r], x.shape[r + 1], x.stride[r], x.stride[r + 1]};
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

void check_arguments(const View& a, const View& b, const View& c, const GemmParams& p) {
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
void typed_gemm(Stream& s, const View& a, const View& b, const View& c, const GemmParams& params) {
  const Layout la = layout_of(a, "a"), lb = layout_of(b, "b"), lc = layout_of(c, "c");
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
  if (batch.size() == 0 || p.m == 0 || p.n == 0) return;
  if (lc.column != 1) {
    p = p.transposed();
    batch = batch.transposed();
  }
  // A batch over one and the same B is a taller A.
  while (batch.rank > 0) {
    const int i = batch.rank - 1;
    const bool rows_go_on =
        batch.b[i] == 0 && batch.a[i] == p.m * p.a_row && batch.c[i] == p.m * p.c_row;
    if (!rows_go_on || p.a_column != 1 || (p.bias && p.bias_axis == BiasAxis::row)) break;
    p.m *= batch.extent[i];
    --batch.rank;
  }

  GemmVariant variant = params.variant;
  if (variant == GemmVariant::automatic)
    variant = choose_gemm(p.m, p.n, p.k, a.dtype, params.deterministic, vendor_knows<E>);
  if (variant == GemmVariant::own) return own_gemm(s, p, batch);
  if constexpr (vendor_knows<E>) {
    vendor_gemm(p, batch);
  } else {
    throw Error(ErrorKind::unsupported, concat("gemm: no vendor variant for ", a.dtype,
                                               have_blas ? "" : " in this build (TESSERA_BLAS)"));
  }
}

void gemm(Stream& s, View a, View b, View c, const GemmParams& params) {
  check_arguments(a, b, c, params);
  for_float(a.dtype, "gemm", [&]<class E>() {
    if (c.dtype == a.dtype)
      typed_gemm<E, E>(s, a, b, c, params);
    else if constexpr (!std::is_same_v<E, compute_t<E>>)
      typed_gemm<E, float>(s, a, b, c, params);
  });
}

}  // namespace

const GemmKernels gemm_kernels{.gemm = gemm};

}  // namespace tessera::kernels::cpu
