// Predicts how long one step of a recurrent layer takes on CUDA in each schedule.
//
// A step is bound by what its blocks read from L2, all together or one of them from its
// multiprocessor, or by its arithmetic; to that comes what it costs to follow on the step before:
//
//   alternating   2 node gaps + max(R + h read by the tiles of the product, arithmetic)
//   step          gap + max(R for every 32 lanes + the vector for every block, arithmetic)
//   persistent    the model of persistent_plan.h
//
// Layer normalisation has a block to each lane instead of the cell. The alternating schedule's
// kernel becomes it and reads gains, biases and the input's part as well as its products; the fused
// step's comes in addition, and has read all but the products before its turn.
//
// A model, not a measurement: it is there to rank schedules.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/cells/cells.h"
#include "kernels/recurrent/persistent_plan.h"
#include "kernels/recurrent/schedule.h"

namespace unroll {

// Of an H200; none was measured by this project. A device with more or fewer multiprocessors is
// taken to be as fast per multiprocessor.
struct DeviceFigures {
  int multiprocessors = 132;
  bool early_start = true;           // compute capability 9.0
  int pairs = 66, fours = 32;        // clusters of 2 and of 4 blocks that it holds at once
  double clock_mhz = 1830;           // under load; data sheet: up to 1980
  double sm_bytes_per_clock = 64;    // read by one multiprocessor from L2
  double l2_bytes_per_us = 5.5e6;    // read by all; estimate from published microbenchmarks
  double bf16_flops_per_us = 614e6;  // mma.sync: 62% of the data sheet's 990 TFLOP/s
  double tf32_flops_per_us = 307e6;  // half of that
  double f32_flops_per_us = 67e6;    // data sheet, without tensor cores
  double node_gap_us = 1.3;          // from the end of a kernel to the next, in a graph
  double early_gap_us = 0.5;         // the same where the next was started early; estimate
  double finish_us = 0.1;            // sums across warps and the cell
  double lane_us = 0.8;              // a normalised lane without its traffic; estimate
  double gemm_share = 0.7;           // of the bandwidth that a product with few lanes reaches
  double launch_us = 5;              // a cooperative launch and the load of its part of R
  size_t shared_bytes = 227 * 1024;  // of a block
};

struct RecurrentShape {
  Cell cell;
  DType act;
  MatmulMode matmul;
  int64_t T, B, H;
  bool normalised = false;
};

// Microseconds of one step, with the costs of a pass spread over its T steps.
struct StepTime {
  double forward, backward;
  double both() const { return forward + backward; }
};

// What it holds of the persistent schedule's blocks; no clusters without early_start.
PersistentRoom room_of(const DeviceFigures& device);

// Of the device of `exec`; where there is none, as in a program without CUDA, an H200's with its
// number of multiprocessors.
DeviceFigures device_figures(const Exec& exec);

// Of a schedule other than automatic; infinite for the persistent one where it does not fit, and
// where the layer is normalised.
StepTime predict(Schedule schedule, const RecurrentShape& shape, const DeviceFigures& device = {});

}  // namespace unroll
