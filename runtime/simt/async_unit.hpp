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

#include "tessera/runtime/simt/async.hpp"
#include "tessera/runtime/simt/interpreter.hpp"

/// The state behind async.hpp: what one interpreter's threads have started and not waited for.
namespace tessera::simt {

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
  /// A copy of one thread to shared memory, zeros behind the bytes of its source.
  struct Copy {
    std::byte* shared;
    const std::byte* global;
    uint32_t bytes, source_bytes;
    const void* site;
    uint32_t mark;  // when it began
    bool moved = false;

    void move();
  };
  /// The copies of one thread, done in the order in which it started them: when it waits for their
  /// group, or earlier.
  struct Copies {
    const Thread* issuer = nullptr;
    std::vector<Copy> list;           // those from number `first` on
    uint64_t first = 0, done = 0;     // of all that were started
    std::vector<uint64_t> group_end;  // of groups that nobody has waited for

    uint64_t started() const { return first + list.size(); }
    void perform(uint64_t end);
    void commit() { group_end.push_back(started()); }
    void wait(size_t groups);
  };
  /// A bulk store; where it was early, it but ends.
  struct Store {
    std::function<void()> perform, end;
  };
  using Group = std::vector<Store>;
  struct Stores {
    Group open;
    std::deque<Group> committed;

    void commit();
    void wait(size_t groups);
  };
  struct ThreadState {
    Copies copies;
    Stores stores;
  };

  ThreadState& of(Thread& thread);
  void start(std::function<void()> perform);
  void add(Copies& copies, const Copy& copy);
  void add(Stores& stores, Store store);

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
  std::deque<ThreadState> threads_;  // the first ones are in use; all keep their memory
  size_t used_threads_ = 0;
  std::vector<const void*> unfenced_;
  std::map<std::pair<const Block*, uint32_t>, std::shared_ptr<Warpgroup>> warpgroups_;
  uint64_t random_ = 1;
};

}  // namespace tessera::simt
