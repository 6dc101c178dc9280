// Errors, device properties and memory of the stand-in CUDA runtime.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"
#include "tests/gpu_on_cpu/runtime/state.h"

namespace unroll::gpu_on_cpu {

Runtime& runtime() {
  static Runtime instance;
  return instance;
}

Runtime::~Runtime() {
  const std::string unread = queue.take_failure();
  if (unread.empty()) return;
  std::fprintf(stderr, "gpu_on_cpu: nobody synchronised after this: %s\n", unread.c_str());
  std::_Exit(1);
}

Where where_is(const void* data, size_t bytes, bool* fits) {
  const char* p = static_cast<const char*>(data);
  const auto within = [&](const std::map<const char*, size_t>& blocks) {
    auto block = blocks.upper_bound(p);
    if (block == blocks.begin()) return false;
    --block;
    if (p >= block->first + block->second) return false;
    *fits = p + bytes <= block->first + block->second;
    return true;
  };
  *fits = true;
  if (within(runtime().device_blocks)) return Where::device;
  if (within(runtime().pinned_blocks)) return Where::pinned;
  return Where::pageable;
}

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) runtime().last_error = error;
  return error;
}

cudaError_t failure_or(cudaError_t otherwise) {
  if (!runtime().queue.failed()) return result(otherwise);
  runtime().failure = runtime().queue.take_failure();
  return result(cudaErrorLaunchFailure);
}

void set_queue_seed(uint64_t seed) { runtime().queue.set_seed(seed); }
void set_background(Background order) { runtime().queue.set_background(order); }
std::vector<GraphNode> last_graph() { return runtime().last_graph; }
std::map<std::string, int64_t> take_calls() {
  const std::lock_guard lock(runtime().mutex);
  return std::exchange(runtime().calls, {});
}
void set_machine(const Machine& machine) { runtime().machine = machine; }
void set_device_memory(size_t bytes) { runtime().device_bytes = bytes; }

}  // namespace unroll::gpu_on_cpu

using namespace unroll::gpu_on_cpu;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorCudartUnloading:
      return "driver shutting down";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorLaunchFailure:
      return runtime().failure.c_str();
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnmatched:
      return "the capture was not initiated in this stream";
    case cudaErrorStreamCaptureUnjoined:
      return "capturing stream has unjoined work";
    case cudaErrorStreamCaptureIsolation:
      return "dependency created on uncaptured work in another stream";
    case cudaErrorCapturedEvent:
      return "operation not permitted on an event last recorded in a capturing stream";
    case cudaErrorStreamCaptureWrongThread:
      return "attempt to terminate a thread-local capture sequence from another thread";
  }
  return "unrecognized error code";
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess ? "cudaSuccess" : cudaGetErrorString(error);
}
cudaError_t cudaPeekAtLastError() { return runtime().last_error; }
cudaError_t cudaGetLastError() { return std::exchange(runtime().last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  const Machine& machine = runtime().machine;
  *count = machine.driver < CUDART_VERSION ? 0 : machine.devices;
  if (machine.driver < CUDART_VERSION) return result(cudaErrorInsufficientDriver);
  return machine.devices > 0 ? cudaSuccess : result(cudaErrorNoDevice);
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = runtime().machine.driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int device) {
  const Call call;
  if (device != 0) return result(cudaErrorInvalidDevice);
  *prop = {};
  std::strcpy(prop->name, "GPU on CPU");
  prop->totalGlobalMem = runtime().device_bytes;
  prop->major = runtime().machine.major;
  prop->minor = runtime().machine.minor;
  prop->multiProcessorCount = 132;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Call call;
  *total = runtime().device_bytes;
  *free = *total - std::min(*total, runtime().device_bytes_used);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  const Call call;
  if (forbidden_by_capture()) return result(cudaErrorStreamCaptureUnsupported);
  runtime().queue.run_all();
  return failure_or(cudaSuccess);
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  const Call call;
  Runtime& r = runtime();
  *data = nullptr;
  if (forbidden_by_capture()) return result(cudaErrorStreamCaptureUnsupported);
  r.queue.idle();
  if (bytes == 0) return cudaSuccess;
  if (bytes > r.device_bytes || r.device_bytes_used > r.device_bytes - bytes)
    return result(cudaErrorMemoryAllocation);
  *data = allocate_device(bytes);
  if (!*data) return result(cudaErrorMemoryAllocation);
  r.device_blocks[static_cast<char*>(*data)] = bytes;
  r.device_bytes_used += bytes;
  return cudaSuccess;
}

// As on a device, memory goes back only after all queued work.
cudaError_t cudaFree(void* data) {
  const Call call;
  Runtime& r = runtime();
  if (!data) return cudaSuccess;
  const auto block = r.device_blocks.find(static_cast<char*>(data));
  if (block == r.device_blocks.end()) return result(cudaErrorInvalidValue);
  if (forbidden_by_capture()) return result(cudaErrorStreamCaptureUnsupported);
  r.queue.run_all();
  r.device_bytes_used -= block->second;
  r.device_blocks.erase(block);
  try {
    free_device(data);
  } catch (const std::exception& e) {  // something wrote beside the buffer
    r.queue.fail(e.what());
    return result(cudaErrorLaunchFailure);
  }
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** data, size_t bytes) {
  const Call call;
  *data = nullptr;
  if (forbidden_by_capture()) return result(cudaErrorStreamCaptureUnsupported);
  if (bytes == 0) return cudaSuccess;
  constexpr size_t kAlignment = 256;
  *data = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (!*data) return result(cudaErrorMemoryAllocation);
  std::memset(*data, 0xff, bytes);
  runtime().pinned_blocks[static_cast<char*>(*data)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* data) {
  const Call call;
  Runtime& r = runtime();
  if (!data) return cudaSuccess;
  if (r.pinned_blocks.erase(static_cast<char*>(data)) == 0) return result(cudaErrorInvalidValue);
  r.queue.run_all();
  std::free(data);
  return cudaSuccess;
}
