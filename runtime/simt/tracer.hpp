#pragma once

#include <link.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/memory.hpp"
#include "tessera/runtime/simt/shadow.hpp"
#include "tessera/runtime/simt/trace.hpp"
#include "tessera/runtime/simt/traffic.hpp"

/// What looks for mistakes in the accesses that trace.cpp is told of.
namespace tessera::simt {

using Clock = std::vector<uint32_t>;

inline void join(Clock& to, const Clock& from) {
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

/// Registers that a product in flight writes to.
struct Held {
  uintptr_t begin;
  size_t bytes;
};
/// The latest access of a thread to the shared memory of another block.
struct Visit {
  uint32_t clock;
  const void* site;
};

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
    threads_per_block_ = static_cast<uint32_t>(launch().block.count());
    const size_t threads = size_t{count} * threads_per_block_;
    clocks_.assign(threads, Clock(threads, 0));
    for (size_t t = 0; t < threads; ++t) clocks_[t][t] = 1;
    acquired_.assign(threads, {});
    fences_.assign(threads, {});
    barriers_.assign(threads, 0);
    held_.assign(threads, {});
    started_.assign(threads, 0);
    visits_.assign(count, {});
  }
  void end_group() { traffic_.end_group(counters_[launch().name]); }
  void end_launch() {
    KernelCounters& c = counters_[launch().name];
    c.kernel = launch().name;
    ++c.launches;
    traffic_.end_launch(c);
  }
  void wait() {
    ++counters_[launch().name].barriers;
    ++barriers_[rank(current_thread())];
  }
  void operate(uint64_t operations) { counters_[launch().name].tensor_operations += operations; }

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
    if (in_stack(address)) return check_held(thread, address, bytes, site);
    const bool shared = in_shared(thread, address, bytes, site);
    if (!shared && !in_global(thread, address, bytes, write, site)) return;
    if (address % bytes != 0 && std::has_single_bit(bytes))
      fault(concat("misaligned ", write ? "store" : "load", " of ", bytes, " bytes"), site);
    traffic_.request(from(thread, site), thread.lane, address, bytes, shared);
    for_words(address, bytes, [&](Word& word, uint8_t mask) {
      check_race(thread, word, mask, shared, write, atomic, site);
    });
  }

  /// An access of a copy or product that the calling thread starts.
  void access(uintptr_t address, size_t bytes, Access kind, const void* site) {
    Thread& thread = current_thread();
    if (bytes == 0) return traffic_.request(from(thread, site), thread.lane, address, 0, false);
    const bool write = kind != Access::read && kind != Access::proxy_read;
    const bool atomic = kind == Access::atomic || kind == Access::atomic_write;
    const bool proxy = kind == Access::proxy_read || kind == Access::proxy_write;
    const bool shared = in_shared(thread, address, bytes, site);
    if (!shared && !in_global(thread, address, bytes, write, site)) return;
    if (kind != Access::atomic) {
      if (!shared && bytes > 16)
        traffic_.move(counters_[launch().name], thread.warp, address, bytes);
      else if (!proxy)  // which passes whole lines to the banks
        traffic_.request(from(thread, site), thread.lane, address, bytes, shared);
    }
    for_words(address, bytes, [&](Word& word, uint8_t mask) {
      if (kind == Access::proxy_read && shared) check_fenced(thread, word, mask, site);
      check_race(thread, word, mask, shared, write, atomic, site, proxy);
    });
  }

  uint32_t mark() {
    const uint32_t me = rank(current_thread());
    return clocks_[me][me]++;
  }
  void end_access(uintptr_t address, size_t bytes, Access kind, uint32_t began, const void* site) {
    Thread& thread = current_thread();
    const uint32_t me = rank(thread);
    const bool write = kind == Access::write || kind == Access::proxy_write;
    const bool proxy = kind == Access::proxy_read || kind == Access::proxy_write;
    for_words(address, bytes, [&](Word& word, uint8_t mask) {
      for (const Seen& s : word.seen)
        if (s.launch == launch_number_ && s.block == group_ && s.thread == me && s.clock > began &&
            (s.bytes & mask) && (write || s.write)) {
          const std::string other = source_line(site);
          fault(concat("race: this ", s.write ? "store" : "load",
                       " comes before the end of what the same thread has started",
                       other.empty() ? "" : " at " + other),
                s.site);
        }
      check_race(thread, word, mask, true, write, false, site, proxy);
    });
  }

  void hold(uintptr_t registers, size_t bytes) {
    held_[rank(current_thread())].push_back({registers, bytes});
  }
  void let_go(uintptr_t registers) {
    std::erase_if(held_[rank(current_thread())],
                  [&](const Held& h) { return h.begin == registers; });
  }

  void lay_out(uintptr_t address, size_t bytes, uint32_t swizzle) {
    for_words(address, bytes, [&](Word& word, uint8_t) {
      word.laid_out_by = group_;
      word.swizzle = swizzle;
    });
  }
  void check_layout(uintptr_t address, uint32_t swizzle, const void* site) {
    const Word& word = shadow_.word(address / word_bytes * word_bytes);
    if (word.laid_out_by == group_ && word.swizzle != swizzle)
      fault(concat("a box with swizzle ", span_text(word.swizzle), " is read with swizzle ",
                   span_text(swizzle)),
            site);
  }

  /// Visitors from other blocks must be known to have left.
  void end_block() {
    const Block& block = *current_thread().block;
    const uint32_t number = rank(current_thread()) / threads_per_block_;
    if (visits_[number].empty()) return;
    Clock known;
    for (const Thread& t : block.threads) join(known, clocks_[rank(t)]);
    for (const auto& [thread, visit] : visits_[number])
      if (visit.clock > known[thread])
        fault(concat("this block may exit before thread ", thread % threads_per_block_,
                     " of block ", thread / threads_per_block_,
                     " of those that run side by side has accessed its shared memory"),
              visit.site);
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

  static std::string span_text(uint32_t swizzle) {
    return swizzle == 0 ? "none" : concat(16u << swizzle, " bytes");
  }

  /// body(shadow, which bytes of it) for the words of an access.
  template <class Body>
  void for_words(uintptr_t address, size_t bytes, Body&& body) {
    for (uintptr_t at = address; at < address + bytes;) {
      const uintptr_t word = at / word_bytes * word_bytes,
                      stop = std::min(address + bytes, word + word_bytes);
      body(shadow_.word(word), static_cast<uint8_t>(((1u << (stop - at)) - 1) << (at - word)));
      at = stop;
    }
  }

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
  bool in_shared(const Thread& thread, uintptr_t address, size_t bytes, const void* site) {
    const Block& own = *thread.block;
    for (uint32_t b = 0; b < count_; ++b) {
      const Block& block = *blocks_[b];
      const auto begin = reinterpret_cast<uintptr_t>(block.shared);
      if (address < begin || address >= begin + block.shared_bytes) continue;
      if (block.cluster_first != own.cluster_first)
        fault("access to the shared memory of a block of another cluster", site);
      if (&block != &own) check_visit(thread, block, b, site);
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

  /// An access to the shared memory of another block of the cluster, number `b` of those that run
  /// side by side: some thread of that block must be known to have started, none may be through.
  void check_visit(const Thread& thread, const Block& block, uint32_t b, const void* site) {
    const uint32_t me = rank(thread), first = b * threads_per_block_;
    if (block.live == 0)
      fault(concat("access to the shared memory of block ", block.cluster_rank,
                   " of the cluster, which has exited"),
            site);
    if (!(started_[me] >> block.cluster_rank & 1)) {
      const auto begin = clocks_[me].begin() + first;
      if (std::all_of(begin, begin + threads_per_block_, [](uint32_t c) { return c == 0; }))
        fault(concat("access to the shared memory of block ", block.cluster_rank,
                     " of the cluster, which may not have started"),
              site);
      started_[me] |= 1u << block.cluster_rank;
    }
    visits_[b][me] = {clocks_[me][me], site};
  }

  /// An access to what may be registers of a product in flight.
  void check_held(const Thread& thread, uintptr_t address, size_t bytes, const void* site) const {
    for (const Held& h : held_[rank(thread)])
      if (address < h.begin + h.bytes && h.begin < address + bytes)
        fault("the result of a product is accessed before warpgroup_wait", site);
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
    const auto argument = reinterpret_cast<uintptr_t>(launch().argument);
    if (!write && address >= argument && address + bytes <= argument + launch().argument_bytes)
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
    if (write) word.laid_out_by = 0;
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

  const Launch& launch() const {
    TS_CHECK(launch_, "simt: an access outside of a launch");
    return *launch_;
  }

  const Launch* launch_ = nullptr;
  uint64_t launch_number_ = 0, group_ = 0;
  Block* const* blocks_ = nullptr;
  uint32_t count_ = 0, threads_per_block_ = 1;
  std::vector<Clock> clocks_;
  std::vector<std::vector<std::pair<uint64_t, Clock>>> acquired_;
  std::vector<std::deque<Fence>> fences_;  // of each thread, the latest last
  std::vector<std::vector<Held>> held_;    // of each thread
  std::vector<uint32_t> started_;          // blocks of its cluster that each thread knows have
  std::vector<std::map<uint32_t, Visit>> visits_;  // of each block, by visiting thread
  std::vector<uint32_t> barriers_;                 // that each thread has come to
  std::unordered_map<const void*, Knowledge> objects_;
  Shadow shadow_;
  uint32_t turn_ = 0;
  Traffic traffic_;
  std::map<std::string, KernelCounters> counters_;
};

}  // namespace tessera::simt
