#include "host/device/stream.h"

#include <cstring>
#include <utility>

#include "host/device/clock.h"
#include "kernels/base/cuda_check.h"

namespace unroll {

Stream::Stream(const Device& device, Priority priority) : kind_(device.kind()) {
  if (kind_ != DeviceKind::cuda) return;
  device.make_current();
  int least = 0, greatest = 0;
  CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  CUDA_CHECK(cudaStreamCreateWithPriority(&handle_, cudaStreamNonBlocking,
                                          priority == Priority::low ? least : greatest));
}
Stream::~Stream() {
  if (handle_) CUDA_CHECK_NOTHROW(cudaStreamDestroy(handle_));
}
Stream::Stream(Stream&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), kind_(other.kind_) {}
Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(kind_, other.kind_);
  return *this;
}

void Stream::synchronize() const {
  if (kind_ == DeviceKind::cuda) CUDA_CHECK(cudaStreamSynchronize(handle_));
}
void Stream::wait(const Event& event) const {
  if (kind_ == DeviceKind::cuda) CUDA_CHECK(cudaStreamWaitEvent(handle_, event.handle(), 0));
}
void Stream::copy(void* to, const void* from, size_t bytes) const {
  if (bytes == 0 || kind_ == DeviceKind::none) return;
  if (kind_ == DeviceKind::cuda)
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, handle_));
  else
    std::memmove(to, from, bytes);
}
void Stream::fill_zero(void* to, size_t bytes) const {
  if (bytes == 0 || kind_ == DeviceKind::none) return;
  if (kind_ == DeviceKind::cuda)
    CUDA_CHECK(cudaMemsetAsync(to, 0, bytes, handle_));
  else
    std::memset(to, 0, bytes);
}

void copy_and_wait(const Exec& exec, void* to, const void* from, size_t bytes) {
  UNROLL_CHECK(exec.kind == DeviceKind::cuda, "there is nothing to wait for but on a GPU");
  CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, exec.stream));
  CUDA_CHECK(cudaStreamSynchronize(exec.stream));
}

Event::Event(const Device& device, Timing timing) {
  if (device.kind() != DeviceKind::cuda) return;
  device.make_current();
  CUDA_CHECK(cudaEventCreateWithFlags(
      &handle_, timing == Timing::on ? cudaEventDefault : cudaEventDisableTiming));
}
Event::~Event() {
  if (handle_) CUDA_CHECK_NOTHROW(cudaEventDestroy(handle_));
}
Event::Event(Event&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), recorded_(other.recorded_) {}
Event& Event::operator=(Event&& other) noexcept {
  std::swap(handle_, other.handle_);
  recorded_ = other.recorded_;
  return *this;
}

void Event::record(const Stream& stream) {
  if (handle_)
    CUDA_CHECK(cudaEventRecord(handle_, stream.handle()));
  else
    recorded_ = seconds_now();
}
void Event::synchronize() const {
  if (handle_) CUDA_CHECK(cudaEventSynchronize(handle_));
}
bool Event::done() const {
  if (!handle_) return true;
  const cudaError_t status = cudaEventQuery(handle_);
  if (status == cudaErrorNotReady) return false;
  CUDA_CHECK(status);
  return true;
}
double Event::seconds_since(const Event& earlier) const {
  if (!handle_) return recorded_ - earlier.recorded_;
  float ms = 0;
  CUDA_CHECK(cudaEventElapsedTime(&ms, earlier.handle_, handle_));
  return double(ms) / 1000;
}

}  // namespace unroll
