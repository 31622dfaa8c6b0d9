#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "tessera/runtime/simt/fiber.hpp"

/// Runs CUDA kernels that were compiled for the host. A block's threads are fibers on one OS
/// thread: each runs until it must wait for others (a barrier, a collective of its warp, an
/// asynchronous copy), and the one that lets the others go on continues at once. Blocks are spread
/// over OS threads; blocks of one cluster, or of a cooperative grid, share one.
///
/// A thread that never waits costs no fiber of its own: the next one starts on the stack it leaves.
/// Nothing here allocates while a kernel runs, except for reports.
namespace tessera::simt {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  constexpr uint64_t count() const { return uint64_t{x} * y * z; }
};

inline constexpr uint32_t warp_size = 32;
inline constexpr uint32_t named_barriers = 16;
inline constexpr uint32_t max_block_threads = 1024;
inline constexpr size_t max_shared_bytes = 227 * 1024;  // of one block, sm_90
inline constexpr size_t static_shared_bytes = 48 * 1024;

/// What a kernel is launched with. `body(argument)` is one thread's run of the kernel.
struct Launch {
  const char* name;
  Dim3 grid, block, cluster = {};
  size_t shared_bytes = 0;   // dynamic shared memory
  bool cooperative = false;  // all blocks resident at once, grid_barrier allowed
  void (*body)(const void*);
  const void* argument;
  size_t argument_bytes;
};

/// How the interpreter orders what the hardware may do in any order.
struct Schedule {
  uint64_t seed = 0;  // 0: blocks, warps and lanes in order; others permute them
  bool lazy = true;   // asynchronous work completes as late as legal, else as early
};

struct Thread;
struct Warp;
struct Block;
struct Strand;
class AsyncUnit;
class Interpreter;

/// Threads that wait for one thing, in order of arrival.
struct WaitList {
  Thread* first = nullptr;
  Thread* last = nullptr;
};

enum class Wait : uint8_t {
  nothing,
  barrier,
  cluster_barrier,
  grid_barrier,
  collective,
  phase,
  product
};

struct Thread {
  enum class State : uint8_t { fresh, ready, running, waiting, exited };

  struct Strand* strand = nullptr;  // the fiber it runs on, once started
  Warp* warp = nullptr;
  Block* block = nullptr;
  Dim3 index;         // threadIdx
  uint32_t rank = 0;  // in the block
  uint32_t lane = 0;
  State state = State::fresh;
  Wait wait = Wait::nothing;
  const char* waits_in = "";   // the wrapper it waits in
  const void* site = nullptr;  // where the kernel called it
  void* slot = nullptr;        // its part of a collective
  uint64_t cluster_phase = 0;  // of the cluster barrier it arrived at last
  Thread* next = nullptr;      // in the ready queue or a wait list
  void* extension = nullptr;   // of the asynchronous unit (async.hpp)
};

/// A whole-warp operation that waits for lanes: the last one to arrive does the work for all.
struct Collective {
  uint32_t mask = 0, arrived = 0;
  const char* name = nullptr;
};

struct Warp {
  Block* block = nullptr;
  Thread* lanes = nullptr;
  uint32_t rank = 0, size = 0;
  uint32_t exited = 0;  // mask of lanes
  Collective pending[warp_size];
  uint32_t pending_count = 0;
};

struct Barrier {
  uint32_t arrived = 0;
  uint32_t expected = 0;  // 0: all live threads of the block
  uint64_t phase = 0;
  const void* site = nullptr;  // of the first arrival
  WaitList waiting;
};

struct Block {
  Interpreter* interpreter = nullptr;
  const Launch* launch = nullptr;
  Dim3 index;  // blockIdx
  uint32_t cluster_rank = 0, cluster_blocks = 1;
  Block* cluster_first = nullptr;  // blocks of a cluster are neighbours in memory
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  uint32_t live = 0;
  Barrier barriers[named_barriers];
  Barrier cluster_barrier;      // of the cluster whose first block this is
  std::byte* shared = nullptr;  // dynamic shared memory, then static, 1024-byte aligned
  size_t shared_bytes = 0;      // of both
  size_t static_used = 0;
  struct Static {
    const void* key;
    size_t offset;
  };
  std::vector<Static> statics;
};

/// Interprets blocks on one OS thread; one object per OS thread, made on first use.
class Interpreter {
 public:
  Interpreter();
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  /// Runs the blocks [first, first + count) of the grid, in linear order, side by side to their
  /// end. Throws the Error of the first thread that failed, or says which threads wait for what
  /// when none can go on.
  void run(const Launch& launch, uint64_t first, uint32_t count, const Schedule& schedule);

  // --- for the device functions, called on the fiber of `current()` ---

  /// Leaves the calling thread in `list`; returns when it is woken.
  void wait_in(WaitList& list, Wait what, const char* name, const void* site);
  void wake(WaitList& list);
  /// Lets other threads run; returns soon.
  void yield();
  void block_barrier(uint32_t id, uint32_t count, bool waits, const char* name, const void* site);
  void cluster_barrier(bool arrive, bool waits, const void* site);
  void grid_barrier(const void* site);
  /// Gives the launch up as an exception from the kernel does, where none may be thrown: what the
  /// threads were doing is left as it is.
  [[noreturn]] void abandon(std::exception_ptr failure);

  /// The copies and mbarriers of the blocks that run, made on first use.
  AsyncUnit& async();

  const Schedule& schedule() const { return schedule_; }
  std::vector<std::unique_ptr<Block>>& blocks() { return blocks_; }
  uint32_t block_count() const { return block_count_; }

 private:
  friend void collective(uint32_t, const char*, void*, void (*)(void**, uint32_t), const void*);
  static void strand_main(void* strand);
  Thread* next_ready();
  std::string deadlock() const;
  void prepare(const Launch& launch, uint64_t first, uint32_t count);
  void switch_to(Context& from, Thread* thread);
  void suspend(Thread& thread);
  void finish(Thread& thread);
  Strand* idle_strand();
  void arrive(Barrier& barrier, uint64_t expected, bool waits, Wait what, const char* name,
              const void* site);
  void release(Barrier& barrier);

  std::vector<std::unique_ptr<Block>> blocks_;
  uint32_t block_count_ = 0;
  Schedule schedule_;
  WaitList ready_;
  bool warps_first_ = true;  // lanes that a collective lets go on run before other warps
  uint64_t live_ = 0;
  Barrier grid_;
  std::vector<std::unique_ptr<StackPool>> stacks_;
  std::vector<std::unique_ptr<Strand>> strands_;
  std::vector<Strand*> idle_;
  size_t used_strands_ = 0;
  Context main_;
  std::exception_ptr failure_;
  std::byte* shared_ = nullptr;
  size_t shared_capacity_ = 0;
  std::unique_ptr<AsyncUnit> async_;
};

/// The thread that runs now on this OS thread. Only for code that a kernel calls.
[[gnu::const]] Thread& current();
bool in_kernel();

/// Waits until all lanes of `mask` have come here with their slots; the last to arrive calls
/// finish(slots by lane, mask) for all of them. Faults when the caller is not in the mask, when the
/// mask names lanes that have exited or wait elsewhere, and when lanes meet in different
/// operations.
void collective(uint32_t mask, const char* name, void* slot, void (*finish)(void**, uint32_t),
                const void* site);

/// The block's static shared memory for `key`: the same for all threads of a block.
std::byte* static_shared(const void* key, size_t bytes, size_t alignment);

/// Runs a whole grid, on several OS threads where it has several groups of blocks. Checks the sizes
/// as a GPU of compute capability 9.0 would.
void launch(const Launch& launch);

Schedule schedule();
void set_schedule(const Schedule& schedule);

/// Stops the kernel with an Error that says what is wrong, in which kernel, block, thread and
/// source line. `site`: a return address in the kernel, or null.
[[noreturn]] void fault(const std::string& what, const void* site);

/// "kernel name, block (x, y, z), thread (x, y, z)" of a thread.
std::string describe(const Thread& thread);
/// "file.cu:123", from the debugging information of the module; "" where there is none.
std::string source_line(const void* site);

}  // namespace tessera::simt
