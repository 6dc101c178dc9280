// A second queue beside the main one, for work whose results nobody needs until the two are joined:
// the gradients of weights, which only the update reads, run on the multiprocessors that the loop
// of the next lower layer leaves free.
//
//   main   loop_l, dx_l ── fork ── loop_l-1, dx_l-1 ── fork ── … ── join, update
//   side                    └ dR_l, dW_l, db_l           └ dR_l-1, …  ┘
//
// In a captured graph forks and joins are edges and the side is a branch of its own. Its products
// have a BLAS handle of their own with a workspace of the same size, so that the library chooses
// the same kernels as on the main stream: the same bits.
//
// A persistent loop needs a place for all of its blocks at once, and its blocks wait for each other
// once they run. Nothing of one queue ever waits for a running kernel of the other, only for its
// end, and products end by themselves, so they delay a loop that finds the device full and never
// stop it. The main stream has the higher priority, so that the delay is that of the blocks which
// already run, and not of all that are queued. Where a library's product has one wave of blocks that
// stay for the whole of it, that is the product: whether the branch pays on a device is the ratio of
// recurrent_stack_backward/KIND to KIND_in_order in `./dev bench recurrent`.
#pragma once

#include <optional>

#include "host/device/blas_handle.h"
#include "host/device/stream.h"

namespace unroll {

class SideBranch {
 public:
  // Borrows the main stream. On the CPU work is done when it is issued, on either side.
  SideBranch(const Device& device, const Stream& main);

  // What the side is given from here on waits for all that the main stream was given before.
  void fork();
  // What the main stream is given from here on waits for all that the side was given before.
  void join();
  // `exec` on the side's stream and BLAS handle.
  Exec beside(Exec exec) const;

 private:
  const Stream& main_;
  Stream stream_;
  std::optional<BlasHandle> blas_;
  Event forked_, joined_;
};

}  // namespace unroll
