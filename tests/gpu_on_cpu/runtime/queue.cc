// Choice and execution of queued work.
#include "tests/gpu_on_cpu/runtime/queue.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <numeric>
#include <utility>

namespace unroll::gpu_on_cpu {

Queue::Queue() {
  const char* seed = std::getenv("UNROLL_GPU_SEED");
  set_seed(seed ? std::strtoull(seed, nullptr, 10) : 1);
}

void Queue::set_seed(uint64_t seed) {
  random_.seed(seed);
  eagerness_ = 0;
  background_ = Background(seed % 3);
}

OpPtr Queue::add(Item item, std::vector<OpPtr> after) {
  auto op = std::make_shared<Op>();
  op->item = std::move(item);
  if (failed()) {
    op->end();
    return op;
  }
  for (OpPtr& before : after) {
    if (!before || before->done) continue;
    before->followers.push_back(op);
    op->after.push_back(std::move(before));
    ++op->waiting;
  }
  const HostRange& writes = op->item.writes;
  std::erase_if(host_readers_, [](const OpPtr& r) { return r->done; });
  if (writes.bytes && std::none_of(host_readers_.begin(), host_readers_.end(),
                                   [&](const OpPtr& r) { return r->item.reads.overlaps(writes); }))
    std::memset(const_cast<char*>(writes.data), 0xff, writes.bytes);
  if (op->item.reads.bytes) host_readers_.push_back(op);
  if (op->waiting == 0) ready_.push_back(op);
  return op;
}

void Queue::mark_needed(const OpPtr& op) {
  ++waits_;
  std::vector<Op*> open{op.get()};
  while (!open.empty()) {
    Op* next = open.back();
    open.pop_back();
    if (next->done || next->needed_by == waits_) continue;
    next->needed_by = waits_;
    for (const OpPtr& before : next->after) open.push_back(before.get());
  }
}

void Queue::run_until(const OpPtr& op) {
  if (!op) return;
  mark_needed(op);
  const int policy = int(random_() % 3);
  std::vector<size_t> candidates;
  while (!op->done) {
    candidates.clear();
    if (policy != 2)  // 0: what is needed, 1: what is not, as long as there is any
      for (size_t i = 0; i < ready_.size(); ++i)
        if ((ready_[i]->needed_by == waits_) == (policy == 0)) candidates.push_back(i);
    candidates.empty() ? run_any() : run_at(choose(candidates));
  }
  constexpr double kEagerness[] = {0, 0, 0.1, 0.5};
  eagerness_ = kEagerness[random_() % 4];
}

size_t Queue::choose(std::vector<size_t> candidates) {
  const auto split = std::partition(candidates.begin(), candidates.end(), [&](size_t i) {
    return ready_[i]->item.background == (background_ == Background::first);
  });
  if (background_ != Background::at_random && split != candidates.begin())
    candidates.erase(split, candidates.end());
  return candidates[random_() % candidates.size()];
}

void Queue::run_any() {
  std::vector<size_t> all(ready_.size());
  std::iota(all.begin(), all.end(), size_t(0));
  run_at(choose(std::move(all)));
}

void Queue::run_all() {
  while (!ready_.empty()) run_any();
}

void Queue::idle() {
  while (!ready_.empty() && chance(eagerness_)) run_any();
}

void Queue::poll() {
  if (!ready_.empty()) run_any();
}

void Queue::run_at(size_t ready_index) {
  const OpPtr op = ready_[ready_index];
  ready_.erase(ready_.begin() + ptrdiff_t(ready_index));
  // The pieces behind a failure count as done, so that nobody waits for them for ever.
  if (op->item.work && !failed()) {
    try {
      op->item.work();
    } catch (const std::exception& e) {
      fail(e.what());
    }
  }
  op->item.work = nullptr;
  op->end();
  op->after.clear();
  for (const OpPtr& follower : op->followers)
    if (--follower->waiting == 0) ready_.push_back(follower);
  op->followers.clear();
}

std::string Queue::take_failure() {
  if (failed()) run_all();  // drops them
  return std::exchange(failure_, std::string());
}

}  // namespace unroll::gpu_on_cpu
