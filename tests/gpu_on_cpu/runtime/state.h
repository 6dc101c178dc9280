// The state behind the stand-in CUDA runtime: its objects, one queue for all streams, and a lock.
#pragma once

#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/gpu_on_cpu/runtime/queue.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"

namespace unroll::gpu_on_cpu {

// A recorded piece of work, and the earlier ones it waits for.
struct Node {
  Item item;
  std::vector<int> after;
};

struct Capture {
  cudaStream_t origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool valid = true;
  std::vector<Node> nodes;
  std::set<cudaStream_t> joined;  // streams that record into this capture
};
using CapturePtr = std::shared_ptr<Capture>;

// Lower numbers go first.
inline constexpr int kLeastPriority = 0, kGreatestPriority = -5;

struct Runtime {
  std::recursive_mutex mutex;
  Queue queue;
  Machine machine;
  std::set<cudaStream_t> streams;
  std::map<const char*, size_t> device_blocks, pinned_blocks;
  size_t device_bytes = size_t(141) << 30, device_bytes_used = 0;
  std::vector<CapturePtr> captures;  // under way
  std::vector<GraphNode> last_graph;
  std::string failure;  // text of cudaErrorLaunchFailure
  std::map<std::string, int64_t> calls;
  cudaError_t last_error = cudaSuccess;

  ~Runtime();
};
Runtime& runtime();

// Holds the runtime while one of its functions runs, and counts it by its name.
class Call {
 public:
  explicit Call(const char* name = __builtin_FUNCTION()) : lock_(runtime().mutex) {
    ++runtime().calls[name];
  }

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

enum class Where { device, pinned, pageable };
// Where `data` lies; `fits` says whether `bytes` from there on lie within one block.
Where where_is(const void* data, size_t bytes, bool* fits);

// Remembers an error for cudaGetLastError and hands it on.
cudaError_t result(cudaError_t error);
// cudaErrorLaunchFailure if queued work failed since the last call, else `otherwise`.
cudaError_t failure_or(cudaError_t otherwise);

// Whether a call that CUDA forbids during a capture was made during one; the capture is then
// invalid.
bool forbidden_by_capture();

// Queues or records `item`; the queued piece, or null where it was recorded.
OpPtr issue(cudaStream_t stream, Item item);

}  // namespace unroll::gpu_on_cpu

struct CUstream_st {
  int priority = 0;
  unroll::gpu_on_cpu::OpPtr tail;
  unroll::gpu_on_cpu::CapturePtr capture;
  std::vector<int> capture_tail;  // nodes that the next recorded one waits for
};
struct CUevent_st {
  bool timed;
  double recorded = -1;  // seconds; the time of an event behind nothing. Negative: never recorded
  unroll::gpu_on_cpu::OpPtr mark;
  unroll::gpu_on_cpu::CapturePtr capture;  // of the last record, if that was captured
  std::vector<int> nodes;
};
struct CUgraph_st {
  std::vector<unroll::gpu_on_cpu::Node> nodes;
};
struct CUgraphExec_st {
  std::vector<unroll::gpu_on_cpu::Node> nodes;
  unroll::gpu_on_cpu::OpPtr last;  // a graph does not overlap with itself
};
