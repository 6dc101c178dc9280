// The time-out of the persistent schedule, for finding out who waits for what instead of hanging.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace unroll {

// UNROLL_PERSISTENT_TIMEOUT of the environment: looks at a word before a wait for it is given up.
// 0, or not set: none is.
inline uint32_t persistent_patience() {
  const char* value = std::getenv("UNROLL_PERSISTENT_TIMEOUT");
  return value ? uint32_t(std::strtoul(value, nullptr, 10)) : 0;
}

}  // namespace unroll
