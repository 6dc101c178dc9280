// The thread count of the CPU backend. OpenBLAS, oneDNN and our own loops share one OpenMP runtime
// and so one pool of threads; what they all read is the calling thread's default team size.
#pragma once

#include <omp.h>

#include "kernels/base/exec.h"

namespace unroll::cpu {

// Makes exec.threads the team size of every parallel region that this thread opens from now on.
inline void use_threads(const Exec& exec) {
  if (omp_get_max_threads() != exec.threads) omp_set_num_threads(exec.threads);
}

}  // namespace unroll::cpu
