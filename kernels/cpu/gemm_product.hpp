#pragma once

#include <algorithm>
#include <cstdint>

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/gemm_operands.hpp"

/// What the files of the gemm family share. gemm.cpp chooses a variant, gemm_blocked.cpp holds the
/// tiled product, gemm_rows.cpp the product of a few rows, which reads memory and does little else.
/// C's columns are adjacent but in few_rows_gemm.
namespace tessera::kernels::cpu {

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
