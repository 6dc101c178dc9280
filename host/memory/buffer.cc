#include "host/memory/buffer.h"

#include <cstdlib>
#include <string>
#include <utility>

#include "kernels/base/error.h"

#if defined(UNROLL_WITH_CUDA)
#include "kernels/base/cuda_check.h"
#endif

namespace unroll {
namespace {

constexpr size_t kAlignment = 64;

[[noreturn]] void out_of_memory(const Device& device, size_t bytes) {
  throw Error(ErrorKind::resource, "out of memory on " + device.name() + ": asked for " +
                                       std::to_string(bytes >> 20) + " MiB, " +
                                       std::to_string(device.free_memory_bytes() >> 20) +
                                       " MiB free; lower --batch, --bptt or the hidden size");
}

}  // namespace

Buffer::Buffer(const Device& device, MemoryKind kind, size_t bytes)
    : bytes_(bytes),
      cuda_(device.kind() == DeviceKind::cuda && kind != MemoryKind::host),
      kind_(kind) {
  if (bytes == 0 || device.kind() == DeviceKind::none) {
    bytes_ = 0;
    return;
  }
#if defined(UNROLL_WITH_CUDA)
  if (cuda_) {
    device.make_current();
    const cudaError_t status =
        kind == MemoryKind::device ? cudaMalloc(&data_, bytes) : cudaMallocHost(&data_, bytes);
    if (status == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();  // or the next library that asks would report it
      if (kind == MemoryKind::pinned)
        throw Error(ErrorKind::resource, "no " + std::to_string(bytes >> 20) +
                                             " MiB of pinned host memory for copies from " +
                                             device.name() +
                                             "; free some of the machine's memory, or lower the "
                                             "model's size");
      out_of_memory(device, bytes);
    }
    CUDA_CHECK(status);
    return;
  }
#endif
  data_ = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (!data_) out_of_memory(device, bytes);
}

void Buffer::release() noexcept {
#if defined(UNROLL_WITH_CUDA)
  if (data_ && cuda_) {
    if (kind_ == MemoryKind::device)
      CUDA_CHECK_NOTHROW(cudaFree(data_));
    else
      CUDA_CHECK_NOTHROW(cudaFreeHost(data_));
    data_ = nullptr;
  }
#endif
  std::free(data_);
  data_ = nullptr;
}

Buffer::~Buffer() { release(); }
Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      cuda_(other.cuda_),
      kind_(other.kind_) {}
Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(cuda_, other.cuda_);
  std::swap(kind_, other.kind_);
  return *this;
}

}  // namespace unroll
