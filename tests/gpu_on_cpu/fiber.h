// Fibers: a stack and a saved stack pointer each, switched by a dozen instructions.
#pragma once

#include <cstddef>

namespace unroll::gpu_on_cpu {

struct Fiber {
  void* context = nullptr;     // saved stack pointer, or a ucontext_t where there is no own switch
  void* fake_stack = nullptr;  // AddressSanitizer's, while the fiber is away
  const void* stack_low = nullptr;
  size_t stack_bytes = 0;
};

// A fiber that will begin in `entry`, which never returns. Stacks come from a pool.
Fiber* take_fiber(void (*entry)());
// Puts a fiber back that will not be resumed; it may be the running one if a switch follows at
// once.
void give_fiber_back(Fiber* fiber);

// Saves the running context in `from` and resumes `to`; `from_ends` if `from` is never resumed.
void switch_fiber(Fiber& from, Fiber& to, bool from_ends);
// The first thing an entry function calls.
void fiber_began();

}  // namespace unroll::gpu_on_cpu
