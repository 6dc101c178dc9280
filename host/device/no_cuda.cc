// Stream, Event, Graph and BlasHandle of a CPU-only build: work is done when it is issued.
#include <cstring>
#include <utility>

#include "host/device/blas_handle.h"
#include "host/device/clock.h"
#include "host/device/graph.h"
#include "host/device/stream.h"
#include "kernels/base/error.h"

namespace unroll {

Stream::Stream(const Device& device, Priority) : kind_(device.kind()) {}
Stream::~Stream() = default;
Stream::Stream(Stream&& other) noexcept : kind_(other.kind_) {}
Stream& Stream::operator=(Stream&& other) noexcept {
  kind_ = other.kind_;
  return *this;
}
void Stream::synchronize() const {}
void Stream::wait(const Event&) const {}
void Stream::copy(void* to, const void* from, size_t bytes) const {
  if (bytes && kind_ != DeviceKind::none) std::memmove(to, from, bytes);
}
void Stream::fill_zero(void* to, size_t bytes) const {
  if (bytes && kind_ != DeviceKind::none) std::memset(to, 0, bytes);
}

Event::Event(const Device&, Timing) {}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
void Event::record(const Stream&) { recorded_ = seconds_now(); }
void Event::synchronize() const {}
bool Event::done() const { return true; }
double Event::seconds_since(const Event& earlier) const { return recorded_ - earlier.recorded_; }

Graph Graph::capture(const Stream&, const std::function<void()>&) {
  throw Error("a CPU-only build captures no graphs");
}
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept {}
Graph& Graph::operator=(Graph&&) noexcept { return *this; }
void Graph::launch(const Stream&) const {}

BlasHandle::BlasHandle(const Device&, const Stream&) {}
BlasHandle::~BlasHandle() = default;

}  // namespace unroll
