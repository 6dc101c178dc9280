// Queued device work that runs late. A piece of work waits for the pieces before it in its stream
// and for the events its stream was told to wait for, and for nothing else: which of the pieces
// that may run does run, and when, is random, the same for the same seed. So a program that forgot
// an event wait or a synchronise gets wrong numbers here, whatever a real device would have made of
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "host/device/clock.h"

namespace unroll::gpu_on_cpu {

struct HostRange {
  const char* data = nullptr;
  size_t bytes = 0;
  bool overlaps(const HostRange& o) const {
    return bytes && o.bytes && data < o.data + o.bytes && o.data < data + bytes;
  }
};

// A kernel, copy or fill as issued: everything by value, as the device gets it.
struct Item {
  std::function<void()> work;
  HostRange reads;          // pinned host memory that a copy reads when it runs
  HostRange writes;         // pinned host memory that a copy fills when it runs
  bool background = false;  // of a stream of the lowest priority
};

// When background work runs beside other work that may run.
enum class Background : uint8_t { at_random, last, first };

struct Op;
using OpPtr = std::shared_ptr<Op>;

struct Op {
  Item item;
  std::vector<OpPtr> after, followers;
  int waiting = 0;  // entries of `after` that have not run
  bool done = false;
  double ended = 0;        // seconds_now() when it was
  uint64_t needed_by = 0;  // the last synchronising call that waits for this piece

  void end() {
    done = true;
    ended = seconds_now();
  }
};

class Queue {
 public:
  // The seed is UNROLL_GPU_SEED, or 1.
  Queue();
  void set_seed(uint64_t seed);
  void set_background(Background order) { background_ = order; }

  // Queues a piece of work; entries of `after` may be null. Fills pinned memory that it will write
  // with 0xff, so that a host which does not wait reads garbage.
  OpPtr add(Item item, std::vector<OpPtr> after);
  // Runs pieces until `op` has run: only those it needs, or all others first, or at random.
  void run_until(const OpPtr& op);
  void run_all();
  // Perhaps runs something: called whenever the host asks for anything.
  void idle();
  // Runs at least one piece if there is any: the host polls.
  void poll();

  // What the first piece that threw has said, once; pieces queued behind it were dropped, as a
  // device that has failed does nothing more.
  std::string take_failure();
  void fail(const std::string& what) {
    if (failure_.empty()) failure_ = what;
  }
  bool failed() const { return !failure_.empty(); }

 private:
  void mark_needed(const OpPtr& op);
  // One of the entries of ready_ whose numbers are given.
  size_t choose(std::vector<size_t> candidates);
  void run_any();
  void run_at(size_t ready_index);
  bool chance(double p) { return std::uniform_real_distribution<>()(random_) < p; }

  std::mt19937_64 random_;
  Background background_ = Background::at_random;
  double eagerness_ = 0;  // how often work runs before anybody waits for it
  uint64_t waits_ = 0;
  std::vector<OpPtr> ready_, host_readers_;
  std::string failure_;
};

}  // namespace unroll::gpu_on_cpu
