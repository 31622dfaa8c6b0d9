#pragma once

#include <cstddef>
#include <memory>
#include <vector>

/// Contexts that are left and resumed on one OS thread: the stacks on which the interpreter keeps
/// the threads of a block. Never resume a fiber on another OS thread than the one it started on:
/// code in it may hold addresses of thread-local variables.
namespace tessera::simt {

/// A suspended point of execution: the stack pointer, below which the callee-saved registers lie.
struct Context {
  void* stack_pointer = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  const void* stack_bottom = nullptr;
  size_t stack_bytes = 0;
#endif
};

/// Suspends the caller into `from` and resumes `to`.
void switch_context(Context& from, Context& to);

/// A stack with a guard page below it, on which `entry(argument)` starts when it is first resumed;
/// `entry` must not return.
class Fiber {
 public:
  static constexpr size_t stack_bytes = 128 * 1024;

  /// `stack`: stack_bytes of memory. `index` shifts the first frame, since tops at equal offsets of
  /// many stacks would share the same sets of the first-level cache.
  void start(std::byte* stack, size_t index, void (*entry)(void*), void* argument);

  Context context;
#if defined(__SANITIZE_ADDRESS__)
  void (*first_call)(void*) = nullptr;
  void* first_argument = nullptr;
#endif
};

/// Memory for stacks, mapped in one piece, touched only where used, guarded at each lower end.
class StackPool {
 public:
  explicit StackPool(size_t count);
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  std::byte* stack(size_t index) const { return memory_ + index * stride_ + guard_; }

 private:
  size_t guard_, stride_, bytes_;
  std::byte* memory_;
};

}  // namespace tessera::simt
