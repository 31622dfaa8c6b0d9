#pragma once

#include <algorithm>
#include <cstdint>

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/dtype.hpp"

/// What the files of the gemm family share. gemm.cpp checks operands and chooses a variant,
/// gemm_blocked.cpp holds the tiled product, gemm_rows.cpp the product of a few rows, which reads
/// memory and does little else.
namespace tessera::kernels::cpu {

/// One matrix product. E: element of A and B, C: of C. Each matrix has a stride of 1; of C it is
/// the one between columns, but for few_rows_gemm.
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

/// Multiply-adds that pay for waking a thread.
inline constexpr int64_t thread_work = 200'000;

/// The threads that `work` multiply-adds can feed.
inline int threads_for(int64_t work) {
  return static_cast<int>(std::clamp<int64_t>(work / thread_work, 1, max_threads()));
}

/// Method(product, plan, scratch).run() for every product of the batch, where the plan is
/// Method::Plan(product, threads): each on all threads that it can feed, or, where one product
/// cannot feed all, several at a time on one thread each.
template <class Method, class E, class C>
void run_batch(Stream& s, const Product<E, C>& p, const Batch& batch) {
  using T = compute_t<C>;
  const int64_t count = batch.size(), most = max_threads();
  const int threads = most == 1 ? 1 : threads_for(p.work());
  const int64_t pieces =
      count == 1 || threads == most
          ? 1
          : std::min({count, most, std::max<int64_t>(count * p.work() / thread_work, 1)});
  const typename Method::Plan plan(p, pieces > 1 ? 1 : threads);
  const int64_t elements = plan.scratch_elements();
  const Scratch scratch = s.scratch(static_cast<size_t>(elements * pieces) * sizeof(T));
  const auto run_piece = [&](int64_t piece) {
    for (int64_t i = count * piece / pieces; i < count * (piece + 1) / pieces; ++i) {
      const Product<E, C> one = batch.at(p, i);
      Method(one, plan, scratch.as<T>() + piece * elements).run();
    }
  };
  pieces == 1 ? run_piece(0) : parallel_blocks(pieces, run_piece);
}

/// Whether few_rows_gemm takes the product: one row, or a few with B contiguous along k, when
/// there is nothing to gain from cutting B into tiles.
template <class E, class C>
bool has_few_rows(const Product<E, C>& p) {
  return p.b_row == 1 ? p.m <= 4 && (p.m == 1 || p.k >= 64) : p.m == 1;
}

/// Reads B once, in the order of memory. C may have any strides.
template <class E, class C>
void few_rows_gemm(Stream& s, const Product<E, C>& p, const Batch& batch);

/// The product in register tiles, operands packed where that pays.
template <class E, class C>
void blocked_gemm(Stream& s, const Product<E, C>& p, const Batch& batch);

}  // namespace tessera::kernels::cpu
