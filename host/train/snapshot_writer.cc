#include "host/train/snapshot_writer.h"

#include <cstring>
#include <utility>

namespace unroll {

SnapshotWriter::SnapshotWriter(const Backend& backend)
    : backend_(backend),
      to_host_(backend.device(), Priority::low),
      staging_{{{}, {}, Event(backend.device()), Event(backend.device())},
               {{}, {}, Event(backend.device()), Event(backend.device())}},
      worker_([this] { work(); }) {}

SnapshotWriter::~SnapshotWriter() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void SnapshotWriter::reserve(Kind kind, size_t bytes) {
  Buffer& memory = staging_[size_t(kind)].memory;
  if (memory.bytes() >= bytes) return;
  memory = Buffer(backend_.device(), MemoryKind::pinned, bytes);
  // Touched now, so that a run that does not fit the machine shows at its start.
  std::memset(memory.data(), 0, memory.bytes());
}

size_t SnapshotWriter::reserve_on_device(Kind kind) {
  Staging& staging = staging_[size_t(kind)];
  const Device& device = backend_.device();
  const size_t bytes = staging.memory.bytes();
  if (device.kind() != DeviceKind::cuda || device.free_memory_bytes() / 2 < bytes) return 0;
  staging.on_device = Buffer(device, MemoryKind::device, bytes);
  return bytes;
}

void SnapshotWriter::submit(Kind kind, const std::vector<Block>& blocks, Write write) {
  Staging& staging = staging_[size_t(kind)];
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !staging.busy; });
    check(lock);
    staging.busy = true;
  }
  try {
    queue(kind, blocks, std::move(write));
  } catch (...) {
    release(staging);
    throw;
  }
}

void SnapshotWriter::queue(Kind kind, const std::vector<Block>& blocks, Write write) {
  Staging& staging = staging_[size_t(kind)];
  size_t bytes = 0;
  for (const Block& block : blocks) bytes += padded(block.bytes);
  reserve(kind, bytes);
  Job job{&staging, {}, std::move(write)};
  const bool staged = staging.on_device && staging.on_device.bytes() >= bytes;
  char* const host = staging.memory.as<char>();
  char* const to = staged ? staging.on_device.as<char>() : host;
  size_t at = 0;
  for (const Block& block : blocks) {
    backend_.stream().copy(to + at, block.memory, block.bytes);
    job.copies.push_back(host + at);
    at += padded(block.bytes);
  }
  if (staged) {
    staging.taken.record(backend_.stream());
    to_host_.wait(staging.taken);
    to_host_.copy(host, to, at);
  }
  staging.copied.record(staged ? to_host_ : backend_.stream());
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
}

void SnapshotWriter::release(Staging& staging, std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    if (failure && !failure_) failure_ = failure;
    staging.busy = false;
  }
  changed_.notify_all();
}

void SnapshotWriter::check(std::unique_lock<std::mutex>&) {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void SnapshotWriter::check() {
  std::unique_lock lock(mutex_);
  check(lock);
}

void SnapshotWriter::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !staging_[0].busy && !staging_[1].busy; });
  check(lock);
}

void SnapshotWriter::work() {
  backend_.device().make_current();
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    std::exception_ptr failure;
    try {
      job.staging->copied.synchronize();
      job.write(job.copies);
    } catch (...) {  // thrown again at the next save, or at the end
      failure = std::current_exception();
    }
    release(*job.staging, failure);
  }
}

}  // namespace unroll
