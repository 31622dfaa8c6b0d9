#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <type_traits>

namespace tessera::kernels::cpu {

#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
// libgomp is not instrumented: say by hand what its fork and join order.
#define TS_TSAN_RELEASE(tag) __tsan_release(tag)
#define TS_TSAN_ACQUIRE(tag) __tsan_acquire(tag)
#else
#define TS_TSAN_RELEASE(tag) static_cast<void>(tag)
#define TS_TSAN_ACQUIRE(tag) static_cast<void>(tag)
#endif

/// Calls body(begin, end) on disjoint pieces that cover [0, n), on several threads when n is at
/// least two grains. Which thread gets which piece depends on the thread count, so a body whose
/// result depends on the cut is not deterministic: cut sums into fixed blocks with
/// `parallel_blocks` instead. Exceptions of the body reach the caller. This file holds the only
/// OpenMP directives of the project.
template <class Body>
void parallel_for(int64_t n, int64_t grain, Body&& body) {
  if (n <= 0) return;
  const int64_t pieces = n / std::max<int64_t>(grain, 1);
  const int64_t threads =
      pieces < 2 || omp_in_parallel() ? 1 : std::min<int64_t>(omp_get_max_threads(), pieces);
  if (threads <= 1) {
    body(int64_t{0}, n);
    return;
  }
  std::exception_ptr failure;
  [[maybe_unused]] char fork = 0, join = 0;
  TS_TSAN_RELEASE(&fork);
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    TS_TSAN_ACQUIRE(&fork);
    const int64_t t = omp_get_thread_num(), count = omp_get_num_threads();
    const int64_t begin = n * t / count, end = n * (t + 1) / count;
    try {
      if (begin < end) body(begin, end);
    } catch (...) {
#pragma omp critical(tessera_parallel_failure)
      failure = std::current_exception();
    }
    TS_TSAN_RELEASE(&join);
  }
  TS_TSAN_ACQUIRE(&join);
  if (failure) std::rethrow_exception(failure);
}

/// Calls body(block) for every block in [0, blocks), handing blocks out to threads as they become
/// free. For uneven work, and for sums cut into blocks whose size does not depend on the thread
/// count. A body that takes a second argument is told its thread, below max_threads(), so that it
/// can pick its scratch memory.
template <class Body>
void parallel_blocks(int64_t blocks, Body&& body) {
  if (blocks <= 0) return;
  const auto call = [&](int64_t block, [[maybe_unused]] int thread) {
    if constexpr (std::is_invocable_v<Body&, int64_t, int>)
      body(block, thread);
    else
      body(block);
  };
  const int64_t threads = omp_in_parallel() ? 1 : std::min<int64_t>(omp_get_max_threads(), blocks);
  if (threads <= 1) {
    for (int64_t b = 0; b < blocks; ++b) call(b, 0);
    return;
  }
  std::exception_ptr failure;
  [[maybe_unused]] char fork = 0, join = 0;
  TS_TSAN_RELEASE(&fork);
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    TS_TSAN_ACQUIRE(&fork);
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t b = 0; b < blocks; ++b) {
      try {
        call(b, omp_get_thread_num());
      } catch (...) {
#pragma omp critical(tessera_parallel_failure)
        failure = std::current_exception();
      }
    }
    TS_TSAN_RELEASE(&join);
  }
  TS_TSAN_ACQUIRE(&join);
  if (failure) std::rethrow_exception(failure);
}

inline int max_threads() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }
inline void set_max_threads(int count) { omp_set_num_threads(count); }

}  // namespace tessera::kernels::cpu
