// The entry points that code compiled with -fsanitize=thread calls at each load, store and atomic
// operation. This file itself is compiled without it.
#include "tessera/runtime/simt/trace.hpp"

#include <link.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/memory.hpp"
#include "tessera/runtime/simt/traffic.hpp"

namespace tessera::simt {
namespace {

constexpr int slots_per_word = 4;
constexpr uintptr_t word_bytes = 4;

/// Somebody's access to a word of memory.
struct Seen {
  const void* site = nullptr;
  uint64_t launch = 0;  // 0: nothing
  uint64_t block = 0;
  uint32_t clock = 0;
  uint16_t thread = 0;  // among the threads that run side by side
  uint8_t bytes = 0;    // of the word, one bit each
  bool write = false, atomic = false;
  bool proxy = false;  // by the asynchronous proxy
};
struct Word {
  Seen seen[slots_per_word];
};

/// Shadow of memory in pages.
class Shadow {
 public:
  static constexpr uintptr_t page_bytes = 4096;
  Word& word(uintptr_t address) {
    const uintptr_t page = address / page_bytes;
    if (page != page_ || !words_) {
      auto& slot = pages_[page];
      if (!slot) slot = std::make_unique<Word[]>(page_bytes / word_bytes);
      page_ = page;
      words_ = slot.get();
    }
    return words_[address % page_bytes / word_bytes];
  }
  void clear() {
    pages_.clear();
    words_ = nullptr;
  }
  size_t pages() const { return pages_.size(); }

 private:
  std::unordered_map<uintptr_t, std::unique_ptr<Word[]>> pages_;
  uintptr_t page_ = 0;
  Word* words_ = nullptr;
};

using Clock = std::vector<uint32_t>;

void join(Clock& to, const Clock& from) {
  if (to.size() < from.size()) to.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
}

/// What was known to those who released an object.
struct Knowledge {
  Clock clock;  // of the group that released last
  uint64_t group = 0;
  std::vector<std::pair<uint64_t, Clock>> groups;  // and of earlier groups of the launch
};

/// A thread's fence between proxies, and what the thread knew then.
struct Fence {
  uint32_t clock;
  Clock known;
};
constexpr size_t fences_kept = 16;

class Tracer {
 public:
  void begin_launch(const Launch& launch) {
    launch_ = &launch;
    ++launch_number_;
    objects_.clear();
    if (shadow_.pages() > 4096) shadow_.clear();
  }
  void begin_group(Block* const* blocks, uint32_t count) {
    ++group_;
    blocks_ = blocks;
    count_ = count;
    threads_per_block_ = static_cast<uint32_t>(launch_->block.count());
    const size_t threads = size_t{count} * threads_per_block_;
    clocks_.assign(threads, Clock(threads, 0));
    for (size_t t = 0; t < threads; ++t) clocks_[t][t] = 1;
    acquired_.assign(threads, {});
    fences_.assign(threads, {});
    barriers_.assign(threads, 0);
  }
  void end_group() { traffic_.end_group(counters_[launch_->name]); }
  void end_launch() {
    KernelCounters& c = counters_[launch_->name];
    c.kernel = launch_->name;
    ++c.launches;
    traffic_.end_launch(c);
  }
  void wait() {
    ++counters_[launch_->name].barriers;
    ++barriers_[rank(current_thread())];
  }
  void operate(uint64_t operations) { counters_[launch_->name].tensor_operations += operations; }

  void meet(Thread* const* threads, uint32_t count) {
    Clock all;
    for (uint32_t i = 0; i < count; ++i) join(all, clocks_[rank(*threads[i])]);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t r = rank(*threads[i]);
      clocks_[r] = all;
      ++clocks_[r][r];
    }
  }
  void release(const void* object) {
    const uint32_t me = rank(current_thread());
    Knowledge& k = objects_[object];
    if (k.group != group_ && k.group != 0) {
      k.groups.emplace_back(k.group, std::move(k.clock));
      k.clock.clear();
    }
    k.group = group_;
    join(k.clock, clocks_[me]);
    for (const auto& [group, clock] : acquired_[me]) note(k.groups, group, clock);
    ++clocks_[me][me];
  }
  void acquire(const void* object) {
    const auto it = objects_.find(object);
    if (it == objects_.end()) return;
    const uint32_t me = rank(current_thread());
    const Knowledge& k = it->second;
    if (k.group == group_)
      join(clocks_[me], k.clock);
    else if (k.group != 0)
      note(acquired_[me], k.group, k.clock);
    for (const auto& [group, clock] : k.groups) note(acquired_[me], group, clock);
  }
  void forget(const void* object) { objects_.erase(object); }

  void access(uintptr_t address, size_t bytes, bool write, bool atomic, const void* site) {
    Thread& thread = current_thread();
    if (in_stack(address)) return;
    const bool shared = in_shared(thread, address, bytes, site);
    if (!shared && !in_global(thread, address, bytes, write, site)) return;
    if (address % bytes != 0 && std::has_single_bit(bytes))
      fault(concat("misaligned ", write ? "store" : "load", " of ", bytes, " bytes"), site);
    traffic_.request(from(thread, site), thread.lane, address, bytes, shared);
    for (uintptr_t at = address; at < address + bytes;) {
      const uintptr_t word = at / word_bytes * word_bytes,
                      stop = std::min(address + bytes, word + word_bytes);
      const auto mask = static_cast<uint8_t>(((1u << (stop - at)) - 1) << (at - word));
      check_race(thread, shadow_.word(word), mask, shared, write, atomic, site);
      at = stop;
    }
  }

  /// An access of a copy or product that the calling thread starts.
  void access(uintptr_t address, size_t bytes, Access kind, const void* site) {
    Thread& thread = current_thread();
    const bool write = kind != Access::read && kind != Access::proxy_read;
    const bool atomic = kind == Access::atomic || kind == Access::atomic_write;
    const bool proxy = kind == Access::proxy_read || kind == Access::proxy_write;
    const bool shared = in_shared(thread, address, bytes, site);
    if (!shared && !in_global(thread, address, bytes, write, site)) return;
    if (kind != Access::atomic && kind != Access::write_again) {
      if (!shared && bytes > 16)
        traffic_.move(counters_[launch_->name], thread.warp, address, bytes);
      else if (!proxy)  // which passes whole lines to the banks
        traffic_.request(from(thread, site), thread.lane, address, bytes, shared);
    }
    for (uintptr_t word = address / word_bytes * word_bytes; word < address + bytes;
         word += word_bytes) {
      const uintptr_t begin = std::max(address, word),
                      end = std::min(address + bytes, word + word_bytes);
      const auto mask = static_cast<uint8_t>(((1u << (end - begin)) - 1) << (begin - word));
      Word& seen = shadow_.word(word);
      if (kind == Access::proxy_read && shared) check_fenced(thread, seen, mask, site);
      check_race(thread, seen, mask, shared, write, atomic, site, proxy);
    }
  }

  void fence_proxy() {
    const uint32_t me = rank(current_thread());
    std::deque<Fence>& fences = fences_[me];
    if (fences.size() == fences_kept) fences.pop_front();
    fences.push_back({clocks_[me][me], clocks_[me]});
    ++clocks_[me][me];
  }

  std::vector<KernelCounters> take() {
    std::vector<KernelCounters> list;
    list.reserve(counters_.size());
    for (auto& [name, c] : counters_) list.push_back(c);
    counters_.clear();
    return list;
  }

 private:
  static Thread& current_thread() { return current(); }

  /// Among the threads that run side by side.
  uint32_t rank(const Thread& thread) const {
    uint32_t block = 0;
    while (block + 1 < count_ && blocks_[block] != thread.block) ++block;
    return block * threads_per_block_ + thread.rank;
  }

  SiteOfWarp from(const Thread& thread, const void* site) const {
    return {thread.warp, site, barriers_[rank(thread)]};
  }

  /// Near the stack pointer: on the stack of the calling thread, or of a neighbour. A StackPool has
  /// nothing else so near.
  static bool in_stack(uintptr_t address) {
    const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    return address + 4096 > here && address < here + Fiber::stack_bytes;
  }

  /// In the shared memory of the block or its cluster: within what the launch and statics asked
  /// for.
  bool in_shared(const Thread& thread, uintptr_t address, size_t bytes, const void* site) const {
    const Block& own = *thread.block;
    for (uint32_t b = 0; b < count_; ++b) {
      const Block& block = *blocks_[b];
      const auto begin = reinterpret_cast<uintptr_t>(block.shared);
      if (address < begin || address >= begin + block.shared_bytes) continue;
      if (block.cluster_first != own.cluster_first)
        fault("access to the shared memory of a block of another cluster", site);
      const uintptr_t offset = address - begin;
      if (offset + bytes <= block.launch->shared_bytes) return true;
      const size_t statics = block.shared_bytes - static_shared_bytes;
      if (offset >= statics && offset + bytes <= statics + block.static_used) return true;
      fault(concat("access outside of shared memory: ", bytes, " bytes at offset ", offset, " of ",
                   block.launch->shared_bytes),
            site);
    }
    return false;
  }

  bool in_global(const Thread&, uintptr_t address, size_t bytes, bool write, const void* site) {
    MemoryRange range;
    if (find_device_memory(address, range)) {
      if (!range.holds(address, bytes))
        fault(concat(write ? "store" : "load", " of ", bytes,
                     " bytes beyond the end of a block of ", range.end - range.begin, " bytes"),
              site);
      return true;
    }
    const auto argument = reinterpret_cast<uintptr_t>(launch_->argument);
    if (!write && address >= argument && address + bytes <= argument + launch_->argument_bytes)
      return false;
    if (in_module(address)) return false;
    fault(concat("access outside of device memory: ", write ? "store" : "load", " of ", bytes,
                 " bytes"),
          site);
  }

  /// In the constants and variables of a loaded library or the program.
  static bool in_module(uintptr_t address) {
    struct Query {
      uintptr_t address;
      bool found;
    } query{address, false};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* argument) {
          auto& q = *static_cast<Query*>(argument);
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& segment = info->dlpi_phdr[i];
            const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
            if (segment.p_type == PT_LOAD && q.address >= begin &&
                q.address < begin + segment.p_memsz)
              q.found = true;
          }
          return q.found ? 1 : 0;
        },
        &query);
    return query.found;
  }

  static void note(std::vector<std::pair<uint64_t, Clock>>& list, uint64_t group,
                   const Clock& clock) {
    for (auto& [g, c] : list)
      if (g == group) return join(c, clock);
    list.emplace_back(group, clock);
  }

  bool ordered(const Seen& s, uint32_t me) const {
    if (s.block == group_) return s.clock <= clocks_[me][s.thread];
    for (const auto& [group, clock] : acquired_[me])
      if (group == s.block) return s.thread < clock.size() && s.clock <= clock[s.thread];
    return false;
  }

  /// Whether the calling thread knows of a fence, by whomever, that came after the write.
  bool fenced(const Seen& s, uint32_t me) const {
    for (uint32_t t = 0; t < fences_.size(); ++t)
      for (const Fence& f : fences_[t])
        if (f.clock <= clocks_[me][t] && s.clock <= f.known[s.thread]) return true;
    return false;
  }

  void check_fenced(const Thread& thread, const Word& word, uint8_t mask, const void* site) const {
    const uint32_t me = rank(thread);
    for (const Seen& s : word.seen) {
      if (s.launch != launch_number_ || s.block != group_ || !s.write || s.proxy ||
          (s.bytes & mask) == 0 || fenced(s, me))
        continue;
      const std::string other = source_line(s.site);
      fault(
          concat("missing fence_async_proxy: an asynchronous read of shared memory that thread ",
                 s.thread % threads_per_block_, " has written", other.empty() ? "" : " at ", other),
          site);
    }
  }

  void check_race(const Thread& thread, Word& word, uint8_t mask, bool shared, bool write,
                  bool atomic, const void* site, bool proxy = false) {
    const uint32_t me = rank(thread);
    Seen* place = nullptr;
    for (Seen& s : word.seen) {
      // Shared memory of an earlier group is other memory at the same address.
      if (s.launch != launch_number_ || (shared && s.block != group_)) {
        if (!place) place = &s;
        continue;
      }
      const bool own = s.block == group_ && s.thread == me;
      if (own && (s.bytes & ~mask) == 0 && (write || !s.write)) place = &s;
      if (own || (s.bytes & mask) == 0 || (!write && !s.write) || (atomic && s.atomic)) continue;
      if (ordered(s, me)) {
        if (write && (s.bytes & ~mask) == 0) place = &s;
        continue;
      }
      const std::string other = source_line(s.site);
      fault(concat("race: this ", atomic ? "atomic " : "", write ? "store" : "load", " and the ",
                   s.atomic ? "atomic " : "", s.write ? "store" : "load", " of ",
                   s.block == group_ ? "thread " : "another block's thread ",
                   s.thread % threads_per_block_, other.empty() ? "" : " at " + other,
                   " are not ordered"),
            site);
    }
    if (!place) place = &word.seen[turn_++ % slots_per_word];
    *place = {site,  launch_number_, group_, clocks_[me][me], static_cast<uint16_t>(me), mask,
              write, atomic,         proxy};
  }

  const Launch* launch_ = nullptr;
  uint64_t launch_number_ = 0, group_ = 0;
  Block* const* blocks_ = nullptr;
  uint32_t count_ = 0, threads_per_block_ = 1;
  std::vector<Clock> clocks_;
  std::vector<std::vector<std::pair<uint64_t, Clock>>> acquired_;
  std::vector<std::deque<Fence>> fences_;  // of each thread, the latest last
  std::vector<uint32_t> barriers_;         // that each thread has come to
  std::unordered_map<const void*, Knowledge> objects_;
  Shadow shadow_;
  uint32_t turn_ = 0;
  Traffic traffic_;
  std::map<std::string, KernelCounters> counters_;
};

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
