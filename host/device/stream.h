// A queue of device work, and marks in it. On the CPU work is done when it is issued, so both are
// empty.
#pragma once

#include <cstdint>

#include "host/device/device.h"

struct CUevent_st;  // cudaEvent_t

namespace unroll {

class Event;

// Whose kernels get a multiprocessor first when one is free. A captured kernel keeps that of the
// stream it was captured from.
enum class Priority : uint8_t { low, high };

class Stream {
 public:
  explicit Stream(const Device& device, Priority priority = Priority::high);
  ~Stream();
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;

  CUstream_st* handle() const { return handle_; }
  DeviceKind kind() const { return kind_; }
  void synchronize() const;
  void wait(const Event& event) const;  // later work waits for the event's last record

  // Copies `bytes` between host and device, or within either, in stream order. Host memory has to
  // be pinned for the copy to be asynchronous.
  void copy(void* to, const void* from, size_t bytes) const;
  void fill_zero(void* to, size_t bytes) const;

 private:
  CUstream_st* handle_ = nullptr;
  DeviceKind kind_;
};

// Copies from the device of `exec` to host memory when its stream has come so far, and waits for it.
void copy_and_wait(const Exec& exec, void* to, const void* from, size_t bytes);

class Event {
 public:
  enum class Timing : uint8_t { off, on };
  explicit Event(const Device& device, Timing timing = Timing::off);
  ~Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;

  void record(const Stream& stream);
  void synchronize() const;  // the host waits; at once if never recorded
  bool done() const;
  // Of two events with Timing::on, recorded and done: seconds from `earlier` to this one, on a GPU
  // by its clock.
  double seconds_since(const Event& earlier) const;
  CUevent_st* handle() const { return handle_; }

 private:
  CUevent_st* handle_ = nullptr;
  double recorded_ = 0;  // seconds; where work is done when it is issued
};

}  // namespace unroll
