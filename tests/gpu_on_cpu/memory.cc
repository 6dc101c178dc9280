// Device memory: one arena, with the room for shared memory, poison, guarded gaps, a table of live
// buffers.
#include <sys/mman.h>

#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

#include "tests/gpu_on_cpu/internal.h"
#include "tests/gpu_on_cpu/sanitizers.h"

namespace unroll::gpu_on_cpu {

namespace {

constexpr int kPoison = 0xff;  // NaN as float and bf16, -1 as an integer
constexpr size_t kDeviceBytes = size_t(8) << 30, kSharedBytes = size_t(1) << 30;
constexpr size_t kLargeBytes = 1 << 20;
constexpr unsigned char kPoisonByte = kPoison;

struct Freed {
  char* base;
  size_t reserved;
};
struct Memory {
  char* base = nullptr;
  char *device_next = nullptr, *shared_next = nullptr;
  std::map<const char*, size_t> buffers;  // start -> bytes
  std::vector<Freed> freed;               // reused only when the arena has been used up
  std::unordered_map<size_t, std::vector<char*>> shared_free;
  DeviceBuffer last;
  std::mutex mutex;
};

Memory& memory() {
  static Memory* m = [] {
    auto* made = new Memory;
    made->base = static_cast<char*>(reserve_shadow(kDeviceBytes + kSharedBytes));
    made->device_next = made->base;
    made->shared_next = made->base + kDeviceBytes;
    return made;
  }();
  return *m;
}

void check_gaps(const char* data, size_t bytes) {
  const bool before = !untouched(data - kGap, kGap), after = !untouched(data + bytes, kGap);
  if (!before && !after) return;
  // Reported once; a second report would only repeat it.
  fill_bytes(const_cast<char*>(before ? data - kGap : data + bytes), kPoison, kGap);
  throw Finding("out-of-bounds", std::string("out-of-bounds: the guarded gap ") +
                                     (before ? "before" : "behind") + " a device buffer of " +
                                     std::to_string(bytes) + " bytes was written");
}

char* take_device(size_t reserved) {
  Memory& m = memory();
  if (m.device_next + reserved <= m.base + kDeviceBytes) {
    char* p = m.device_next;
    m.device_next += reserved;
    return p;
  }
  for (Freed& f : m.freed)
    if (f.reserved >= reserved) {
      char* p = f.base;
      f.base += reserved;
      f.reserved -= reserved;
      return p;
    }
  return nullptr;
}

}  // namespace

void guard(const void* p, size_t bytes) {
  fill_bytes(const_cast<void*>(p), kPoison, bytes);
  if (asan_build()) __asan_poison_memory_region(p, bytes);
}
void unguard(void* p, size_t bytes) {
  if (asan_build()) __asan_unpoison_memory_region(p, bytes);
  fill_bytes(p, kPoison, bytes);
}
// The engine is not instrumented, so it may look at guarded bytes.
bool untouched(const char* p, size_t bytes) {
  const volatile unsigned char* c = reinterpret_cast<const volatile unsigned char*>(p);
  for (size_t i = 0; i < bytes; ++i)
    if (c[i] != kPoisonByte) return false;
  return true;
}

void* reserve_shadow(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return p;
}

char* arena_base() { return memory().base; }
size_t arena_bytes() { return kDeviceBytes + kSharedBytes; }
bool in_arena(const void* p) {
  return size_t(static_cast<const char*>(p) - memory().base) < kDeviceBytes + kSharedBytes;
}
bool in_shared_arena(const void* p) {
  return size_t(static_cast<const char*>(p) - memory().base - kDeviceBytes) < kSharedBytes;
}

void copy_bytes(void* dst, const void* src, size_t bytes) {
  // Constant sizes become single moves.
  if (bytes == 4) {
    __builtin_memcpy(dst, src, 4);
    return;
  }
  if (bytes == 16) {
    __builtin_memcpy(dst, src, 16);
    return;
  }
#if defined(__x86_64__)
  asm volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(bytes)::"memory");
#else
  volatile char* to = static_cast<char*>(dst);
  const volatile char* from = static_cast<const char*>(src);
  while (bytes--) *to++ = *from++;
#endif
}
void fill_bytes(void* dst, int byte, size_t bytes) {
#if defined(__x86_64__)
  asm volatile("rep stosb" : "+D"(dst), "+c"(bytes) : "a"(byte) : "memory");
#else
  volatile char* to = static_cast<char*>(dst);
  while (bytes--) *to++ = char(byte);
#endif
}

void* allocate_device(size_t bytes) {
  Memory& m = memory();
  std::lock_guard lock(m.mutex);
  const size_t reserved = kGap + round_up(bytes, 256) + kGap;
  char* base = take_device(reserved);
  if (!base) return nullptr;
  char* data = base + kGap;
  guard(base, kGap);
  unguard(data, bytes);
  guard(data + bytes, reserved - kGap - bytes);
  m.buffers[data] = bytes;
  return data;
}

void free_device(void* p) {
  if (!p) return;
  Memory& m = memory();
  std::lock_guard lock(m.mutex);
  char* data = static_cast<char*>(p);
  const auto it = m.buffers.find(data);
  if (it == m.buffers.end())
    throw Finding("free", "free: this address is not the start of a live device buffer");
  const size_t bytes = it->second;
  m.buffers.erase(it);
  m.last = {};
  const size_t reserved = kGap + round_up(bytes, 256) + kGap;
  forget_shadow(data, bytes);
  m.freed.push_back({data - kGap, reserved});
  check_gaps(data, bytes);
  if (bytes < kLargeBytes) {
    guard(data, bytes);
  } else {
    // The pages go back to the system and read as zero from here on.
    char* from = reinterpret_cast<char*>(round_up(reinterpret_cast<uintptr_t>(data), 4096));
    madvise(from, size_t(data + bytes - from) / 4096 * 4096, MADV_DONTNEED);
    if (asan_build()) __asan_poison_memory_region(data, bytes);
  }
}

DeviceBuffer find_device_buffer(const void* p) {
  Memory& m = memory();
  const char* at = static_cast<const char*>(p);
  if (m.last.data && at >= m.last.data && at < m.last.data + m.last.bytes) return m.last;
  auto it = m.buffers.upper_bound(at);
  if (it == m.buffers.begin()) return {};
  --it;
  if (at >= it->first + it->second) return {};
  return m.last = {const_cast<char*>(it->first), it->second};
}

std::vector<DeviceBuffer> live_device_buffers() {
  std::vector<DeviceBuffer> all;
  for (auto& [data, bytes] : memory().buffers) all.push_back({const_cast<char*>(data), bytes});
  return all;
}

char* take_shared(size_t reserved) {
  Memory& m = memory();
  std::vector<char*>& free = m.shared_free[reserved];
  if (!free.empty()) {
    char* data = free.back();
    free.pop_back();
    return data;
  }
  if (m.shared_next + reserved > m.base + kDeviceBytes + kSharedBytes)
    fail("limit", "limit: the blocks that run at a time have more shared memory than 1 GB");
  m.shared_next += reserved;
  return m.shared_next - reserved;
}
void give_shared(char* data, size_t reserved) { memory().shared_free[reserved].push_back(data); }

void check_device_gaps() {
  for (auto& [data, bytes] : memory().buffers) check_gaps(data, bytes);
}

static void check_outside(const void* p, size_t bytes, const char* what) {
  const DeviceBuffer b = find_device_buffer(p);
  const char* at = static_cast<const char*>(p);
  if (!b.data || at + bytes > b.data + b.bytes)
    throw Finding("out-of-bounds", std::string("out-of-bounds: a copy or library call ") + what +
                                       " " + std::to_string(bytes) +
                                       " bytes that leave their device buffer");
}
void device_read(const void* data, size_t bytes) {
  if (!bytes || !in_arena(data)) return;
  check_outside(data, bytes, "reads");
  race_read_outside(data, bytes);
}
void device_written(void* data, size_t bytes) {
  if (!bytes || !in_arena(data)) return;
  check_outside(data, bytes, "writes");
  race_written_outside(data, bytes);
}

void copy_to_device(void* to, const void* from, size_t bytes) {
  copy_bytes(to, from, bytes);
  device_written(to, bytes);
}
void copy_from_device(void* to, const void* from, size_t bytes) { copy_bytes(to, from, bytes); }

__attribute__((weak)) void enqueue(CUstream_st*, std::function<void()> work) { work(); }

}  // namespace unroll::gpu_on_cpu
