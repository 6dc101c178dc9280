// Time that passes, for reports and limits.
#pragma once

#include <chrono>

namespace unroll {

// Seconds of a clock that is never set; its start means nothing.
inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace unroll
