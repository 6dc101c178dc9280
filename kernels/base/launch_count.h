// How many kernels were launched by this process: tests read it.
#pragma once

#include <atomic>
#include <cstdint>

namespace unroll::gpu {

inline std::atomic<uint64_t> launches{0};

// Kernels launched so far by gpu::launch, on any stream; a replay of a captured graph counts none.
inline uint64_t launch_count() { return launches.load(std::memory_order_relaxed); }

}  // namespace unroll::gpu
