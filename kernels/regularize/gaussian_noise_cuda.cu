// CUDA body of gaussian_noise: a thread per block of four numbers, wherever rows end.
#include <algorithm>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/gpu.h"
#include "kernels/regularize/gaussian_noise.h"
#include "kernels/regularize/normal.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

struct Draw {
  const uint64_t* counter;
  uint32_t op;
  float deviation;
};

template <class T>
GPU_KERNEL_BOUNDS(kThreads, 1)
void gaussian_noise_kernel(View<T, 2> y, View<const T, 2> x, Draw draw) {
  const int64_t D = y.n[1], elements = y.n[0] * D, blocks = (elements + 3) / 4;
  for (int64_t block = int64_t(blockIdx.x) * kThreads + threadIdx.x; block < blocks;
       block += int64_t(gridDim.x) * kThreads) {
    const Philox4 words = philox_block(draw.counter[0], draw.counter[1], draw.op, uint64_t(block));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t e = 4 * block + i, n = e / D, d = e % D;
      if (e < elements) y(n, d) = T(float(x(n, d)) + draw.deviation * normal_of<float>(words, i));
    }
  }
}

}  // namespace

void gaussian_noise(const Exec& exec, const GaussianNoise& args) {
  const int64_t blocks = (args.y.size() + 3) / 4;
  if (blocks == 0) return;
  with_act("gaussian_noise", args.y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Draw draw = {static_cast<const uint64_t*>(args.key.counter.data), args.key.op,
                       float(args.deviation)};
    gpu::Launch shape;
    shape.grid.x = unsigned(std::min<int64_t>((blocks + kThreads - 1) / kThreads, 65535));
    shape.block.x = kThreads;
    gpu::launch(gaussian_noise_kernel<T>, shape, exec.stream, args.y.as<T>(), args.x.as<const T>(),
                draw);
  });
}

}  // namespace unroll::cuda
