#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tessera/runtime/driver.hpp"
#include "tessera/runtime/simt/interpreter.hpp"

/// What is seen of every load and store where kernels are compiled with -fsanitize=thread and
/// linked with trace.cpp in place of that sanitizer's library: accesses outside of memory,
/// misaligned ones, races, and how accesses of a warp fall on memory. In other builds nothing here
/// costs anything.
///
/// Races follow from vector clocks. A barrier orders all threads that meet there, sync_warp the
/// lanes of its mask, an atomic operation everybody who was at the same address before; shuffles
/// and votes order nothing. Threads of different blocks are ordered by atomics and cluster barriers
/// only. What goes on by itself is an access when it starts and another when it ends.
namespace tessera::simt {

/// Of each kernel since the last call, summed over its launches.
std::vector<KernelCounters> take_counters();

/// Tells which device memory kernels may use. `data` is forgotten when it is freed.
void add_device_memory(const void* data, size_t bytes);
void remove_device_memory(const void* data);

/// An access that is not the load or store of a thread, but of a copy or product that it started.
enum class Access : uint8_t {
  read,
  write,
  atomic,        // of an mbarrier
  atomic_write,  // of a reduction
  proxy_read,    // by the asynchronous proxy: what threads wrote must be fenced
  proxy_write,   // by the asynchronous proxy
};

/// What the interpreter tells while kernels run; all null where nothing is traced.
struct Tracing {
  void (*begin_launch)(const Launch&) = nullptr;
  void (*end_launch)() = nullptr;
  /// Blocks that run side by side.
  void (*begin_group)(Block* const* blocks, uint32_t count) = nullptr;
  void (*end_group)() = nullptr;
  /// The calling thread gives what it knows to whoever acquires `object` later.
  void (*release)(const void* object) = nullptr;
  void (*acquire)(const void* object) = nullptr;
  /// Nobody's knowledge is in the object any more.
  void (*forget)(const void* object) = nullptr;
  /// These threads have all come to one place: each knows what any of them knows.
  void (*meet)(Thread* const* threads, uint32_t count) = nullptr;
  /// The calling thread starts an access.
  void (*access)(const void* address, size_t bytes, Access access, const void* site) = nullptr;
  /// What the calling thread does from now on comes after the time that is returned.
  uint32_t (*mark)() = nullptr;
  /// An access that the calling thread has started at a time ends: nobody else may have touched
  /// the bytes meanwhile, nor the thread itself, but to read what is read.
  void (*end_access)(const void* address, size_t bytes, Access access, uint32_t mark,
                     const void* site) = nullptr;
  /// Registers of the calling thread that a product will write to, until they are let go.
  void (*hold)(const void* registers, size_t bytes) = nullptr;
  void (*let_go)(const void* registers) = nullptr;
  /// A box with this swizzle was copied to shared memory, until somebody else writes there.
  void (*lay_out)(const void* address, size_t bytes, uint32_t swizzle) = nullptr;
  /// A product reads what may be such a box with another swizzle.
  void (*check_layout)(const void* address, uint32_t swizzle, const void* site) = nullptr;
  /// The last thread of a block exits.
  void (*end_block)() = nullptr;
  /// What the calling thread knows of is visible to proxy_read from now on.
  void (*fence_proxy)() = nullptr;
  /// The calling thread waits at a barrier of its block.
  void (*wait)() = nullptr;
  /// The calling thread's warp has tensor cores multiply and add so many times.
  void (*operate)(uint64_t operations) = nullptr;
  std::vector<KernelCounters> (*take_counters)() = nullptr;
};
Tracing& tracing();

}  // namespace tessera::simt
