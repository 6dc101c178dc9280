// Fibers: pool of guarded stacks, switch, and the notes that AddressSanitizer needs.
#include "tests/gpu_on_cpu/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/sanitizers.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace unroll::gpu_on_cpu {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kGuardedStacks =
    20000;  // every guard page costs two of the kernel's 65,530 mappings

struct Pool {
  std::vector<Fiber*> free;
  std::vector<char*> slabs;  // keeps the stacks reachable for LeakSanitizer
  size_t made = 0;
};
Pool& pool() {
  static Pool* p = new Pool;
  return *p;
}
Fiber* switched_from = nullptr;  // whose stack is still unknown
Fiber* switching_to = nullptr;   // the one being switched to

size_t stack_bytes() { return (asan_build() ? 256 : 64) * size_t(1024); }

Fiber* make_fiber() {
  constexpr size_t kSlab = 64;
  Pool& p = pool();
  const size_t bytes = stack_bytes();
  char* slab = static_cast<char*>(mmap(nullptr, kSlab * bytes, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (slab == MAP_FAILED) throw std::bad_alloc();
  p.slabs.push_back(slab);
  for (size_t i = 0; i < kSlab; ++i) {
    char* low = slab + i * bytes;
    if (p.made++ < kGuardedStacks) mprotect(low, kPage, PROT_NONE);
    Fiber* f = new Fiber;
    f->stack_low = low + kPage;
    f->stack_bytes = bytes - kPage;
    p.free.push_back(f);
  }
  Fiber* f = p.free.back();
  p.free.pop_back();
  return f;
}

}  // namespace

#if defined(__x86_64__)

// Callee-saved registers on the stack, stack pointer exchanged.
extern "C" void unroll_switch_stack(void** save, void* to);
asm(R"(
.text
.type unroll_switch_stack, @function
unroll_switch_stack:
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
.size unroll_switch_stack, .-unroll_switch_stack
)");

static void prepare(Fiber* f, void (*entry)()) {
  const uintptr_t top =
      (reinterpret_cast<uintptr_t>(f->stack_low) + f->stack_bytes) & ~uintptr_t(15);
  // The address of `entry` lies on 16 bytes, so that it starts with rsp = 8 mod 16 as after a call.
  void** sp = reinterpret_cast<void**>(top - 32);
  *sp = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  f->context = sp;
}
static void exchange(Fiber& from, Fiber& to) { unroll_switch_stack(&from.context, to.context); }

#else

static void prepare(Fiber* f, void (*entry)()) {
  if (!f->context) f->context = new ucontext_t;
  auto* c = static_cast<ucontext_t*>(f->context);
  getcontext(c);
  c->uc_stack.ss_sp = const_cast<void*>(f->stack_low);
  c->uc_stack.ss_size = f->stack_bytes;
  c->uc_link = nullptr;
  makecontext(c, entry, 0);
}
static void exchange(Fiber& from, Fiber& to) {
  if (!from.context) from.context = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(from.context), static_cast<ucontext_t*>(to.context));
}

#endif

Fiber* take_fiber(void (*entry)()) {
  Pool& p = pool();
  Fiber* f = nullptr;
  if (p.free.empty()) {
    f = make_fiber();
  } else {
    f = p.free.back();
    p.free.pop_back();
  }
  if (asan_build()) __asan_unpoison_memory_region(f->stack_low, f->stack_bytes);
  f->fake_stack = nullptr;
  prepare(f, entry);
  return f;
}

void give_fiber_back(Fiber* fiber) { pool().free.push_back(fiber); }

static void arrived() {
  if (!asan_build()) return;
  const void* low = nullptr;
  size_t bytes = 0;
  Fiber* self = switching_to;
  __sanitizer_finish_switch_fiber(self->fake_stack, &low, &bytes);
  if (switched_from) {
    switched_from->stack_low = low;
    switched_from->stack_bytes = bytes;
  }
}

void switch_fiber(Fiber& from, Fiber& to, bool from_ends) {
  if (asan_build()) {
    // The stack of the thread that called run_grid becomes known when its first fiber begins.
    switched_from = from.stack_low ? nullptr : &from;
    switching_to = &to;
    __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.fake_stack, to.stack_low,
                                   to.stack_bytes);
  }
  exchange(from, to);
  arrived();
}

void fiber_began() { arrived(); }

}  // namespace unroll::gpu_on_cpu
