#include "tessera/runtime/simt/fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "tessera/runtime/error.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace tessera::simt {

#if defined(__x86_64__)

// Saves the registers that a callee must preserve on the old stack, restores them from the new one.
// The floating-point control words are the same for all fibers.
asm(R"(
.text
.p2align 4
.type tessera_simt_switch, @function
tessera_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tessera_simt_switch, .-tessera_simt_switch
.p2align 4
.type tessera_simt_start, @function
tessera_simt_start:
  movq %r12, %rdi
  xorl %ebp, %ebp
  jmp *%rbx
.size tessera_simt_start, .-tessera_simt_start
)");

namespace {
constexpr size_t saved_words = 7;  // six registers and the return address
constexpr size_t entry_gap = 72;   // a function starts 8 bytes below a multiple of 16
void fill_frame(void** frame, void (*entry)(void*), void* argument, void (*start)()) {
  frame[3] = argument;                        // r12
  frame[4] = reinterpret_cast<void*>(entry);  // rbx
  frame[6] = reinterpret_cast<void*>(start);  // return address
}
}  // namespace

#elif defined(__aarch64__)

asm(R"(
.text
.p2align 4
.type tessera_simt_switch, %function
tessera_simt_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size tessera_simt_switch, .-tessera_simt_switch
.p2align 4
.type tessera_simt_start, %function
tessera_simt_start:
  mov x0, x20
  mov x29, #0
  br x19
.size tessera_simt_start, .-tessera_simt_start
)");

namespace {
constexpr size_t saved_words = 20;
constexpr size_t entry_gap = 64;
void fill_frame(void** frame, void (*entry)(void*), void* argument, void (*start)()) {
  frame[0] = reinterpret_cast<void*>(entry);   // x19
  frame[1] = argument;                         // x20
  frame[11] = reinterpret_cast<void*>(start);  // x30, the return address
}
}  // namespace

#endif

#if defined(__x86_64__) || defined(__aarch64__)

extern "C" {
void tessera_simt_switch(void** save, void* resume) asm("tessera_simt_switch");
void tessera_simt_start() asm("tessera_simt_start");
}

#if defined(__SANITIZE_ADDRESS__)

// AddressSanitizer must hear of each switch: of the stack that it goes to before it, and on that
// stack after it, when it tells in turn where the stack that was left lies.
namespace {
thread_local Context* left;

void arrive(void* fake_stack) {
  __sanitizer_finish_switch_fiber(fake_stack, &left->stack_bottom, &left->stack_bytes);
}

void start_arrived(void* fiber) {
  arrive(nullptr);
  const auto* self = static_cast<Fiber*>(fiber);
  self->first_call(self->first_argument);
}
}  // namespace

void switch_context(Context& from, Context& to) {
  void* fake_stack = nullptr;
  left = &from;
  __sanitizer_start_switch_fiber(&fake_stack, to.stack_bottom, to.stack_bytes);
  tessera_simt_switch(&from.stack_pointer, to.stack_pointer);
  arrive(fake_stack);
}

#else

void switch_context(Context& from, Context& to) {
  tessera_simt_switch(&from.stack_pointer, to.stack_pointer);
}

#endif

void Fiber::start(std::byte* stack, size_t index, void (*entry)(void*), void* argument) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, stack_bytes);  // frames of an abandoned fiber
  context.stack_bottom = stack;
  context.stack_bytes = stack_bytes;
  first_call = std::exchange(entry, &start_arrived);
  first_argument = std::exchange(argument, this);
#endif
  const size_t colour = index % 64 * 192;
  const auto top = (reinterpret_cast<uintptr_t>(stack) + stack_bytes - colour) & ~uintptr_t{63};
  void** frame = reinterpret_cast<void**>(top - entry_gap) - saved_words;
  std::memset(static_cast<void*>(frame), 0, top - reinterpret_cast<uintptr_t>(frame));
  fill_frame(frame, entry, argument, &tessera_simt_start);
  context.stack_pointer = static_cast<void*>(frame);
}

#else  // any other processor: POSIX contexts, some thirty times slower

namespace {
struct PortableStart {
  void (*entry)(void*);
  void* argument;
};
void portable_entry(unsigned high, unsigned low) {
  const auto* start =
      reinterpret_cast<PortableStart*>((static_cast<uintptr_t>(high) << 16 << 16) | low);
  start->entry(start->argument);
}
}  // namespace

void switch_context(Context& from, Context& to) {
  ucontext_t here;
  from.stack_pointer = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to.stack_pointer));
}

void Fiber::start(std::byte* stack, size_t index, void (*entry)(void*), void* argument) {
  // The context and the start record live at the top of the stack itself.
  const size_t colour = index % 64 * 192;
  auto top = (reinterpret_cast<uintptr_t>(stack) + stack_bytes - colour) & ~uintptr_t{63};
  top -= (sizeof(PortableStart) + 63) & ~size_t{63};
  auto* start = new (reinterpret_cast<void*>(top)) PortableStart{entry, argument};
  top -= (sizeof(ucontext_t) + 63) & ~size_t{63};
  auto* fresh = new (reinterpret_cast<void*>(top)) ucontext_t;
  getcontext(fresh);
  fresh->uc_stack.ss_sp = stack;
  fresh->uc_stack.ss_size = top - reinterpret_cast<uintptr_t>(stack);
  fresh->uc_link = nullptr;
  const auto address = reinterpret_cast<uintptr_t>(start);
  makecontext(fresh, reinterpret_cast<void (*)()>(&portable_entry), 2,
              static_cast<unsigned>(address >> 16 >> 16), static_cast<unsigned>(address));
  context.stack_pointer = fresh;
}

#endif

StackPool::StackPool(size_t count) {
  guard_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  stride_ = guard_ + Fiber::stack_bytes;
  // What lies up to a stack's size above a frame counts as its stack (trace.cpp): above the last
  // stack nothing else may lie.
  bytes_ = count * stride_ + Fiber::stack_bytes;
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(ErrorKind::out_of_memory, concat("simt: cannot map ", bytes_,
                                                 " bytes for the stacks of ", count, " threads"));
  memory_ = static_cast<std::byte*>(memory);
  for (size_t i = 0; i < count; ++i) mprotect(memory_ + i * stride_, guard_, PROT_NONE);
}

StackPool::~StackPool() { munmap(memory_, bytes_); }

}  // namespace tessera::simt
