// Streams, events, copies and graphs of the stand-in CUDA runtime.
#include <algorithm>
#include <cstring>

#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"
#include "tests/gpu_on_cpu/runtime/state.h"

namespace unroll::gpu_on_cpu {
namespace {

// Work issued without a stream.
cudaStream_t stream_or_default(cudaStream_t stream) {
  static CUstream_st default_stream;
  return stream ? stream : &default_stream;
}

bool known(cudaStream_t stream) { return !stream || runtime().streams.count(stream) != 0; }

bool in_background(cudaStream_t stream) { return stream->priority == kLeastPriority; }

void invalidate(const CapturePtr& capture) {
  if (capture) capture->valid = false;
}

bool under_way(const CapturePtr& capture) {
  const auto& all = runtime().captures;
  return std::find(all.begin(), all.end(), capture) != all.end();
}

// What a copy does when it runs.
void copy_now(void* to, Where to_where, const void* from, Where from_where, size_t bytes) {
  if (from_where == Where::device) device_read(from, bytes);
  std::memmove(to, from, bytes);
  if (to_where == Where::device) device_written(to, bytes);
}

}  // namespace

bool forbidden_by_capture() {
  bool forbidden = false;
  for (const CapturePtr& capture : runtime().captures)
    if (capture->mode == cudaStreamCaptureModeGlobal ||
        (capture->mode == cudaStreamCaptureModeThreadLocal &&
         capture->thread == std::this_thread::get_id())) {
      invalidate(capture);
      forbidden = true;
    }
  return forbidden;
}

OpPtr issue(cudaStream_t stream, Item item) {
  Runtime& r = runtime();
  stream = stream_or_default(stream);
  item.background = in_background(stream);
  if (const CapturePtr& capture = stream->capture) {
    capture->nodes.push_back({std::move(item), stream->capture_tail});
    stream->capture_tail = {int(capture->nodes.size()) - 1};
    return nullptr;
  }
  stream->tail = r.queue.add(std::move(item), {stream->tail});
  r.queue.idle();
  return stream->tail;
}

// A capture that is no longer valid records on; its end reports it.
void enqueue(CUstream_st* stream, std::function<void()> work) {
  const Call call("launch");
  issue(stream, {.work = std::move(work), .reads = {}, .writes = {}});
}

}  // namespace unroll::gpu_on_cpu

using namespace unroll::gpu_on_cpu;

// --- copies -------------------------------------------------------------------------------------

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const Call call;
  if (!known(stream)) return result(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return cudaSuccess;
  bool to_fits, from_fits;
  const Where to_where = where_is(to, bytes, &to_fits);
  const Where from_where = where_is(from, bytes, &from_fits);
  const bool to_device = to_where == Where::device, from_device = from_where == Where::device;
  const cudaMemcpyKind actual =
      from_device ? (to_device ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost)
                  : (to_device ? cudaMemcpyHostToDevice : cudaMemcpyHostToHost);
  if (!to || !from || !to_fits || !from_fits || (kind != cudaMemcpyDefault && kind != actual))
    return result(cudaErrorInvalidValue);

  Item item;
  const bool pageable = to_where == Where::pageable || from_where == Where::pageable;
  const CapturePtr capture = stream ? stream->capture : nullptr;
  if (pageable) ++runtime().calls["pageable copy"];
  if (pageable && capture) {
    invalidate(capture);
    return result(cudaErrorStreamCaptureUnsupported);
  }
  if (from_where == Where::pageable) {
    // Staged: the call returns when it has read the source.
    const char* source = static_cast<const char*>(from);
    item.work = [=, staged = std::vector<char>(source, source + bytes)] {
      copy_now(to, to_where, staged.data(), from_where, bytes);
    };
  } else {
    item.work = [=] { copy_now(to, to_where, from, from_where, bytes); };
    if (from_where == Where::pinned) item.reads = {static_cast<const char*>(from), bytes};
  }
  if (to_where == Where::pinned) item.writes = {static_cast<const char*>(to), bytes};
  const OpPtr op = issue(stream, std::move(item));
  if (to_where == Where::pageable) {  // the call returns when the copy has been made
    runtime().queue.run_until(op);
    return failure_or(cudaSuccess);
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t stream) {
  const Call call;
  if (!known(stream)) return result(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return cudaSuccess;
  bool fits;
  if (where_is(to, bytes, &fits) != Where::device || !fits) return result(cudaErrorInvalidValue);
  Item item;
  item.work = [=] {
    std::memset(to, byte, bytes);
    device_written(to, bytes);
  };
  issue(stream, std::move(item));
  return cudaSuccess;
}

// --- streams ------------------------------------------------------------------------------------

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = kLeastPriority;
  *greatest = kGreatestPriority;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int priority) {
  const Call call;
  *stream = new CUstream_st;
  (*stream)->priority = std::clamp(priority, kGreatestPriority, kLeastPriority);
  runtime().streams.insert(*stream);
  return cudaSuccess;
}

// Queued work of the stream still runs.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Call call;
  if (!stream || runtime().streams.erase(stream) == 0)
    return result(cudaErrorInvalidResourceHandle);
  if (stream->capture) {
    invalidate(stream->capture);
    stream->capture->joined.erase(stream);
  }
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Call call;
  if (!known(stream)) return result(cudaErrorInvalidResourceHandle);
  stream = stream_or_default(stream);
  if (stream->capture) {
    invalidate(stream->capture);
    return result(cudaErrorStreamCaptureUnsupported);
  }
  runtime().queue.run_until(stream->tail);
  return failure_or(cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Call call;
  if (!known(stream)) return result(cudaErrorInvalidResourceHandle);
  stream = stream_or_default(stream);
  if (stream->capture) {
    invalidate(stream->capture);
    return result(cudaErrorStreamCaptureUnsupported);
  }
  const bool done = !stream->tail || stream->tail->done;
  if (!done) runtime().queue.poll();
  return failure_or(done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Call call;
  if (!known(stream) || !event) return result(cudaErrorInvalidResourceHandle);
  stream = stream_or_default(stream);
  if (event->capture) {
    if (!under_way(event->capture)) return result(cudaErrorCapturedEvent);
    if (stream->capture && stream->capture != event->capture) {
      invalidate(stream->capture);
      invalidate(event->capture);
      return result(cudaErrorStreamCaptureIsolation);
    }
    if (!stream->capture) {  // joins the capture
      stream->capture = event->capture;
      stream->capture_tail.clear();
      stream->capture->joined.insert(stream);
    }
    for (int node : event->nodes) stream->capture_tail.push_back(node);
    return cudaSuccess;
  }
  if (stream->capture) {
    invalidate(stream->capture);
    return result(cudaErrorStreamCaptureIsolation);
  }
  Item wait;
  wait.background = in_background(stream);
  stream->tail = runtime().queue.add(std::move(wait), {stream->tail, event->mark});
  runtime().queue.idle();
  return cudaSuccess;
}

// --- events -------------------------------------------------------------------------------------

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Call call;
  *event = new CUevent_st{.timed = (flags & cudaEventDisableTiming) == 0};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Call call;
  if (!event) return result(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Call call;
  if (!known(stream) || !event) return result(cudaErrorInvalidResourceHandle);
  stream = stream_or_default(stream);
  event->capture = stream->capture;
  event->nodes = stream->capture_tail;
  event->mark = stream->capture ? nullptr : stream->tail;
  event->recorded = unroll::seconds_now();
  runtime().queue.idle();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Call call;
  if (!event) return result(cudaErrorInvalidResourceHandle);
  if (event->capture) {
    invalidate(event->capture);
    return result(cudaErrorCapturedEvent);
  }
  runtime().queue.run_until(event->mark);
  return failure_or(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Call call;
  if (!event) return result(cudaErrorInvalidResourceHandle);
  if (event->capture) {
    invalidate(event->capture);
    return result(cudaErrorCapturedEvent);
  }
  const bool done = !event->mark || event->mark->done;
  if (!done) runtime().queue.poll();
  return failure_or(done ? cudaSuccess : cudaErrorNotReady);
}

// Milliseconds from when the work before `start` ended to when that before `end` did.
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  const Call call;
  const auto time = [](cudaEvent_t e) { return e->mark ? e->mark->ended : e->recorded; };
  for (const cudaEvent_t e : {start, end}) {
    if (!e || !e->timed || e->recorded < 0 || e->capture)
      return result(cudaErrorInvalidResourceHandle);
    if (e->mark && !e->mark->done) return failure_or(cudaErrorNotReady);
  }
  *ms = float(1000 * (time(end) - time(start)));
  return failure_or(cudaSuccess);
}

// --- graphs -------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Call call;
  // The default stream cannot be captured.
  if (!stream) return result(cudaErrorStreamCaptureUnsupported);
  if (!known(stream)) return result(cudaErrorInvalidResourceHandle);
  if (stream->capture) return result(cudaErrorInvalidValue);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->joined.insert(stream);
  stream->capture_tail.clear();
  runtime().captures.push_back(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Call call;
  *graph = nullptr;
  if (!stream || !known(stream) || !stream->capture || stream->capture->origin != stream)
    return result(cudaErrorStreamCaptureUnmatched);
  const CapturePtr capture = stream->capture;
  if (capture->mode != cudaStreamCaptureModeRelaxed &&
      capture->thread != std::this_thread::get_id())
    return result(cudaErrorStreamCaptureWrongThread);

  // What no later node and not the end of the origin stream waits for was forked and never joined.
  std::vector<bool> waited_for(capture->nodes.size());
  for (const Node& node : capture->nodes)
    for (int before : node.after) waited_for[size_t(before)] = true;
  for (int node : stream->capture_tail) waited_for[size_t(node)] = true;
  const bool joined = std::find(waited_for.begin(), waited_for.end(), false) == waited_for.end();

  for (cudaStream_t s : capture->joined) {
    s->capture = nullptr;
    s->capture_tail.clear();
  }
  std::erase(runtime().captures, capture);
  if (!capture->valid) return result(cudaErrorStreamCaptureInvalidated);
  if (!joined) return result(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{std::move(capture->nodes)};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Call call;
  const CapturePtr capture = stream ? stream->capture : nullptr;
  *status = !capture         ? cudaStreamCaptureStatusNone
            : capture->valid ? cudaStreamCaptureStatusActive
                             : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  const Call call;
  // Only the count: nobody looks into a node.
  if (!graph || nodes) return result(cudaErrorInvalidValue);
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long flags) {
  const Call call;
  *exec = nullptr;
  if (!graph) return result(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{graph->nodes, nullptr};
  // Otherwise they all have that of the stream the graph is launched in.
  if (!(flags & cudaGraphInstantiateFlagUseNodePriority))
    for (Node& node : (*exec)->nodes) node.item.background = false;
  runtime().last_graph.clear();
  for (const Node& node : (*exec)->nodes)
    runtime().last_graph.push_back({node.item.background, node.after});
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const Call call;
  if (!exec || !known(stream)) return result(cudaErrorInvalidResourceHandle);
  stream = stream_or_default(stream);
  if (stream->capture) {  // a child graph; nothing here makes one
    invalidate(stream->capture);
    return result(cudaErrorStreamCaptureUnsupported);
  }
  Queue& queue = runtime().queue;
  std::vector<OpPtr> ops;
  for (const Node& node : exec->nodes) {
    std::vector<OpPtr> after{stream->tail, exec->last};
    for (int before : node.after) after.push_back(ops[size_t(before)]);
    ops.push_back(queue.add(node.item, std::move(after)));
  }
  ops.push_back(stream->tail);
  stream->tail = exec->last = queue.add({}, std::move(ops));
  queue.idle();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Call call;
  delete graph;
  return cudaSuccess;
}
// Launches under way keep their own copies of what they run.
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  const Call call;
  delete exec;
  return cudaSuccess;
}
