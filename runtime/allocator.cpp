#include "tessera/runtime/allocator.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera {

Allocator::~Allocator() = default;

void* DriverAllocator::allocate(size_t bytes, Stream& stream) {
  if (bytes == 0) return nullptr;
  return stream.driver().allocate(bytes, stream.device().index, stream.native());
}

void DriverAllocator::deallocate(void* data, size_t bytes, Stream& stream) noexcept {
  if (data) stream.driver().deallocate(data, bytes, stream.device().index, stream.native());
}

// ---- CachingAllocator --------------------------------------------------------------------------

namespace {

constexpr size_t small_limit = size_t{64} << 10;
constexpr int small_classes = 11;  // 64 B, 128 B, ... 64 KiB
constexpr size_t per_class_bytes = size_t{1} << 20;

int small_class(size_t bytes) { return bytes <= 64 ? 0 : std::bit_width(bytes - 1) - 6; }
size_t class_bytes(int index) { return size_t{64} << index; }
// Large blocks come in sixteen sizes per power of two, so at most 6 % is wasted and sizes repeat.
size_t large_bytes(size_t bytes) {
  const size_t step = std::max<size_t>(4096, std::bit_floor(bytes) / 16);
  return (bytes + step - 1) / step * step;
}

}  // namespace

struct CachingAllocator::State {
  // Idle small blocks of one thread. Host memory only, so a block may be freed on any thread.
  struct ThreadLists {
    std::atomic<State*> owner;  // null once the allocator is gone
    std::vector<void*> blocks[small_classes];
    ~ThreadLists();
    void give_back(Allocator& upstream) noexcept;
  };
  struct IdleKey {
    const Stream* stream;
    size_t bytes;
    bool operator<(const IdleKey& other) const {
      return std::tie(stream, bytes) < std::tie(other.stream, other.bytes);
    }
  };

  explicit State(std::shared_ptr<Allocator> up) : upstream(std::move(up)) {}

  std::shared_ptr<Allocator> upstream;
  std::mutex mutex;
  std::map<IdleKey, std::vector<void*>> idle;
  std::vector<ThreadLists*> threads;

  ThreadLists* lists();
};

namespace {
// A thread's list holders, one per allocator; almost always one entry.
template <class Lists>
struct ThreadRegistry {
  std::vector<std::unique_ptr<Lists>> entries;
  bool* dead;
  explicit ThreadRegistry(bool* flag) : dead(flag) {}
  ~ThreadRegistry() { *dead = true; }
};
}  // namespace

CachingAllocator::State::ThreadLists* CachingAllocator::State::lists() {
  static thread_local bool dead = false;  // tensors freed after the thread's own destructors ran
  if (dead) return nullptr;
  static thread_local ThreadLists* last = nullptr;
  if (last && last->owner.load(std::memory_order_relaxed) == this) return last;
  static thread_local ThreadRegistry<ThreadLists> registry(&dead);
  last = nullptr;
  std::erase_if(registry.entries, [](const auto& lists) { return lists->owner == nullptr; });
  for (auto& lists : registry.entries)
    if (lists->owner == this) return last = lists.get();
  auto added = std::make_unique<ThreadLists>();
  {
    std::lock_guard lock(mutex);
    threads.push_back(added.get());
  }
  added->owner = this;
  registry.entries.push_back(std::move(added));
  return last = registry.entries.back().get();
}

void CachingAllocator::State::ThreadLists::give_back(Allocator& upstream) noexcept {
  Stream& stream = current_stream(Device::cpu());
  for (int c = 0; c < small_classes; ++c) {
    for (void* block : blocks[c]) upstream.deallocate(block, class_bytes(c), stream);
    blocks[c].clear();
  }
}

// A thread may end while another destroys the allocator: one of them comes first.
static std::mutex& ending() {
  static auto& mutex = *new std::mutex;
  return mutex;
}

CachingAllocator::State::ThreadLists::~ThreadLists() {
  std::lock_guard one_of_them(ending());
  State* state = owner;
  if (!state) return;
  std::lock_guard lock(state->mutex);
  std::erase(state->threads, this);
  give_back(*state->upstream);
}

CachingAllocator::CachingAllocator(std::shared_ptr<Allocator> upstream)
    : state_(std::make_unique<State>(std::move(upstream))) {}

CachingAllocator::~CachingAllocator() {
  trim();
  std::lock_guard one_of_them(ending());
  for (auto* lists : state_->threads) {
    lists->give_back(*state_->upstream);
    lists->owner = nullptr;
  }
}

void* CachingAllocator::allocate(size_t bytes, Stream& stream) {
  if (bytes == 0) return nullptr;
  const bool host = stream.device().type == Device::Type::cpu;
  if (host && bytes <= small_limit) {
    const int c = small_class(bytes);
    if (auto* lists = state_->lists(); lists && !lists->blocks[c].empty()) {
      void* block = lists->blocks[c].back();
      lists->blocks[c].pop_back();
      return block;
    }
    return allocate_fresh(class_bytes(c), stream);
  }
  const size_t rounded = large_bytes(bytes);
  {
    std::lock_guard lock(state_->mutex);
    auto it = state_->idle.find({host ? nullptr : &stream, rounded});
    if (it != state_->idle.end() && !it->second.empty()) {
      void* block = it->second.back();
      it->second.pop_back();
      return block;
    }
  }
  return allocate_fresh(rounded, stream);
}

void* CachingAllocator::allocate_fresh(size_t bytes, Stream& stream) {
  try {
    return state_->upstream->allocate(bytes, stream);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::out_of_memory) throw;
    trim();
    return state_->upstream->allocate(bytes, stream);
  }
}

void CachingAllocator::deallocate(void* data, size_t bytes, Stream& stream) noexcept {
  if (!data) return;
  const bool host = stream.device().type == Device::Type::cpu;
  if (host && bytes <= small_limit) {
    const int c = small_class(bytes);
    auto* lists = state_->lists();
    if (lists && lists->blocks[c].size() * class_bytes(c) < per_class_bytes)
      lists->blocks[c].push_back(data);
    else
      state_->upstream->deallocate(data, class_bytes(c), stream);
    return;
  }
  std::lock_guard lock(state_->mutex);
  state_->idle[{host ? nullptr : &stream, large_bytes(bytes)}].push_back(data);
}

void CachingAllocator::trim() {
  if (auto* lists = state_->lists()) lists->give_back(*state_->upstream);
  std::map<State::IdleKey, std::vector<void*>> idle;
  {
    std::lock_guard lock(state_->mutex);
    idle.swap(state_->idle);
  }
  for (auto& [key, blocks] : idle) {
    Stream& stream = key.stream ? const_cast<Stream&>(*key.stream) : current_stream(Device::cpu());
    for (void* block : blocks) state_->upstream->deallocate(block, key.bytes, stream);
  }
}

// ---- decorators --------------------------------------------------------------------------------

void* TrackingAllocator::allocate(size_t bytes, Stream& stream) {
  void* data = upstream_->allocate(bytes, stream);
  if (!data) return data;
  const int64_t live = live_bytes_ += static_cast<int64_t>(bytes);
  ++live_blocks_;
  ++allocations_;
  int64_t peak = peak_bytes_;
  while (live > peak && !peak_bytes_.compare_exchange_weak(peak, live)) {
  }
  return data;
}

void TrackingAllocator::deallocate(void* data, size_t bytes, Stream& stream) noexcept {
  if (data) {
    live_bytes_ -= static_cast<int64_t>(bytes);
    --live_blocks_;
  }
  upstream_->deallocate(data, bytes, stream);
}

void* LimitAllocator::allocate(size_t bytes, Stream& stream) {
  const auto wanted = static_cast<int64_t>(std::min<size_t>(bytes, INT64_MAX / 2));
  const int64_t live = live_bytes_ += wanted;
  if (live > limit_) {
    live_bytes_ -= wanted;
    throw Error(ErrorKind::out_of_memory,
                concat("memory limit of ", limit_, " bytes on ", stream.device(), ": ",
                       live_bytes_.load(), " in use, ", bytes, " more wanted"));
  }
  try {
    return upstream_->allocate(bytes, stream);
  } catch (...) {
    live_bytes_ -= wanted;
    throw;
  }
}

void LimitAllocator::deallocate(void* data, size_t bytes, Stream& stream) noexcept {
  live_bytes_ -= static_cast<int64_t>(bytes);
  upstream_->deallocate(data, bytes, stream);
}

namespace {
constexpr size_t zone = 256;
constexpr unsigned char zone_byte = 0xA5;
}  // namespace

void* GuardAllocator::allocate(size_t bytes, Stream& stream) {
  if (bytes == 0) return nullptr;
  auto* block = static_cast<unsigned char*>(upstream_->allocate(bytes + 2 * zone, stream));
  std::memset(block, zone_byte, zone);
  std::memset(block + zone, 0xFF, bytes);  // every float format reads all-ones as NaN
  std::memset(block + zone + bytes, zone_byte, zone);
  return block + zone;
}

void GuardAllocator::deallocate(void* data, size_t bytes, Stream& stream) noexcept {
  if (!data) return;
  auto* block = static_cast<unsigned char*>(data) - zone;
  for (size_t i = 0; i < zone; ++i) {
    const bool before = block[i] != zone_byte, after = block[zone + bytes + i] != zone_byte;
    if (!before && !after) continue;
    if (!report_only_) {
      std::fprintf(stderr, "tessera: out-of-bounds write %s a block of %zu bytes, at offset %lld\n",
                   before ? "before" : "after", bytes,
                   before ? static_cast<long long>(i) - static_cast<long long>(zone)
                          : static_cast<long long>(bytes + i));
      std::abort();
    }
    ++damaged_blocks_;
    break;
  }
  upstream_->deallocate(block, bytes + 2 * zone, stream);
}

// ---- current allocator -------------------------------------------------------------------------

namespace {
std::shared_ptr<Allocator>& current_slot(Device::Type type) {
  // Never destroyed: static tensors of the program may be freed after this file's statics.
  static auto& process_wide = *new std::array<std::shared_ptr<Allocator>, device_type_count>{
      std::make_shared<CachingAllocator>(std::make_shared<DriverAllocator>()),
      std::make_shared<CachingAllocator>(std::make_shared<DriverAllocator>()),
      std::make_shared<CachingAllocator>(std::make_shared<DriverAllocator>())};
  static thread_local auto mine = process_wide;
  return mine[static_cast<size_t>(type)];
}
}  // namespace

const std::shared_ptr<Allocator>& current_allocator(Device::Type type) {
  return current_slot(type);
}

AllocatorScope::AllocatorScope(Device::Type type, std::shared_ptr<Allocator> allocator)
    : type_(type), previous_(std::exchange(current_slot(type), std::move(allocator))) {}

AllocatorScope::~AllocatorScope() { current_slot(type_) = std::move(previous_); }

}  // namespace tessera
