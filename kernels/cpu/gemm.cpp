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

template <class E, class C>
void typed_gemm(Stream& s, const View& a, const View& b, const View& c, const GemmParams& params) {
  const BatchedProduct<E, C> operands = batched_product<E, C>(a, b, c, params);
  if (operands.empty()) return;
  const auto& [p, batch] = operands;
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
  check_gemm(a, b, c, params);
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
