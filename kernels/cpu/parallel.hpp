#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <type_traits>

namespace tessera::kernels::cpu {

// libgomp is not instrumented: the thread sanitizer sees neither what its fork and join order nor
// how the variables of a region reach its threads. So the function with the region is left out of
// the check, which also keeps bodies from being inlined into it, and names both orders by hand.
#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#define TS_TSAN_OFF __attribute__((no_sanitize("thread")))
#define TS_TSAN_ACQUIRE(tag) __tsan_acquire(tag)
#define TS_TSAN_RELEASE(tag) __tsan_release(tag)
#else
#define TS_TSAN_OFF
#define TS_TSAN_ACQUIRE(tag) static_cast<void>(tag)
#define TS_TSAN_RELEASE(tag) static_cast<void>(tag)
#endif

/// The first exception of several threads.
class FirstFailure {
 public:
  void keep_current() {
    const std::scoped_lock lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr failure_;
};

/// Calls body(thread, count) on `count` threads at once, where count is `threads` or what OpenMP
/// grants of it. An exception of a body reaches the caller after all have returned. This function
/// holds the only OpenMP directive of the project.
template <class Body>
TS_TSAN_OFF void on_threads(int64_t threads, const Body& body) {
  FirstFailure failure;
  [[maybe_unused]] char fork = 0, join = 0;
  TS_TSAN_RELEASE(&fork);
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    TS_TSAN_ACQUIRE(&fork);
    try {
      body(omp_get_thread_num(), omp_get_num_threads());
    } catch (...) {
      failure.keep_current();
    }
    TS_TSAN_RELEASE(&join);
  }
  TS_TSAN_ACQUIRE(&join);
  failure.rethrow();
}

inline int max_threads() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }
inline void set_max_threads(int count) { omp_set_num_threads(count); }

/// Calls body(begin, end) on disjoint pieces that cover [0, n), on several threads when n is at
/// least two grains. Which thread gets which piece depends on the thread count, so a body whose
/// result depends on the cut is not deterministic: cut sums into fixed blocks with
/// `parallel_blocks` instead. Exceptions of the body reach the caller.
template <class Body>
void parallel_for(int64_t n, int64_t grain, Body&& body) {
  if (n <= 0) return;
  const int64_t pieces = n / std::max<int64_t>(grain, 1);
  const int64_t threads = pieces < 2 ? 1 : std::min<int64_t>(max_threads(), pieces);
  if (threads <= 1) {
    body(int64_t{0}, n);
    return;
  }
  on_threads(threads, [&](int64_t thread, int64_t count) {
    const int64_t begin = n * thread / count, end = n * (thread + 1) / count;
    if (begin < end) body(begin, end);
  });
}

/// Calls body(block) for every block in [0, blocks), handing blocks out to threads as they become
/// free. For uneven work, and for sums cut into blocks whose size does not depend on the thread
/// count. A body that takes a second argument is told its thread, below max_threads(), so that it
/// can pick its scratch memory. An exception of the body reaches the caller; then some blocks may
/// be left out.
template <class Body>
void parallel_blocks(int64_t blocks, Body&& body) {
  if (blocks <= 0) return;
  const auto call = [&](int64_t block, [[maybe_unused]] int thread) {
    if constexpr (std::is_invocable_v<Body&, int64_t, int>)
      body(block, thread);
    else
      body(block);
  };
  const int64_t threads = std::min<int64_t>(max_threads(), blocks);
  if (threads <= 1) {
    for (int64_t b = 0; b < blocks; ++b) call(b, 0);
    return;
  }
  std::atomic<int64_t> next = 0;
  on_threads(threads, [&](int thread, int) {
    for (int64_t b; (b = next.fetch_add(1, std::memory_order_relaxed)) < blocks;) call(b, thread);
  });
}

}  // namespace tessera::kernels::cpu
