// The functions that clang's -fsanitize=thread calls for every memory access, and stand-ins for
// memcpy, memmove and memset, to which the symbols of instrumented object files are renamed.
// Kernels compiled with that flag and linked without its runtime report here.
#include <link.h>
#include <sys/mman.h>

#include <cstring>

#include "tests/gpu_on_cpu/internal.h"
#include "tests/gpu_on_cpu/race.h"

namespace unroll::gpu_on_cpu {
namespace {

bool instrumented = false;

struct Program {
  uintptr_t low = ~uintptr_t(0), high = 0;
};
const Program& program() {
  static const Program p = [] {
    Program found;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
          auto& range = *static_cast<Program*>(out);
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
            const uintptr_t low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            range.low = std::min(range.low, low);
            range.high = std::max(range.high, low + info->dlpi_phdr[i].p_memsz);
          }
          return 1;  // the first is the program itself
        },
        &found);
    return found;
  }();
  return p;
}

// Memory that a kernel may touch although no device has it: its stack, its arguments, constants.
bool is_private(const void* p) {
  const auto at = reinterpret_cast<uintptr_t>(p);
  const Fiber& f = *current->fiber;
  if (at - reinterpret_cast<uintptr_t>(f.stack_low) < f.stack_bytes) return true;
  if (at - program().low < program().high - program().low) return true;
  return at - reinterpret_cast<uintptr_t>(run->grid->arguments) < run->grid->argument_bytes;
}

void touched(const void* p, size_t bytes, Access kind, const void* code) {
  if (in_arena(p)) return race_access(p, bytes, kind, {code, {}});
  if (current && !is_private(p) && run->host_accesses.insert(code).second)
    note("host-memory", "host-memory: " + text_of(*current) + " touches memory of the host at " +
                            line_of_address(code));
}

}  // namespace

bool race_build() { return instrumented; }

size_t program_offset(const void* code) {
  return size_t(reinterpret_cast<uintptr_t>(code) - program().low);
}
const void* program_address(size_t offset) {
  return reinterpret_cast<const void*>(program().low + offset);
}

void drop_pages(void* p, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(p), end = begin + bytes;
  const uintptr_t low = (begin + 4095) & ~uintptr_t(4095), high = end & ~uintptr_t(4095);
  if (low >= high) return fill_bytes(p, 0, bytes);
  fill_bytes(p, 0, low - begin);
  madvise(reinterpret_cast<void*>(low), high - low, MADV_DONTNEED);
  fill_bytes(reinterpret_cast<void*>(high), 0, end - high);
}

}  // namespace unroll::gpu_on_cpu

using unroll::gpu_on_cpu::Access;
using unroll::gpu_on_cpu::touched;

#define CODE (static_cast<const char*>(__builtin_return_address(0)) - 1)
#define ACCESS(n)                                                                 \
  void __tsan_read##n(void* p) { touched(p, n, Access::read, CODE); }             \
  void __tsan_write##n(void* p) { touched(p, n, Access::write, CODE); }           \
  void __tsan_unaligned_read##n(void* p) { touched(p, n, Access::read, CODE); }   \
  void __tsan_unaligned_write##n(void* p) { touched(p, n, Access::write, CODE); } \
  void __tsan_read_write##n(void* p) {                                            \
    touched(p, n, Access::read, CODE);                                            \
    touched(p, n, Access::write, CODE);                                           \
  }                                                                               \
  void __tsan_unaligned_read_write##n(void* p) {                                  \
    touched(p, n, Access::read, CODE);                                            \
    touched(p, n, Access::write, CODE);                                           \
  }

extern "C" {

// Every instrumented file calls this before main.
void __tsan_init() { unroll::gpu_on_cpu::instrumented = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(void* p, size_t n) { touched(p, n, Access::read, CODE); }
void __tsan_write_range(void* p, size_t n) { touched(p, n, Access::write, CODE); }

// The object files of instrumented kernels call these instead of memcpy, memmove and memset.
void* __unroll_memcpy(void* dst, const void* src, size_t n) {
  if (unroll::gpu_on_cpu::in_kernel() && n) {
    touched(src, n, Access::read, CODE);
    touched(dst, n, Access::write, CODE);
  }
  return std::memcpy(dst, src, n);
}
void* __unroll_memmove(void* dst, const void* src, size_t n) {
  if (unroll::gpu_on_cpu::in_kernel() && n) {
    touched(src, n, Access::read, CODE);
    touched(dst, n, Access::write, CODE);
  }
  return std::memmove(dst, src, n);
}
void* __unroll_memset(void* dst, int byte, size_t n) {
  if (unroll::gpu_on_cpu::in_kernel() && n) touched(dst, n, Access::write, CODE);
  return std::memset(dst, byte, n);
}
}
