// Files written behind the training: what they hold is copied on the device, in stream order; from
// there a stream of its own takes it to the host, and a thread writes it, while the next steps run.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "host/device/backend.h"
#include "host/memory/buffer.h"

namespace unroll {

class SnapshotWriter {
 public:
  // Snapshots of different kinds do not wait for each other.
  enum class Kind { model, state };
  struct Block {
    const void* memory;  // on the device
    size_t bytes;
  };
  // Gets the blocks' copies, in the same order.
  using Write = std::function<void(const std::vector<const void*>&)>;

  explicit SnapshotWriter(const Backend& backend);
  ~SnapshotWriter();  // waits for what is under way; call finish() first to hear of failures
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  // Of a block in a snapshot.
  static constexpr size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

  // Host memory for a snapshot of that kind; else submit() makes room.
  void reserve(Kind kind, size_t bytes);
  // And memory on a GPU, if at least as much stays free there; returns what it takes. Without it
  // the steps after a snapshot wait until it is on the host.
  size_t reserve_on_device(Kind kind);
  // Takes a snapshot and returns: the copies lie in stream order, so later work may change the
  // blocks. `write` runs on the writer's thread, after those submitted before it. Waits only where
  // the last snapshot of this kind is not yet written. Throws as check(), and where memory is short.
  void submit(Kind kind, const std::vector<Block>& blocks, Write write);
  // Throws what an earlier `write` threw, once.
  void check();
  // Waits for everything submitted. Throws as check().
  void finish();

 private:
  struct Staging {
    Buffer memory, on_device;
    Event taken, copied;
    bool busy = false;
  };
  struct Job {
    Staging* staging;
    std::vector<const void*> copies;
    Write write;
  };
  void queue(Kind kind, const std::vector<Block>& blocks, Write write);
  // The kind's next snapshot may come.
  void release(Staging& staging, std::exception_ptr failure = nullptr);
  void work();
  void check(std::unique_lock<std::mutex>& lock);

  const Backend& backend_;
  Stream to_host_;
  Staging staging_[2];
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::exception_ptr failure_;
  bool stop_ = false;
  std::thread worker_;
};

}  // namespace unroll
