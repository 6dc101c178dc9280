// CUDA body of step_metrics: one block.
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/update/step_metrics.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 512;

GPU_KERNEL_BOUNDS(kThreads, 1)
void step_metrics_kernel(View<double, 2> ring, uint64_t* slot, View<const float, 1> loss,
                         const int32_t* target, const double* norm2) {
  double sum = 0;
  int tokens = 0;
  for (int64_t n = threadIdx.x; n < loss.n[0]; n += kThreads) {
    if (target[n] < 0) continue;
    sum += double(loss(n));
    ++tokens;
  }
  sum = block_sum(sum);
  tokens = block_sum(tokens);
  if (threadIdx.x == 0) {
    double* record = ring.row(int64_t(*slot % uint64_t(ring.n[0])));
    record[0] = double(*slot);
    record[1] = sum;
    record[2] = double(tokens);
    record[3] = norm2 ? *norm2 : 0.0;
    ++*slot;
  }
}

}  // namespace

void step_metrics(const Exec& exec, const StepMetrics& args) {
  require_f32("step_metrics", args.loss.dtype);
  gpu::Launch shape;
  shape.block.x = kThreads;
  gpu::launch(step_metrics_kernel, shape, exec.stream, args.ring.as<double>(),
              static_cast<uint64_t*>(args.slot.data), args.loss.as<const float>(),
              static_cast<const int32_t*>(args.target.data),
              static_cast<const double*>(args.norm2.data));
}

}  // namespace unroll::cuda
