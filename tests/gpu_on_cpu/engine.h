// The engine that executes CUDA kernels on the CPU: one fiber per CUDA thread, all on the calling
// OS thread, under a strict scheduler. This header is what the host body of gpu.h, the simulated
// CUDA runtime and the tests share; it needs no CUDA toolkit.
//
// Environment:
//   UNROLL_GPU_ORDER   ascend | descend | randwarp | random | lockstep  (default ascend)
//   UNROLL_GPU_SEED    seed of every random choice (default 1); the same seed replays exactly
//   UNROLL_GPU_MUTATE  file:line of a synchronisation site that is to do nothing
//   UNROLL_GPU_SITES   a file to which the synchronisation sites reached are appended at exit,
//                      one per line: kind file:line
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

struct CUstream_st;

// The CUDA type of grid and block shapes; no CUDA header is included anywhere in this build.
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace unroll::gpu_on_cpu {

// A place in the source; as a default argument, that of the caller.
struct Site {
  const char* file = "?";
  int line = 0;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// Something a kernel or a launch did wrong. what() names the kind, the source lines, the threads,
// the kernel, and the order and seed that replay it.
class Finding : public std::runtime_error {
 public:
  Finding(std::string kind, const std::string& text)
      : std::runtime_error(text), kind_(std::move(kind)) {}
  // race(write-read), uninitialised, out-of-bounds, barrier-divergence, exited-threads, warp-mask,
  // deadlock, livelock, limit, early-start, cluster-map, cluster-start, exited-block, ...
  const std::string& kind() const { return kind_; }

 private:
  std::string kind_;
};

// --- options ----------------------------------------------------------------------------------

enum class Order { ascend, descend, randwarp, random, lockstep };
inline constexpr Order kOrders[] = {Order::ascend, Order::descend, Order::randwarp, Order::random,
                                    Order::lockstep};
const char* name_of(Order order);

// Set from the environment at the first use; a test may change it between launches.
struct Options {
  Order order = Order::ascend;
  uint64_t seed = 1;
  std::string mutate;  // file:line, or empty
};
Options& options();

// Whether the kernels of this program carry the race detector, or AddressSanitizer.
bool race_build();
bool asan_build();

// --- device memory ----------------------------------------------------------------------------

// Device memory: 256-byte aligned, filled with 0xff, between guarded gaps. Null if the simulated
// device is full.
void* allocate_device(size_t bytes);
// Checks the gaps (throws Finding if something wrote there) and makes the buffer inaccessible.
// Throws Finding on a pointer that allocate_device did not return. Null is allowed.
void free_device(void* data);

struct DeviceBuffer {
  char* data = nullptr;
  size_t bytes = 0;
};
// The live buffer that holds p, or one with data == nullptr.
DeviceBuffer find_device_buffer(const void* p);
std::vector<DeviceBuffer> live_device_buffers();

// Code outside kernels (copies, fills, the plain matrix product) says what it read and wrote, so
// that these bytes count as initialised and a read of bytes never written is found. Both throw
// Finding if the range leaves its buffer. Ranges outside device memory are ignored.
void device_read(const void* data, size_t bytes);
void device_written(void* data, size_t bytes);

// Copies of tests that work without the CUDA runtime; poison may be read.
void copy_to_device(void* to, const void* from, size_t bytes);
void copy_from_device(void* to, const void* from, size_t bytes);

// Runs `work` on `stream`. The engine's own definition, weak, runs it at once; the simulated CUDA
// runtime replaces it by one that queues.
void enqueue(CUstream_st* stream, std::function<void()> work);

// --- running a grid ---------------------------------------------------------------------------

struct Grid {
  dim3 grid, block;
  size_t shared_bytes = 0;
  bool cooperative = false;
  bool early_start = false;  // may begin before the grid ahead of it in `stream` has ended
  unsigned cluster = 1;      // blocks, neighbours along x, that run at the same time
  const void* stream = nullptr;
  const void* kernel = nullptr;     // its entry, for the name in reports
  const void* arguments = nullptr;  // host memory that its threads may read
  size_t argument_bytes = 0;
  Site site;  // of the launch
};

// Throws Finding("limit") if an H200 would refuse the launch: threads, shared memory, grid size,
// argument bytes, clusters, co-resident blocks of a cooperative grid.
void check_limits(const Grid& grid);
// Blocks of this shape that one multiprocessor holds at once (registers are not counted).
int blocks_per_sm(int threads, size_t shared_bytes);
// Clusters of such blocks that the device holds at once.
int resident_clusters(int threads, size_t shared_bytes, unsigned cluster);
size_t shared_bytes_per_block();
inline constexpr int kMultiprocessors = 132;

// Calls thread(state) once for every thread of the grid. Returns when all have ended, or throws a
// Finding.
void run_grid(const Grid& grid, void (*thread)(const void* state), const void* state);

// Whether the caller is a thread of a kernel.
bool in_kernel();

}  // namespace unroll::gpu_on_cpu
