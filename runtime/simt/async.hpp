#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tessera/runtime/simt/interpreter.hpp"

/// What kernels/cuda/ptx_async.cuh calls in a build for the host: copies that go on while the
/// thread does, and the barriers in shared memory that count them.
///
/// A lazy schedule moves nothing before somebody has to wait for it, and fills destinations with
/// NaN until then; an eager one moves everything at once. Both are legal on the hardware, and
/// between them they show most missing waits. With a seed, copies that nobody orders end in another
/// order.
namespace tessera::simt {

// ---- copies of one thread, in groups (cp.async)

/// `bytes` (4, 8, 16) to shared memory, the first `source_bytes` of them from global memory and
/// zeros behind.
void copy_async(void* shared, const void* global, uint32_t bytes, uint32_t source_bytes);
void commit_copies();
/// Until at most `groups` of the groups committed last may be unfinished; ~0u: until all copies are
/// done, committed or not.
void wait_copies(uint32_t groups);
/// One arrival at the barrier when the thread's copies so far are done.
void arrive_after_copies(void* barrier);

// ---- mbarriers

void init_mbarrier(void* barrier, uint32_t arrivals);
void invalidate_mbarrier(void* barrier);
void fence_mbarrier_init();
/// Arrives `count` times, in the caller's block or another of its cluster.
void arrive_mbarrier(void* barrier, uint32_t count);
/// Adds bytes that the current phase waits for, then arrives `count` times (0 or 1).
void expect_bytes(void* barrier, uint32_t bytes, uint32_t count);
bool test_mbarrier(void* barrier, uint32_t parity);
void wait_mbarrier(void* barrier, uint32_t parity);
/// Makes this thread's writes visible to copies and products that read shared memory.
void fence_async_proxy();

// ---- bulk copies

/// To shared memory; `barrier` gets the bytes. `blocks`: the blocks of the cluster that receive
/// them, at the same offsets, or 0 for the one that the addresses lie in.
void bulk_load(void* shared, const void* global, uint32_t bytes, void* barrier, uint32_t blocks);
/// From the block's shared memory to another block of its cluster.
void bulk_send(void* shared, const void* own_shared, uint32_t bytes, void* barrier);

enum class BulkWrite : uint8_t { copy, add_f32, add_f16, add_bf16, add_i32 };
void bulk_store(void* global, const void* shared, uint32_t bytes, BulkWrite write);
void commit_bulk();
/// Until at most `groups` of the groups committed last may be unfinished.
void wait_bulk(uint32_t groups);

// ---- boxes of tensors

/// How the interpreter fills the 128 opaque bytes of a tensor map.
struct TensorBox {
  std::byte* base;
  uint32_t rank, element_bytes, swizzle;  // log2 of the span / 16 bytes: 0 (none), 1, 2, 3
  uint32_t extent[5], box[5];             // innermost first
  uint64_t stride[4];                     // in bytes, of dimensions 1, 2, ...
};
static_assert(sizeof(TensorBox) <= 128);

void tensor_load(void* shared, const void* map, const int32_t* start, void* barrier,
                 uint32_t blocks);
void tensor_store(const void* map, const int32_t* start, const void* shared, BulkWrite write);

// ---- the state behind

struct Warpgroup;  // warpgroup.cpp
bool has_unfinished_products(const Warpgroup& group);

struct Mbarrier {
  uint32_t expected = 0, missing = 0;  // arrivals per phase and still to come
  int64_t bytes = 0;                   // still to come
  uint64_t phase = 0;
  bool fenced = false;  // its initialisation is known to copies
  WaitList waiting;
};

/// One interpreter's copies and barriers.
class AsyncUnit {
 public:
  explicit AsyncUnit(Interpreter& interpreter) : interpreter_(interpreter) {}

  /// Forgets everything: other blocks are about to run.
  void begin();
  /// Throws when copies or bytes are left over after the last thread.
  void end() const;
  /// Ends one copy in flight. False where there is none.
  bool progress();
  /// The calling thread exits.
  void finish(Thread& thread);
  /// What barriers with waiting threads wait for.
  std::string describe() const;

  /// Something that happens later, by itself.
  struct Flight {
    std::function<void()> perform;
  };
  /// A group member: done when somebody waits for its group, or earlier.
  struct Piece {
    std::function<void()> perform;
    bool done = false;
  };
  using Group = std::vector<std::shared_ptr<Piece>>;
  struct Pipeline {
    Group open;
    std::deque<Group> committed;
  };
  struct ThreadState {
    Pipeline copies, stores;
  };

  ThreadState& of(Thread& thread);
  void start(std::function<void()> perform);
  void add(Pipeline& pipeline, std::function<void()> perform);
  static void commit(Pipeline& pipeline);
  static void drain(Pipeline& pipeline, uint32_t groups);

  void init(void* barrier, uint32_t arrivals, const void* site);
  void invalidate(void* barrier, const char* name, const void* site);
  Mbarrier& at(const void* barrier, const char* name, const void* site);
  void fence_init();
  void arrive(void* barrier, uint32_t count, const char* name, const void* site);
  void expect(void* barrier, uint32_t bytes, const char* name, const void* site);
  void receive(void* barrier, uint32_t bytes);
  /// Threads 128 `number` and up of a block.
  Warpgroup& warpgroup(const Block& block, uint32_t number);
  Interpreter& interpreter() { return interpreter_; }

 private:
  void advance(const void* barrier, Mbarrier& m);

  Interpreter& interpreter_;
  std::unordered_map<const void*, Mbarrier> barriers_;
  std::vector<Flight> flights_;
  std::deque<ThreadState> threads_;
  std::vector<const void*> unfenced_;
  std::map<std::pair<const Block*, uint32_t>, std::shared_ptr<Warpgroup>> warpgroups_;
  uint64_t random_ = 1;
};

}  // namespace tessera::simt
