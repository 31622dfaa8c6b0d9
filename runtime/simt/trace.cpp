// The entry points that code compiled with -fsanitize=thread calls at each load, store and atomic
// operation. This file itself is compiled without it.
#include "tessera/runtime/simt/trace.hpp"

#include <exception>
#include <utility>

#include "tessera/runtime/simt/tracer.hpp"

namespace tessera::simt {
namespace {

Tracer& tracer() {
  static auto& t = *new Tracer;
  return t;
}

const bool registered = [] {
  tracing() = {
      .begin_launch = [](const Launch& launch) { tracer().begin_launch(launch); },
      .end_launch = [] { tracer().end_launch(); },
      .begin_group = [](Block* const* blocks,
                        uint32_t count) { tracer().begin_group(blocks, count); },
      .end_group = [] { tracer().end_group(); },
      .release = [](const void* object) { tracer().release(object); },
      .acquire = [](const void* object) { tracer().acquire(object); },
      .forget = [](const void* object) { tracer().forget(object); },
      .meet = [](Thread* const* threads, uint32_t count) { tracer().meet(threads, count); },
      .access =
          [](const void* address, size_t bytes, Access access, const void* site) {
            tracer().access(reinterpret_cast<uintptr_t>(address), bytes, access, site);
          },
      .mark = [] { return tracer().mark(); },
      .end_access =
          [](const void* address, size_t bytes, Access access, uint32_t mark, const void* site) {
            tracer().end_access(reinterpret_cast<uintptr_t>(address), bytes, access, mark, site);
          },
      .hold = [](const void* registers,
                 size_t bytes) { tracer().hold(reinterpret_cast<uintptr_t>(registers), bytes); },
      .let_go =
          [](const void* registers) { tracer().let_go(reinterpret_cast<uintptr_t>(registers)); },
      .lay_out =
          [](const void* address, size_t bytes, uint32_t swizzle) {
            tracer().lay_out(reinterpret_cast<uintptr_t>(address), bytes, swizzle);
          },
      .check_layout =
          [](const void* address, uint32_t swizzle, const void* site) {
            tracer().check_layout(reinterpret_cast<uintptr_t>(address), swizzle, site);
          },
      .end_block = [] { tracer().end_block(); },
      .fence_proxy = [] { tracer().fence_proxy(); },
      .wait = [] { tracer().wait(); },
      .operate = [](uint64_t operations) { tracer().operate(operations); },
      .take_counters = [] { return tracer().take(); },
  };
  return true;
}();

/// No exception may pass the calls that the compiler put in: a fault leaves the thread where it is.
void access(const volatile void* address, size_t bytes, bool write, bool atomic, const void* site) {
  std::exception_ptr failure;
  try {
    tracer().access(reinterpret_cast<uintptr_t>(address), bytes, write, atomic, site);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) current().block->interpreter->abandon(std::move(failure));
}

void plain(const volatile void* address, size_t bytes, bool write, const void* site) {
  if (in_kernel()) access(address, bytes, write, false, site);
}

/// An atomic operation on `address` around the work itself.
template <class Work>
auto atomically(const volatile void* address, size_t bytes, bool write, const void* site,
                Work&& work) {
  const void* object = const_cast<const void*>(address);
  if (!in_kernel()) return work();
  tracer().acquire(object);
  access(address, bytes, write, true, site);
  tracer().release(object);
  return work();
}

}  // namespace

std::vector<KernelCounters> take_counters() { return tracer().take(); }

}  // namespace tessera::simt

#define SITE __builtin_return_address(0)

#define PLAIN(size)                                                                          \
  extern "C" void __tsan_read##size(void* p) { tessera::simt::plain(p, size, false, SITE); } \
  extern "C" void __tsan_write##size(void* p) { tessera::simt::plain(p, size, true, SITE); } \
  extern "C" void __tsan_volatile_read##size(void* p) {                                      \
    tessera::simt::plain(p, size, false, SITE);                                              \
  }                                                                                          \
  extern "C" void __tsan_volatile_write##size(void* p) {                                     \
    tessera::simt::plain(p, size, true, SITE);                                               \
  }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

// Types of lower alignment than their size: by bytes, which are always aligned.
#define UNALIGNED(size)                                                                            \
  extern "C" void __tsan_unaligned_read##size(void* p) {                                           \
    for (int i = 0; i < size; ++i)                                                                 \
      tessera::simt::plain(static_cast<char*>(p) + i, 1, false, SITE);                             \
  }                                                                                                \
  extern "C" void __tsan_unaligned_write##size(void* p) {                                          \
    for (int i = 0; i < size; ++i) tessera::simt::plain(static_cast<char*>(p) + i, 1, true, SITE); \
  }
UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

extern "C" void __tsan_read_range(void* p, unsigned long bytes) {
  for (unsigned long i = 0; i < bytes; ++i)
    tessera::simt::plain(static_cast<char*>(p) + i, 1, false, SITE);
}
extern "C" void __tsan_write_range(void* p, unsigned long bytes) {
  for (unsigned long i = 0; i < bytes; ++i)
    tessera::simt::plain(static_cast<char*>(p) + i, 1, true, SITE);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_atomic_thread_fence(int) {}
extern "C" void __tsan_atomic_signal_fence(int) {}

#define ATOMIC_UPDATE(bits, T, name)                                                           \
  extern "C" T __tsan_atomic##bits##_##name(volatile T* p, T v, int) {                         \
    return tessera::simt::atomically(p, sizeof(T), true, SITE,                                 \
                                     [=] { return __atomic_##name(p, v, __ATOMIC_SEQ_CST); }); \
  }
#define ATOMICS(bits, T)                                                                           \
  extern "C" T __tsan_atomic##bits##_load(const volatile T* p, int) {                              \
    return tessera::simt::atomically(p, sizeof(T), false, SITE,                                    \
                                     [=] { return __atomic_load_n(p, __ATOMIC_SEQ_CST); });        \
  }                                                                                                \
  extern "C" void __tsan_atomic##bits##_store(volatile T* p, T v, int) {                           \
    tessera::simt::atomically(p, sizeof(T), true, SITE,                                            \
                              [=] { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); });                  \
  }                                                                                                \
  extern "C" T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) {                           \
    return tessera::simt::atomically(p, sizeof(T), true, SITE,                                     \
                                     [=] { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }); \
  }                                                                                                \
  ATOMIC_UPDATE(bits, T, fetch_add)                                                                \
  ATOMIC_UPDATE(bits, T, fetch_sub)                                                                \
  ATOMIC_UPDATE(bits, T, fetch_and)                                                                \
  ATOMIC_UPDATE(bits, T, fetch_or)                                                                 \
  ATOMIC_UPDATE(bits, T, fetch_xor)                                                                \
  extern "C" int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T v,    \
                                                               int, int) {                         \
    return tessera::simt::atomically(p, sizeof(T), true, SITE, [=]() -> int {                      \
      return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST,                  \
                                         __ATOMIC_SEQ_CST);                                        \
    });                                                                                            \
  }                                                                                                \
  extern "C" int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* expected, T v, int, \
                                                             int) {                                \
    return tessera::simt::atomically(p, sizeof(T), true, SITE, [=]() -> int {                      \
      return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST,                  \
                                         __ATOMIC_SEQ_CST);                                        \
    });                                                                                            \
  }                                                                                                \
  extern "C" T __tsan_atomic##bits##_compare_exchange_val(volatile T* p, T expected, T v, int,     \
                                                          int) {                                   \
    return tessera::simt::atomically(p, sizeof(T), true, SITE, [=]() mutable {                     \
      __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);     \
      return expected;                                                                             \
    });                                                                                            \
  }
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
