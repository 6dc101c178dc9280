// CUDA body of the sampler: a thread per sample.
#include "kernels/base/gpu.h"
#include "kernels/heads/sampler.h"
#include "kernels/heads/sampler_draw.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 128;

GPU_KERNEL_BOUNDS(kThreads, 1)
void draw_kernel(View<int32_t, 1> ids, AliasTables q, const uint64_t* counter, uint32_t op) {
  const int64_t s = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (s < ids.n[0]) ids(s) = draw_sample(q, counter[0], counter[1], op, s);
}

}  // namespace

void draw_samples(const Exec& exec, const DrawSamples& args) {
  gpu::Launch shape;
  shape.grid.x = unsigned((args.ids.n[0] + kThreads - 1) / kThreads);
  shape.block.x = kThreads;
  const AliasTables q = {static_cast<const uint32_t*>(args.keep.data),
                         static_cast<const int32_t*>(args.alias.data), uint64_t(args.keep.n[0])};
  gpu::launch(draw_kernel, shape, exec.stream, args.ids.as<int32_t>(), q,
              static_cast<const uint64_t*>(args.counter.data), args.op);
}

}  // namespace unroll::cuda
