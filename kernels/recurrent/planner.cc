#include "kernels/recurrent/planner.h"

#include <algorithm>
#include <limits>

#include "kernels/base/dispatch.h"
#include "kernels/recurrent/persistent_cuda.h"

namespace unroll {
namespace {

double whole(double n, double piece) {
  return double((int64_t(n) + int64_t(piece) - 1) / int64_t(piece));
}

// A product of rows x K with K x B, cut into blocks of some rows and lanes.
struct Tiles {
  double rows, K, B, block_rows, block_lanes;
};

double padded(double n, double piece) { return whole(n, piece) * piece; }

// Microseconds for all blocks to read their operands and multiply them.
double product_us(const Tiles& t, double element, double flops_per_us, const DeviceFigures& d) {
  const double row_blocks = whole(t.rows, t.block_rows), lane_blocks = whole(t.B, t.block_lanes);
  const double blocks = row_blocks * lane_blocks;
  // Lanes are padded to 8 and shared evenly enough.
  const double lanes = padded(t.B, 8) / lane_blocks;
  const double block_bytes = (t.block_rows + lanes) * t.K * element;
  const double turns = whole(blocks, d.multiprocessors);
  const double busy = std::min(blocks, double(d.multiprocessors)) / d.multiprocessors;
  const double l2 = blocks * block_bytes / (d.l2_bytes_per_us * d.multiprocessors / 132);
  const double ingest = turns * block_bytes / (d.sm_bytes_per_clock * d.clock_mhz);
  const double flops = 2 * t.rows * t.K * padded(t.B, 8);
  return std::max({l2, ingest, flops / (flops_per_us * d.multiprocessors / 132 * busy)});
}

double tensor_flops(const RecurrentShape& s, const DeviceFigures& d) {
  return s.act == DType::bf16 ? d.bf16_flops_per_us : d.tf32_flops_per_us;
}

// Microseconds from the products of a step to its h with layer normalisation, where each block reads
// `rows` rows of G H numbers for its lane.
double lanes_us(const RecurrentShape& s, double rows, const DeviceFigures& d) {
  const double bytes = rows * info_of(s.cell).gates * double(s.H) * sizeof(float);
  const double turns = whole(double(s.B), d.multiprocessors);
  return d.lane_us + turns * bytes / (d.sm_bytes_per_clock * d.clock_mhz);
}

StepTime predict_step(const RecurrentShape& s, const DeviceFigures& d) {
  const double G = info_of(s.cell).gates, H = double(s.H), B = double(s.B);
  const double element = double(size_of(s.act));
  // True f32 is three TF32 products.
  const bool three = s.act == DType::f32 && s.matmul == MatmulMode::f32;
  const double flops = tensor_flops(s, d) / (three ? 3 : 1);
  // R is copied once a pass: read and written.
  const double copy =
      (2 * G * H * H * element / d.l2_bytes_per_us + 2 * d.node_gap_us) / double(s.T);
  const double gap = d.early_start ? d.early_gap_us : d.node_gap_us;
  const double base = gap + d.finish_us + copy + (s.normalised ? gap + lanes_us(s, 1, d) : 0);
  return {base + product_us({G * H, H, B, 16 * G, 32}, element, flops, d),
          base + product_us({H, G * H, B, 16, 32}, element, flops, d)};
}

StepTime predict_alternating(const RecurrentShape& s, const DeviceFigures& d) {
  const double G = info_of(s.cell).gates, H = double(s.H), B = double(s.B);
  const double element = double(size_of(s.act));
  const bool exact = s.act == DType::f32 && s.matmul == MatmulMode::f32;
  const double flops = exact ? d.f32_flops_per_us : tensor_flops(s, d);
  // A library's tiles: 64 rows, up to 128 lanes, and K shared among blocks where rows are few.
  const double product = product_us({G * H, H, B, 64, 128}, element, flops, d) / d.gemm_share;
  const double rest = s.normalised ? lanes_us(s, 4, d) : d.finish_us;
  const double step = 2 * d.node_gap_us + rest + product;
  return {step, step};
}

StepTime predict_persistent(const RecurrentShape& s, const DeviceFigures& d) {
  const auto pass = [&](bool backward) {
    const PersistentPlan plan =
        plan_persistent({s.cell, backward, s.B, s.H, s.act, s.matmul}, room_of(d));
    if (plan.blocks == 0 || s.normalised) return std::numeric_limits<double>::infinity();
    return plan.step_ns / 1000 + d.launch_us / double(s.T);
  };
  return {pass(false), pass(true)};
}

}  // namespace

PersistentRoom room_of(const DeviceFigures& d) {
  if (!d.early_start) return {d.multiprocessors, d.shared_bytes};
  return {d.multiprocessors, d.shared_bytes, d.pairs, d.fours};
}

DeviceFigures device_figures(const Exec& exec) {
  if constexpr (kBuiltWithCuda) return cuda::device_figures(exec);
  DeviceFigures device;
  device.multiprocessors = exec.sm_count;
  return device;
}

StepTime predict(Schedule schedule, const RecurrentShape& shape, const DeviceFigures& device) {
  switch (schedule) {
    case Schedule::step:
      return predict_step(shape, device);
    case Schedule::persistent:
      return predict_persistent(shape, device);
    default:
      return predict_alternating(shape, device);
  }
}

}  // namespace unroll
