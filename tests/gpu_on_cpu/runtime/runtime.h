// What the tests and the stand-in for cuBLAS need of the runtime beyond CUDA's own calls. Kernels
// and other device work come in through gpu_on_cpu::enqueue (tests/gpu_on_cpu/engine.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/gpu_on_cpu/runtime/queue.h"

struct CUstream_st;
struct cublasContext;

namespace unroll::gpu_on_cpu {

// Replays the same order of queued work from here on.
void set_queue_seed(uint64_t seed);

// Which of the pieces that may run does run: any, or those of streams of the lowest priority last,
// or first. set_queue_seed chooses one of the three.
void set_background(Background order);

// The kernels, copies and fills of the graph instantiated last, each after the earlier ones it
// waits for.
struct GraphNode {
  bool background;  // of the lowest priority
  std::vector<int> after;
};
std::vector<GraphNode> last_graph();

// What the runtime says of the machine; the default is one H200 with a driver for this CUDA.
struct Machine {
  int devices = 1;
  int driver = 13000;  // as cudaDriverGetVersion counts; 0: none is installed
  int major = 9, minor = 0;
};
void set_machine(const Machine& machine);

// Memory that cudaMalloc refuses to exceed; cudaMemGetInfo counts it.
void set_device_memory(size_t bytes);

// How often each function of the runtime was called since the last call of this one, by name.
// "launch" is a kernel, product or sort put into a stream or a capture; "pageable copy" a
// cudaMemcpyAsync that makes the host wait, because it names memory that is not pinned.
std::map<std::string, int64_t> take_calls();

// The stream of a handle. `scribble` fills the head of its workspace, as a product does; throws
// where a product would have had to allocate a workspace while its stream is captured.
CUstream_st* stream_of(cublasContext* handle);
std::function<void()> scribble_workspace(cublasContext* handle);

}  // namespace unroll::gpu_on_cpu
