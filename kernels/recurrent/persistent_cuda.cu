// What both passes of the persistent schedule share on the host: whether it can run, the filling of
// the exchange, and the words for a wait that timed out.
#include <algorithm>

#include "kernels/recurrent/persistent_launch.cuh"
#include "kernels/recurrent/persistent_patience.h"

namespace unroll::cuda {
namespace {

struct Exchanges {
  uint32_t* words[2];
  PersistentReport* report[2];
};

GPU_KERNEL_BOUNDS(kThreads, 1)
void fill_exchange_kernel(Exchanges all, int64_t n) {
  uint32_t* const words = all.words[blockIdx.y];
  const int64_t first = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (first == 0) *all.report[blockIdx.y] = PersistentReport{};
  for (int64_t i = first * 4; i < n; i += int64_t(gridDim.x) * kThreads * 4)
    gpu::store_vec(words + i, Words{kSentinel, kSentinel, kSentinel, kSentinel});
}

// A plan for each of `passes` passes at once, all of whose blocks the device holds together: the
// fastest by prediction of those. Where there is none, `blocks` is 0 and `why` says it.
PersistentPlan resident_plan(const Exec& exec, const PersistentTask& task, int passes,
                             std::string* why) {
  if (task.act != DType::bf16 && task.act != DType::f32) {
    *why = std::string("it computes in f32 or bf16, not in ") + name_of(task.act) +
           " (--precision fp32, tf32 or bf16)";
    return {};
  }
  PersistentRoom room = room_of(cuda::device_figures(exec)).share(passes);
  while (true) {
    const PersistentPlan plan = plan_persistent(task, room, why);
    if (!plan.blocks) return plan;
    const int64_t blocks = plan.blocks * passes,
                  fit = task.backward ? persistent_backward_fit(task, plan, passes)
                                      : persistent_forward_fit(task, plan, passes);
    if (fit >= blocks) return plan;
    if (plan.cluster == 1) {
      *why = "its " + std::to_string(blocks) +
             " blocks wait for each other, and the device holds " + std::to_string(fit) +
             " of them at once";
      return {};
    }
    room.clusters(plan.cluster) = fit / plan.cluster / passes;  // fewer than the plan has
  }
}

}  // namespace

DeviceFigures device_figures(const Exec& exec) {
  DeviceFigures device;
  device.multiprocessors = exec.sm_count;
  device.shared_bytes = gpu::shared_bytes_per_block();
  const auto clusters = [&](unsigned size) {
    gpu::Launch alone;  // on its multiprocessor
    alone.grid.x = alone.cluster = size;
    alone.block.x = kThreads;
    alone.shared_bytes = device.shared_bytes;
    return gpu::resident_clusters(fill_exchange_kernel, alone);
  };
  device.pairs = clusters(2);
  device.fours = clusters(4);
  device.early_start = device.pairs > 0;
  return device;
}

std::string persistent_obstacle(const Exec& exec, Cell cell, DType act, int64_t B, int64_t H,
                                int passes) {
  std::string why;
  for (const bool backward : {false, true})
    if (!resident_plan(exec, {cell, backward, B, H, act, exec.matmul}, passes, &why).blocks)
      return why;
  return "";
}

PersistentPlan require_plan(const Exec& exec, const PersistentTask& task, int passes) {
  std::string why;
  const PersistentPlan plan = resident_plan(exec, task, passes, &why);
  if (!plan.blocks)
    throw Error(ErrorKind::usage, "the persistent schedule cannot run: " + why +
                                      "; use --schedule auto, step or alternating");
  return plan;
}

PersistentLayout persistent_layout(const PersistentPlan& plan, const PersistentTask& task,
                                   int64_t T, bool reverse, const View1& lengths,
                                   int64_t first_step, const Scratch& scratch) {
  const int64_t words = (T - 1) * persistent_step_words(plan, task.B);
  const size_t needed = size_t(kReportBytes + words * 4);
  if (scratch.bytes < needed)
    throw Error("persistent schedule: scratch is " + std::to_string(scratch.bytes) +
                " bytes, expected persistent_scratch_bytes = " + std::to_string(needed));
  PersistentLayout l{};
  l.T = int(T);
  l.B = int(task.B);
  l.H = int(task.H);
  l.Hp = int(plan.Hp);
  l.first_step = int(first_step);
  l.K = int(plan.K);
  l.k_blocks = int(plan.k_blocks);
  l.unit_groups = int(plan.unit_groups);
  l.shares = int(plan.shares);
  l.lanes = int(plan.lanes);
  l.cluster = plan.cluster;
  l.slice = int(plan.slice);
  l.k_warps = int(plan.warps_of_K());
  while (1 << l.k_shift < l.k_warps) ++l.k_shift;
  l.blocks = int(plan.blocks);
  l.held = plan.held;
  l.held_blocks = std::min(l.slice, l.k_warps * l.held);
  l.partial_floats = l.cluster * l.unit_groups * plan.M * plan.n_tiles * l.k_warps * gpu::kWarp * 4;
  l.warp_blocks = int(plan.warp_blocks());
  l.piece = int(plan.piece);
  l.staged_blocks = std::min(l.slice, kWarps * l.piece);
  l.reverse = reverse;
  l.patience = persistent_patience();
  l.report = static_cast<PersistentReport*>(scratch.data);
  l.exchange = reinterpret_cast<uint32_t*>(static_cast<char*>(scratch.data) + kReportBytes);
  l.lengths = static_cast<const int32_t*>(lengths.data);
  return l;
}

void fill_exchanges(const Exec& exec, const PersistentLayout (&l)[2], int passes) {
  const int64_t words = int64_t(l[0].T - 1) * l[0].k_blocks * l[0].B * kBlockWords;
  gpu::Launch fill;
  const int64_t useful = words / (4 * kThreads) + 1;
  fill.grid =
      dim3(unsigned(useful < 2 * exec.sm_count ? useful : 2 * exec.sm_count), unsigned(passes));
  fill.block.x = kThreads;
  const Exchanges all = {{l[0].exchange, l[1].exchange}, {l[0].report, l[1].report}};
  gpu::launch(fill_exchange_kernel, fill, exec.stream, all, words);
}

std::string text_of(const PersistentReport& r) {
  if (!r.timed_out) return "";
  return "persistent schedule: block " + std::to_string(r.block) + ", warp " +
         std::to_string(r.warp) + " gave up in step " + std::to_string(r.step) +
         " waiting for number " + std::to_string(r.k) + " of lane " + std::to_string(r.lane) +
         ", which block " + std::to_string(r.owner) + " sends; the results are wrong";
}

}  // namespace unroll::cuda
