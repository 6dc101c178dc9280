// Launches the kernel of row_on_chip.cuh with any division of a row; see on_chip_rows.h.
#include "tests/gpu_on_cpu/on_chip_rows.h"

#include "kernels/heads/row_on_chip.cuh"

namespace unroll::gpu_on_cpu {
namespace {

template <bool kOptions, class T>
void launch_rows(const OnChipCall& a) {
  const auto matrix = [&](int64_t columns, int64_t ld) {
    return View2{a.z, sizeof(T) == 2 ? DType::bf16 : DType::f32, {a.N, columns}, ld};
  };
  View2 x = matrix(a.D, a.D), W = matrix(a.D, a.D);
  x.data = a.x;
  W.data = a.W;
  W.n[0] = a.V;
  const View2 z = matrix(a.V, a.ld);
  const cuda::Rows<T> rows = {.z = z.as<const T>(),
                              .out = z.as<T>(),
                              .terms = XentTerms<float>(a.options, a.V),
                              .b = a.b,
                              .x = x.as<const T>(),
                              .W = W.as<const T>(),
                              .loss = a.loss,
                              .target = a.target,
                              .dloss = a.dloss};
  const cuda::OnChipPlan plan(a.V, sizeof(T), a.cluster, a.keeps_bias);
  gpu::Launch shape = cuda::on_chip_launch(plan, sizeof(T));
  shape.grid.x *= a.clusters;
  gpu::launch(cuda::true_logits_kernel<T>, cuda::row_launch<gpu::kWarp>(a.N), nullptr, rows);
  gpu::launch(cuda::on_chip_row_kernel<kOptions, T>, shape, nullptr, rows, plan);
}

}  // namespace

void launch_on_chip_rows(const OnChipCall& a, bool bf16_logits) {
  const bool options = a.options.soft_cap > 0 || a.options.label_smoothing > 0;
  if (bf16_logits)
    options ? launch_rows<true, bf16>(a) : launch_rows<false, bf16>(a);
  else
    options ? launch_rows<true, float>(a) : launch_rows<false, float>(a);
}

}  // namespace unroll::gpu_on_cpu
