// Progress of a long count or estimate: stages of known share, and the time left from their sum.
#pragma once

#include <chrono>
#include <functional>

namespace unroll {

struct NgramProgress {
  const char* stage;  // what is being done, e.g. "sorting n-grams"
  double fraction;    // of the whole work, 0 to 1
  double elapsed_s, eta_s;
};
using NgramProgressCallback = std::function<void(const NgramProgress&)>;

class ProgressMeter {
 public:
  explicit ProgressMeter(NgramProgressCallback callback = nullptr)
      : callback_(std::move(callback)), start_(Clock::now()) {}

  // Begins a stage that is `share` of the whole work (0 to 1).
  void begin(const char* stage, double share) {
    done_ += share_;
    stage_ = stage;
    share_ = share;
    report(0, true);
  }
  // `within`: fraction of the stage. The callback hears of it at most ten times a second.
  void update(double within) { report(within, false); }
  void finish() {
    done_ = 1;
    share_ = 0;
    report(0, true);
  }

 private:
  using Clock = std::chrono::steady_clock;
  void report(double within, bool always) {
    if (!callback_) return;
    const Clock::time_point now = Clock::now();
    if (!always && now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    const double fraction = done_ + share_ * within;
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    callback_({stage_, fraction, elapsed, fraction > 0 ? elapsed / fraction - elapsed : 0});
  }

  NgramProgressCallback callback_;
  Clock::time_point start_, last_;
  const char* stage_ = "";
  double done_ = 0, share_ = 0;
};

}  // namespace unroll
