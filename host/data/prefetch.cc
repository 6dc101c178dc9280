// The worker of Prefetch.
#include "host/data/prefetch.h"

#include <algorithm>
#include <utility>

#include "kernels/base/error.h"

namespace unroll {

Prefetch::Prefetch(ChunkSource& source, int64_t epoch, int64_t k, int depth)
    : source_(source), depth_(static_cast<size_t>(std::max(1, depth))) {
  if (source.chunks(epoch) < 1) {
    throw Error(ErrorKind::data, "the text gives no chunk at all; it needs more tokens");
  }
  worker_ = std::thread([this, epoch, k] { work(epoch, k); });
}

Prefetch::~Prefetch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void Prefetch::work(int64_t epoch, int64_t k) {
  try {
    while (true) {
      HostChunk chunk;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || ready_.size() < depth_; });
        if (stop_) return;
        if (!spare_.empty()) {
          chunk = std::move(spare_.back());
          spare_.pop_back();
        }
      }
      if (k >= source_.chunks(epoch)) {
        ++epoch;
        k = 0;
      }
      source_.fill(epoch, k++, chunk);
      {
        const std::lock_guard lock(mutex_);
        ready_.push_back(std::move(chunk));
      }
      changed_.notify_all();
    }
  } catch (...) {  // thrown again where the next chunk is asked for
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

void Prefetch::next(HostChunk& out) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !ready_.empty() || failure_; });
  if (ready_.empty()) std::rethrow_exception(failure_);
  std::swap(out, ready_.front());
  spare_.push_back(std::move(ready_.front()));
  ready_.pop_front();
  changed_.notify_all();
}

}  // namespace unroll
