#include "tessera/runtime/simt/interpreter.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/async_unit.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::simt {
namespace {

__attribute__((tls_model("initial-exec"))) thread_local Thread* running_thread = nullptr;

constexpr size_t strands_per_pool = 256;

void push_back(WaitList& list, Thread& thread) {
  thread.next = nullptr;
  if (list.last)
    list.last->next = &thread;
  else
    list.first = &thread;
  list.last = &thread;
}

/// Puts all of `more` before (or behind) what is in `list`.
void splice(WaitList& list, WaitList& more, bool before) {
  if (!more.first) return;
  if (!list.first) {
    list = more;
  } else if (before) {
    more.last->next = list.first;
    list.first = more.first;
  } else {
    list.last->next = more.first;
    list.last = more.last;
  }
  more = {};
}

[[gnu::always_inline]] inline Thread* pop_front(WaitList& list) {
  Thread* thread = list.first;
  if (thread) {
    list.first = thread->next;
    if (!list.first) list.last = nullptr;
  }
  return thread;
}

/// A small generator for the order of what may happen in any order.
class Shuffler {
 public:
  explicit Shuffler(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint32_t below(uint32_t bound) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<uint32_t>((state_ >> 32) * bound >> 32);
  }
  void permute(uint32_t* values, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) values[i] = i;
    for (uint32_t i = count; i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

 private:
  uint64_t state_;
};

std::string text(Dim3 d) { return concat("(", d.x, ", ", d.y, ", ", d.z, ")"); }

const void* knowledge_of(const Barrier& barrier) {
  return reinterpret_cast<const char*>(&barrier) + barrier.phase % 2;
}

const char* text(Wait wait) {
  switch (wait) {
    case Wait::barrier:
      return "at a block barrier";
    case Wait::cluster_barrier:
      return "at a cluster barrier";
    case Wait::grid_barrier:
      return "at a grid barrier";
    case Wait::collective:
      return "in a warp collective";
    case Wait::phase:
      return "for a phase of an mbarrier";
    case Wait::product:
      return "for a product of a warp group";
    case Wait::nothing:
      return "for nothing";
  }
  return "";
}

}  // namespace

/// A fiber and the thread that it is to run next.
struct Strand {
  Fiber fiber;
  Interpreter* owner;
  Thread* assigned;
};

Thread& current() { return *running_thread; }
bool in_kernel() { return running_thread != nullptr; }

std::string describe(const Thread& thread) {
  return concat("kernel ", thread.block->launch->name, ", block ", text(thread.block->index),
                ", thread ", text(thread.index));
}

void fault(const std::string& what, const void* site) {
  std::string message = concat("simt: ", what);
  if (in_kernel()) message += concat(" in ", describe(*running_thread));
  if (const std::string line = source_line(site); !line.empty()) message += concat(", at ", line);
  throw Error(ErrorKind::device, message);
}

// ---------------------------------------------------------------- running

Interpreter::Interpreter() = default;
Interpreter::~Interpreter() { std::free(shared_); }

void Interpreter::strand_main(void* argument) {
  auto* const strand = static_cast<Strand*>(argument);
  Interpreter& self = *strand->owner;
  for (;;) {
    Thread* const thread = strand->assigned;
    Thread* next = nullptr;
    try {
      const Launch& launch = *thread->block->launch;
      launch.body(launch.argument);
      self.finish(*thread);
      next = self.next_ready();
    } catch (...) {
      self.failure_ = std::current_exception();
    }
    if (next && next->state == Thread::State::fresh) {
      strand->assigned = next;
      next->strand = strand;
      next->state = Thread::State::running;
      running_thread = next;
    } else if (next) {
      self.idle_.push_back(strand);
      self.switch_to(strand->fiber.context, next);
    } else {
      if (!self.failure_ && self.live_ > 0)
        self.failure_ = std::make_exception_ptr(Error(ErrorKind::device, self.deadlock()));
      self.idle_.push_back(strand);
      switch_context(strand->fiber.context, self.main_);
    }
  }
}

AsyncUnit& Interpreter::async() {
  if (!async_) async_ = std::make_unique<AsyncUnit>(*this);
  return *async_;
}

/// The thread to run next, null where none can go on. Copies end at the latest when nothing else
/// is left to do.
[[gnu::always_inline]] inline Thread* Interpreter::next_ready() {
  while (!ready_.first && live_ > 0 && async_ && async_->progress()) {
  }
  return pop_front(ready_);
}

void Interpreter::abandon(std::exception_ptr failure) {
  failure_ = std::move(failure);
  switch_context(running_thread->strand->fiber.context, main_);
  __builtin_unreachable();
}

Strand* Interpreter::idle_strand() {
  if (idle_.empty()) {
    if (used_strands_ == strands_.size()) {
      stacks_.push_back(std::make_unique<StackPool>(strands_per_pool));
      for (size_t i = 0; i < strands_per_pool; ++i)
        strands_.push_back(std::make_unique<Strand>(Strand{{}, this, nullptr}));
      idle_.reserve(strands_.size());
    }
    const size_t index = used_strands_++;
    Strand& strand = *strands_[index];
    strand.fiber.start(stacks_[index / strands_per_pool]->stack(index % strands_per_pool), index,
                       &strand_main, &strand);
    return &strand;
  }
  Strand* strand = idle_.back();
  idle_.pop_back();
  return strand;
}

[[gnu::always_inline]] inline void Interpreter::switch_to(Context& from, Thread* thread) {
  if (thread->state == Thread::State::fresh) {
    thread->strand = idle_strand();
    thread->strand->assigned = thread;
  }
  thread->state = Thread::State::running;
  running_thread = thread;
  switch_context(from, thread->strand->fiber.context);
}

[[gnu::always_inline]] inline void Interpreter::suspend(Thread& thread) {
  Thread* const next = next_ready();
  if (!next) [[unlikely]]
    throw Error(ErrorKind::device, deadlock());
  if (next != &thread)
    switch_to(thread.strand->fiber.context, next);
  else
    thread.state = Thread::State::running;
  thread.wait = Wait::nothing;
}

void Interpreter::prepare(const Launch& launch, uint64_t first, uint32_t count) {
  while (blocks_.size() < count) blocks_.push_back(std::make_unique<Block>());
  block_count_ = count;
  const auto threads = static_cast<uint32_t>(launch.block.count());
  const uint32_t warps = (threads + warp_size - 1) / warp_size;
  const size_t dynamic = (launch.shared_bytes + 1023) / 1024 * 1024;
  const size_t needed = count * (dynamic + static_shared_bytes);
  if (needed > shared_capacity_) {
    std::free(shared_);
    shared_ = static_cast<std::byte*>(std::aligned_alloc(1024, needed));
    shared_capacity_ = shared_ ? needed : 0;
    if (!shared_)
      throw Error(ErrorKind::out_of_memory, concat("simt: cannot allocate ", needed,
                                                   " bytes of shared memory for ", launch.name));
  }

  Shuffler shuffler(schedule_.seed + first);
  warps_first_ = schedule_.seed % 2 == 0;
  ready_ = {};
  live_ = 0;
  grid_ = {};
  if (async_) async_->begin();
  const uint32_t cluster = static_cast<uint32_t>(launch.cluster.count());
  for (uint32_t b = 0; b < count; ++b) {
    Block& block = *blocks_[b];
    block.interpreter = this;
    block.launch = &launch;
    const uint64_t linear = first + b, group = linear / cluster;
    const auto rank = static_cast<uint32_t>(linear % cluster);
    const Dim3 c = launch.cluster, g{launch.grid.x / c.x, launch.grid.y / c.y, launch.grid.z / c.z};
    block.index = {static_cast<uint32_t>(group % g.x) * c.x + rank % c.x,
                   static_cast<uint32_t>(group / g.x % g.y) * c.y + rank / c.x % c.y,
                   static_cast<uint32_t>(group / g.x / g.y) * c.z + rank / c.x / c.y};
    block.cluster_rank = rank;
    block.cluster_blocks = cluster;
    block.cluster_first = blocks_[b - rank].get();
    block.live = threads;
    for (Barrier& barrier : block.barriers) barrier = {};
    block.cluster_barrier = {};
    block.shared = shared_ + b * (dynamic + static_shared_bytes);
    block.shared_bytes = dynamic + static_shared_bytes;
    block.static_used = 0;
    block.statics.clear();
    std::memset(block.shared, 0xff, launch.shared_bytes);
    block.threads.resize(threads);
    block.warps.resize(warps);

    uint32_t warp_order[max_block_threads / warp_size], lane_order[warp_size];
    for (uint32_t w = 0; w < warps; ++w) warp_order[w] = w;
    if (schedule_.seed) shuffler.permute(warp_order, warps);
    for (uint32_t w = 0; w < warps; ++w) {
      Warp& warp = block.warps[warp_order[w]];
      const uint32_t base = warp_order[w] * warp_size, size = std::min(warp_size, threads - base);
      warp.block = &block;
      warp.lanes = &block.threads[base];
      warp.rank = warp_order[w];
      warp.size = size;
      warp.exited = 0;
      warp.pending_count = 0;
      for (uint32_t l = 0; l < size; ++l) lane_order[l] = l;
      if (schedule_.seed) shuffler.permute(lane_order, size);
      for (uint32_t l = 0; l < size; ++l) {
        Thread& thread = warp.lanes[lane_order[l]];
        thread = {};
        thread.warp = &warp;
        thread.block = &block;
        thread.rank = base + lane_order[l];
        thread.lane = lane_order[l];
        thread.index = {thread.rank % launch.block.x, thread.rank / launch.block.x % launch.block.y,
                        thread.rank / launch.block.x / launch.block.y};
        push_back(ready_, thread);
      }
    }
    live_ += threads;
  }
}

void Interpreter::run(const Launch& launch, uint64_t first, uint32_t count,
                      const Schedule& schedule) {
  schedule_ = schedule;
  prepare(launch, first, count);
  failure_ = nullptr;
  if (tracing().begin_group) {
    std::vector<Block*> group;
    group.reserve(count);
    for (uint32_t b = 0; b < count; ++b) group.push_back(blocks_[b].get());
    tracing().begin_group(group.data(), count);
    switch_to(main_, pop_front(ready_));
    running_thread = nullptr;
    tracing().end_group();
  } else {
    switch_to(main_, pop_front(ready_));
    running_thread = nullptr;
  }
  if (failure_) {
    // What the other fibers were doing is given up; their stacks start anew.
    idle_.clear();
    used_strands_ = 0;
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
  if (async_) async_->end();
}

void Interpreter::finish(Thread& thread) {
  Warp& warp = *thread.warp;
  Block& block = *thread.block;
  const uint32_t bit = 1u << thread.lane;
  for (uint32_t i = 0; i < warp.pending_count; ++i)
    if (warp.pending[i].mask & bit)
      fault(concat("a thread exits while lanes of its warp wait for it in ", warp.pending[i].name),
            nullptr);
  for (const Barrier& barrier : block.barriers)
    if (barrier.arrived > 0 && barrier.expected == 0)
      fault("a thread exits while threads of its block wait for it at a block barrier",
            barrier.site);
  if (async_) async_->finish(thread);
  warp.exited |= bit;
  thread.state = Thread::State::exited;
  if (--block.live == 0 && tracing().end_block) tracing().end_block();
  --live_;
}

// ---------------------------------------------------------------- waiting

void Interpreter::wait_in(WaitList& list, Wait what, const char* name, const void* site) {
  Thread& thread = *running_thread;
  thread.state = Thread::State::waiting;
  thread.wait = what;
  thread.waits_in = name;
  thread.site = site;
  push_back(list, thread);
  suspend(thread);
}

void Interpreter::wake(WaitList& list) {
  for (Thread* t = list.first; t; t = t->next) t->state = Thread::State::ready;
  splice(ready_, list, false);
}

void Interpreter::yield() {
  Thread& thread = *running_thread;
  thread.state = Thread::State::ready;
  push_back(ready_, thread);
  suspend(thread);
}

void Interpreter::release(Barrier& barrier) {
  barrier.arrived = 0;
  barrier.expected = 0;
  barrier.site = nullptr;
  ++barrier.phase;
  wake(barrier.waiting);
}

void Interpreter::arrive(Barrier& barrier, uint64_t expected, bool waits, Wait what,
                         const char* name, const void* site) {
  if (barrier.arrived == 0) {
    barrier.site = site;
  } else if (what == Wait::barrier && barrier.expected == 0 && barrier.site != site) {
    const std::string here = source_line(site), there = source_line(barrier.site);
    if (here != there)
      fault(concat("threads of a block meet at different barriers: others wait at ", there), site);
  }
  // What threads know passes through an object per phase; two in turn do, since a phase is over for
  // all before the next but one begins.
  const void* const object = knowledge_of(barrier);
  if (tracing().release) {
    if (barrier.arrived == 0) tracing().forget(object);
    tracing().release(object);
  }
  if (++barrier.arrived == expected)
    release(barrier);
  else if (waits)
    wait_in(barrier.waiting, what, name, site);
  if (waits && tracing().acquire) tracing().acquire(object);
}

void Interpreter::block_barrier(uint32_t id, uint32_t count, bool waits, const char* name,
                                const void* site) {
  Block& block = *running_thread->block;
  if (id >= named_barriers) fault(concat(name, ": barrier ", id, " of ", named_barriers), site);
  const auto all = static_cast<uint32_t>(block.launch->block.count());
  if (count == 0 && block.live != all)
    fault(concat(name, ": ", all - block.live, " threads of the block have exited"), site);
  if (count % warp_size != 0 || count > all)
    fault(concat(name, ": ", count, " threads is not a multiple of 32 within the block's ", all),
          site);
  Barrier& barrier = block.barriers[id];
  if (barrier.arrived > 0 && barrier.expected != count)
    fault(concat(name, ": barrier ", id, " expects ", barrier.expected, " threads, not ", count),
          site);
  barrier.expected = count;
  if (waits && tracing().wait) tracing().wait();
  arrive(barrier, count ? count : all, waits, Wait::barrier, name, site);
}

void Interpreter::cluster_barrier(bool arrives, bool waits, const void* site) {
  Thread& thread = *running_thread;
  Block& first = *thread.block->cluster_first;
  Barrier& barrier = first.cluster_barrier;
  const uint64_t all = first.launch->block.count() * first.cluster_blocks;
  if (arrives) {
    thread.cluster_phase = barrier.phase;
    arrive(barrier, all, false, Wait::cluster_barrier, "cluster_arrive", site);
  }
  if (!waits) return;
  if (barrier.phase == thread.cluster_phase)
    wait_in(barrier.waiting, Wait::cluster_barrier, "cluster_wait", site);
  if (tracing().acquire)
    tracing().acquire(reinterpret_cast<const char*>(&barrier) + thread.cluster_phase % 2);
}

void Interpreter::grid_barrier(const void* site) {
  const Launch& launch = *running_thread->block->launch;
  if (!launch.cooperative) fault("grid_barrier in a launch that is not cooperative", site);
  arrive(grid_, launch.block.count() * launch.grid.count(), true, Wait::grid_barrier,
         "grid_barrier", site);
}

void collective(uint32_t mask, const char* name, void* slot, void (*finish)(void**, uint32_t),
                const void* site) {
  Thread& thread = *running_thread;
  Warp& warp = *thread.warp;
  const uint32_t bit = 1u << thread.lane;
  if (!(mask & bit)) fault(concat(name, ": the mask does not name the calling lane"), site);
  uint32_t at = 0;
  while (at < warp.pending_count && warp.pending[at].mask != mask) ++at;
  Collective& pending = warp.pending[at];
  if (at == warp.pending_count) {
    const uint32_t lanes = warp.size == warp_size ? ~0u : (1u << warp.size) - 1;
    if (mask & ~lanes) fault(concat(name, ": the mask names lanes that the block lacks"), site);
    if (mask & warp.exited) fault(concat(name, ": the mask names lanes that have exited"), site);
    for (uint32_t i = 0; i < warp.pending_count; ++i)
      if (warp.pending[i].mask & mask)
        fault(concat(name, ": lanes of its mask wait in ", warp.pending[i].name,
                     " with another mask"),
              site);
    pending = {mask, 0, name};
    ++warp.pending_count;
  } else if (pending.name != name && std::strcmp(pending.name, name) != 0) {
    fault(concat(name, ": lanes of its mask wait in ", pending.name), site);
  }
  thread.slot = slot;
  pending.arrived |= bit;
  Interpreter& interpreter = *thread.block->interpreter;
  if (pending.arrived != mask) {
    thread.state = Thread::State::waiting;
    thread.wait = Wait::collective;
    thread.waits_in = name;
    thread.site = site;
    interpreter.suspend(thread);
    return;
  }
  void* slots[warp_size];
  WaitList others;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const auto lane = static_cast<uint32_t>(std::countr_zero(rest));
    Thread& other = warp.lanes[lane];
    slots[lane] = other.slot;
    if (&other == &thread) continue;
    other.state = Thread::State::ready;
    push_back(others, other);
  }
  pending = warp.pending[--warp.pending_count];
  finish(slots, mask);
  splice(interpreter.ready_, others, interpreter.warps_first_);
}

std::byte* static_shared(const void* key, size_t bytes, size_t alignment) {
  Block& block = *running_thread->block;
  for (const Block::Static& s : block.statics)
    if (s.key == key) return block.shared + s.offset;
  const size_t base = block.shared_bytes - static_shared_bytes;
  const size_t offset = (block.static_used + alignment - 1) / alignment * alignment;
  if (offset + bytes > static_shared_bytes)
    fault(concat("static shared memory of more than ", static_shared_bytes, " bytes"), nullptr);
  block.static_used = offset + bytes;
  block.statics.push_back({key, base + offset});
  std::memset(block.shared + base + offset, 0xff, bytes);
  return block.shared + base + offset;
}

std::string Interpreter::deadlock() const {
  struct Place {
    Wait wait;
    const char* name;
    const void* site;
    uint64_t count;
    const Thread* thread;
  };
  std::vector<Place> places;
  for (uint32_t b = 0; b < block_count_; ++b)
    for (const Thread& t : blocks_[b]->threads) {
      if (t.state != Thread::State::waiting) continue;
      const auto same = [&](const Place& p) { return p.wait == t.wait && p.site == t.site; };
      if (const auto it = std::find_if(places.begin(), places.end(), same); it != places.end())
        ++it->count;
      else
        places.push_back({t.wait, t.waits_in, t.site, 1, &t});
    }
  std::string message = concat("simt: no thread of kernel ", blocks_[0]->launch->name,
                               " can go on, from block ", text(blocks_[0]->index));
  for (const Place& p : places) {
    message += concat("; ", p.count, p.count == 1 ? " waits " : " wait ", text(p.wait), " (",
                      p.name, "), the first of them thread ", text(p.thread->index));
    if (const std::string line = source_line(p.site); !line.empty())
      message += concat(", at ", line);
  }
  if (async_) message += async_->describe();
  return message;
}

}  // namespace tessera::simt
