#include "tessera/runtime/simt/async.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/half.hpp"
#include "tessera/runtime/simt/bulk.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::simt {
namespace {

#define SITE __builtin_return_address(0)

constexpr int64_t max_bytes_in_flight = (1 << 20) - 1;

AsyncUnit& unit() { return current().block->interpreter->async(); }

bool lies_in(const Block& block, const void* address, size_t bytes) {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= block.shared && at + bytes <= block.shared + block.shared_bytes;
}

void see(const void* address, size_t bytes, Access access, const void* site) {
  if (tracing().access && bytes > 0) tracing().access(address, bytes, access, site);
}

uint32_t mark() { return tracing().mark ? tracing().mark() : 0; }

uint64_t tag_of(const void* barrier) {
  return reinterpret_cast<uintptr_t>(barrier) * 0x9e3779b97f4a7c15u ^ 0x6d62617272696572u;
}

const void* knowledge_of(const void* barrier, uint64_t phase) {
  return static_cast<const char*>(barrier) + phase % 2;
}

/// The same place in another block of the cluster.
void* moved(void* address, const Block& from, const Block& to) {
  return to.shared + (static_cast<std::byte*>(address) - from.shared);
}

/// Each element atomically: blocks that other threads interpret may add to it at the same time.
template <class T>
void add_elements(std::byte* to, const std::byte* from, size_t bytes) {
  using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;
  for (size_t i = 0; i < bytes; i += sizeof(T)) {
    T b;
    std::memcpy(&b, from + i, sizeof(T));
    const std::atomic_ref<Bits> cell(*reinterpret_cast<Bits*>(to + i));
    Bits seen = cell.load(std::memory_order_relaxed), sum;
    do sum = std::bit_cast<Bits>(static_cast<T>(std::bit_cast<T>(seen) + b));
    while (!cell.compare_exchange_weak(seen, sum, std::memory_order_relaxed));
  }
}
void write_bytes(std::byte* to, const std::byte* from, size_t bytes, BulkWrite write) {
  switch (write) {
    case BulkWrite::copy:
      std::memcpy(to, from, bytes);
      break;
    case BulkWrite::add_f32:
      add_elements<float>(to, from, bytes);
      break;
    case BulkWrite::add_f16:
      add_elements<f16>(to, from, bytes);
      break;
    case BulkWrite::add_bf16:
      add_elements<bf16>(to, from, bytes);
      break;
    case BulkWrite::add_i32:
      add_elements<uint32_t>(to, from, bytes);
      break;
  }
}

}  // namespace

Block* holder(const void* address, size_t bytes) {
  const Block& own = *current().block;
  for (const auto& block : own.interpreter->blocks())
    if (block->cluster_first == own.cluster_first && lies_in(*block, address, bytes))
      return block.get();
  return nullptr;
}

void check_own(const void* shared, size_t bytes, const char* name, const char* what,
               const void* site) {
  if (!lies_in(*current().block, shared, bytes))
    fault(concat(name, ": ", what, " is not in the block's shared memory"), site);
}
void check_aligned(const void* address, size_t alignment, const char* name, const char* what,
                   const void* site) {
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0)
    fault(concat(name, ": ", what, " is not a multiple of ", alignment, " bytes"), site);
}

// ---------------------------------------------------------------- the unit

void AsyncUnit::begin() {
  barriers_.clear();
  flights_.clear();
  used_threads_ = 0;
  unfenced_.clear();
  warpgroups_.clear();
  random_ = interpreter_.schedule().seed * 0x9e3779b97f4a7c15u + 1;
}

void AsyncUnit::end() const {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::device, concat("simt: kernel ", interpreter_.blocks()[0]->launch->name,
                                          " ends while ", what));
  };
  if (!flights_.empty())
    refuse(concat(flights_.size(), " asynchronous copies that nobody waited for are in flight"));
  for (const auto& [key, group] : warpgroups_)
    if (has_unfinished_products(*group))
      refuse("a product of a warp group that nobody waited for is unfinished");
  for (const auto& [barrier, m] : barriers_)
    if (m.bytes != 0) refuse(concat("an mbarrier still expects ", m.bytes, " bytes"));
}

bool AsyncUnit::progress() {
  if (flights_.empty()) return false;
  size_t next = 0;
  if (interpreter_.schedule().seed) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    next = (random_ >> 33) % flights_.size();
  }
  const Flight flight = std::move(flights_[next]);
  flights_.erase(flights_.begin() + static_cast<std::ptrdiff_t>(next));
  flight.perform();
  return true;
}

void AsyncUnit::finish(Thread& thread) {
  if (!thread.extension) return;
  ThreadState& state = of(thread);
  state.copies.perform(state.copies.started());
  const Stores& stores = state.stores;
  if (!stores.open.empty() || !stores.committed.empty())
    fault("a thread exits while its bulk stores may still read shared memory", nullptr);
}

std::string AsyncUnit::describe() const {
  std::string text;
  for (const auto& [barrier, m] : barriers_) {
    if (!m.waiting.first) continue;
    const Block& block = *m.waiting.first->block;
    text += concat("; the mbarrier at ", static_cast<const std::byte*>(barrier) - block.shared,
                   " of shared memory misses ", m.missing, " of ", m.expected, " arrivals and ",
                   m.bytes, " bytes of phase ", m.phase);
  }
  return text;
}

AsyncUnit::ThreadState& AsyncUnit::of(Thread& thread) {
  if (thread.extension) [[likely]]
    return *static_cast<ThreadState*>(thread.extension);
  if (used_threads_ == threads_.size()) threads_.emplace_back();
  ThreadState& state = threads_[used_threads_++];
  state.copies.issuer = &thread;
  state.copies.list.clear();
  state.copies.group_end.clear();
  state.copies.first = state.copies.done = 0;
  state.stores.open.clear();
  state.stores.committed.clear();
  thread.extension = &state;
  return state;
}

void AsyncUnit::start(std::function<void()> perform) {
  if (interpreter_.schedule().lazy)
    flights_.push_back({std::move(perform)});
  else
    perform();
}

// ---------------------------------------------------------------- barriers

void AsyncUnit::init(void* barrier, uint32_t arrivals, const void* site) {
  check_own(barrier, 8, "init_mbarrier", "the barrier", site);
  check_aligned(barrier, 8, "init_mbarrier", "the address", site);
  if (arrivals < 1 || arrivals > max_bytes_in_flight)
    fault(concat("init_mbarrier: ", arrivals, " arrivals"), site);
  see(barrier, 8, Access::write, site);
  const uint64_t tag = tag_of(barrier);
  std::memcpy(barrier, &tag, 8);
  Mbarrier& m = barriers_[barrier];
  if (m.waiting.first) fault("init_mbarrier: threads wait at this barrier", site);
  m = Mbarrier();
  m.expected = m.missing = arrivals;
  unfenced_.push_back(barrier);
}

void AsyncUnit::invalidate(void* barrier, const char* name, const void* site) {
  if (at(barrier, name, site).waiting.first) fault(concat(name, ": threads wait at it"), site);
  barriers_.erase(barrier);
  std::memset(barrier, 0xff, 8);
}

Mbarrier& AsyncUnit::at(const void* barrier, const char* name, const void* site) {
  const auto it = barriers_.find(barrier);
  if (it == barriers_.end()) fault(concat(name, ": the mbarrier is not initialised"), site);
  uint64_t tag;
  std::memcpy(&tag, barrier, 8);
  if (tag != tag_of(barrier)) fault(concat(name, ": the mbarrier has been written over"), site);
  return it->second;
}

void AsyncUnit::fence_init() {
  for (const void* barrier : unfenced_)
    if (const auto it = barriers_.find(barrier); it != barriers_.end()) it->second.fenced = true;
  unfenced_.clear();
}

void AsyncUnit::advance(const void* barrier, Mbarrier& m) {
  if (m.missing != 0 || m.bytes != 0) return;
  ++m.phase;
  m.missing = m.expected;
  if (tracing().forget) tracing().forget(knowledge_of(barrier, m.phase));
  interpreter_.wake(m.waiting);
}

void AsyncUnit::arrive(void* barrier, uint32_t count, const char* name, const void* site) {
  Mbarrier& m = at(barrier, name, site);
  if (count > m.missing)
    fault(concat(name, ": ", count, " arrivals where the phase misses ", m.missing, " of ",
                 m.expected),
          site);
  m.missing -= count;
  advance(barrier, m);
}

void AsyncUnit::expect(void* barrier, uint32_t bytes, const char* name, const void* site) {
  Mbarrier& m = at(barrier, name, site);
  m.bytes += bytes;
  if (m.bytes > max_bytes_in_flight)
    fault(concat(name, ": a phase expects at most ", max_bytes_in_flight, " bytes"), site);
}

void AsyncUnit::receive(void* barrier, uint32_t bytes) {
  Mbarrier& m = at(barrier, "asynchronous copy", nullptr);
  m.bytes -= bytes;
  advance(barrier, m);
}

namespace {

/// What the caller knows is known to those who wait for the current phase.
void tell(const void* barrier, const char* name, const void* site) {
  const Mbarrier& m = unit().at(barrier, name, site);
  see(barrier, 8, Access::atomic, site);
  if (tracing().release) tracing().release(knowledge_of(barrier, m.phase));
}

/// A barrier of the caller's cluster; another block's must be known to have been initialised.
void check_barrier(const void* barrier, const char* name, const void* site) {
  const Block* const block = holder(barrier, 8);
  if (!block)
    fault(concat(name, ": the mbarrier is not in the shared memory of the cluster"), site);
  if (block != current().block && !unit().at(barrier, name, site).fenced)
    fault(concat(name, ": another block's mbarrier without fence_mbarrier_init"), site);
}

}  // namespace

void init_mbarrier(void* barrier, uint32_t arrivals) { unit().init(barrier, arrivals, SITE); }
void invalidate_mbarrier(void* barrier) {
  see(barrier, 8, Access::write, SITE);
  unit().invalidate(barrier, "invalidate_mbarrier", SITE);
}
void fence_mbarrier_init() { unit().fence_init(); }

void arrive_mbarrier(void* barrier, uint32_t count) {
  check_barrier(barrier, "arrive_mbarrier", SITE);
  tell(barrier, "arrive_mbarrier", SITE);
  unit().arrive(barrier, count, "arrive_mbarrier", SITE);
}
void expect_bytes(void* barrier, uint32_t bytes, uint32_t count) {
  check_barrier(barrier, "expect_bytes", SITE);
  tell(barrier, "expect_bytes", SITE);
  unit().expect(barrier, bytes, "expect_bytes", SITE);
  if (count) unit().arrive(barrier, count, "expect_bytes", SITE);
}

namespace {

/// Whether the phase of that parity is over; the caller then knows what was told to it.
bool passed(const void* barrier, uint32_t parity, const char* name, const void* site) {
  check_own(barrier, 8, name, "the mbarrier", site);
  if (parity > 1) fault(concat(name, ": parity ", parity), site);
  see(barrier, 8, Access::atomic, site);
  const Mbarrier& m = unit().at(barrier, name, site);
  if (m.phase % 2 == parity) return false;
  if (tracing().acquire && m.phase > 0) tracing().acquire(knowledge_of(barrier, m.phase - 1));
  return true;
}

}  // namespace

bool test_mbarrier(void* barrier, uint32_t parity) {
  if (passed(barrier, parity, "test_mbarrier", SITE)) return true;
  unit().progress();
  unit().interpreter().yield();
  return false;
}

void wait_mbarrier(void* barrier, uint32_t parity) {
  const void* const site = SITE;
  if (passed(barrier, parity, "wait_mbarrier", site)) return;
  Mbarrier& m = unit().at(barrier, "wait_mbarrier", site);
  unit().interpreter().wait_in(m.waiting, Wait::phase, "wait_mbarrier", site);
  if (!passed(barrier, parity, "wait_mbarrier", site))
    fault("wait_mbarrier: the next phase was over before this thread saw the end of its own", site);
}

void fence_async_proxy() {
  unit().fence_init();
  if (tracing().fence_proxy) tracing().fence_proxy();
}

// ---------------------------------------------------------------- copies of one thread

void copy_async(void* shared, const void* global, uint32_t bytes, uint32_t source_bytes) {
  const void* const site = SITE;
  if ((bytes != 4 && bytes != 8 && bytes != 16) || source_bytes > bytes)
    fault(concat("copy_async: ", source_bytes, " of ", bytes, " bytes"), site);
  check_own(shared, bytes, "copy_async", "the destination", site);
  check_aligned(shared, bytes, "copy_async", "the destination", site);
  if (source_bytes) check_aligned(global, bytes, "copy_async", "the source", site);
  if (tracing().access) tracing().access(global, source_bytes, Access::read, site);
  see(shared, bytes, Access::write, site);
  AsyncUnit& u = unit();
  if (u.interpreter().schedule().lazy) std::memset(shared, 0xff, bytes);
  u.add(u.of(current()).copies,
        {static_cast<std::byte*>(shared), static_cast<const std::byte*>(global), bytes,
         source_bytes, site, mark()});
}

void commit_copies() { unit().of(current()).copies.commit(); }

void wait_copies(uint32_t groups) {
  AsyncUnit::Copies& copies = unit().of(current()).copies;
  if (groups == ~0u) copies.commit();
  copies.wait(groups == ~0u ? 0 : groups);
}

void arrive_after_copies(void* barrier) {
  const void* const site = SITE;
  check_own(barrier, 8, "arrive_after_copies", "the mbarrier", site);
  tell(barrier, "arrive_after_copies", site);
  AsyncUnit& u = unit();
  AsyncUnit::Copies& copies = u.of(current()).copies;
  u.start([&u, &copies, barrier, site, end = copies.started()] {
    copies.perform(end);
    u.arrive(barrier, 1, "arrive_after_copies", site);
  });
}

// ---------------------------------------------------------------- bulk copies

namespace {

/// Global memory sees pieces that follow each other there as one access.
template <class Side>
void see_runs(const std::vector<Move>& moves, Side side, Access access, const void* site) {
  for (size_t i = 0; i < moves.size();) {
    const std::byte* const begin = moves[i].*side;
    size_t bytes = 0;
    do {
      bytes += moves[i++].bytes;
    } while (i < moves.size() && begin && moves[i].*side == begin + bytes);
    if (begin) see(begin, bytes, access, site);
  }
}

}  // namespace

void load_pieces(void* shared, const std::vector<Move>& moves, uint32_t bytes, void* barrier,
                 uint32_t blocks, const char* name, const void* site,
                 std::optional<uint32_t> swizzle) {
  Block* const at = holder(shared, 1);
  if (!at || !lies_in(*at, shared, bytes))
    fault(concat(name, ": the destination is not in the shared memory of the cluster"), site);
  if (!lies_in(*at, barrier, 8))
    fault(concat(name, ": the mbarrier is not in the block that receives"), site);
  see_runs(moves, &Move::from, Access::read, site);
  AsyncUnit& u = unit();
  const bool lazy = u.interpreter().schedule().lazy;
  const uint32_t all = blocks ? blocks : 1u << at->cluster_rank;
  if (all >> at->cluster_blocks)
    fault(concat(name, ": mask ", blocks, " names blocks that the cluster lacks"), site);
  for (const auto& candidate : u.interpreter().blocks()) {
    Block& block = *candidate;
    if (block.cluster_first != at->cluster_first || !(all >> block.cluster_rank & 1)) continue;
    void* const signal = moved(barrier, *at, block);
    std::vector<Move> here = moves;
    for (Move& m : here) {
      m.to = static_cast<std::byte*>(moved(m.to, *at, block));
      see(m.to, m.bytes, Access::proxy_write, site);
      if (swizzle && tracing().lay_out) tracing().lay_out(m.to, m.bytes, *swizzle);
      if (lazy) std::memset(m.to, 0xff, m.bytes);
    }
    if (!u.at(signal, name, site).fenced)
      fault(concat(name,
                   ": the mbarrier was initialised, but fence_mbarrier_init or "
                   "fence_async_proxy did not follow"),
            site);
    tell(signal, name, site);
    u.start([&u, signal, bytes, here = std::move(here)] {
      for (const Move& m : here) {
        if (m.from)
          std::memcpy(m.to, m.from, m.bytes);
        else
          std::memset(m.to, 0, m.bytes);
      }
      u.receive(signal, bytes);
    });
  }
}

void store_pieces(std::vector<Move> moves, BulkWrite write, const void* site) {
  for (const Move& m : moves) see(m.from, m.bytes, Access::proxy_read, site);
  see_runs(moves, &Move::to, write == BulkWrite::copy ? Access::proxy_write : Access::atomic_write,
           site);
  AsyncUnit& u = unit();
  const auto all = std::make_shared<const std::vector<Move>>(std::move(moves));
  u.add(u.of(current()).stores, {[write, all] {
                                   for (const Move& m : *all)
                                     write_bytes(m.to, m.from, m.bytes, write);
                                 },
                                 [all, began = mark(), site] {
                                   if (!tracing().end_access) return;
                                   for (const Move& m : *all)
                                     tracing().end_access(m.from, m.bytes, Access::proxy_read,
                                                          began, site);
                                 }});
}

namespace {

void check_bulk(const void* a, const void* b, uint32_t bytes, const char* name, const void* site) {
  check_aligned(a, 16, name, "the destination", site);
  check_aligned(b, 16, name, "the source", site);
  if (bytes % 16 != 0) fault(concat(name, ": ", bytes, " bytes is not a multiple of 16"), site);
}

}  // namespace

void bulk_load(void* shared, const void* global, uint32_t bytes, void* barrier, uint32_t blocks) {
  check_bulk(shared, global, bytes, "bulk_load", SITE);
  load_pieces(shared,
              {{static_cast<std::byte*>(shared), static_cast<const std::byte*>(global), bytes}},
              bytes, barrier, blocks, "bulk_load", SITE);
}

void bulk_send(void* shared, const void* own_shared, uint32_t bytes, void* barrier) {
  const void* const site = SITE;
  check_bulk(shared, own_shared, bytes, "bulk_send", site);
  check_own(own_shared, bytes, "bulk_send", "the source", site);
  see(own_shared, bytes, Access::proxy_read, site);
  load_pieces(shared,
              {{static_cast<std::byte*>(shared), static_cast<const std::byte*>(own_shared), bytes}},
              bytes, barrier, 0, "bulk_send", site);
}

void bulk_store(void* global, const void* shared, uint32_t bytes, BulkWrite write) {
  check_bulk(global, shared, bytes, "bulk_store", SITE);
  check_own(shared, bytes, "bulk_store", "the source", SITE);
  store_pieces({{static_cast<std::byte*>(global), static_cast<const std::byte*>(shared), bytes}},
               write, SITE);
}

void commit_bulk() { unit().of(current()).stores.commit(); }
void wait_bulk(uint32_t groups) { unit().of(current()).stores.wait(groups); }

}  // namespace tessera::simt
