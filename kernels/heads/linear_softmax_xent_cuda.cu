// CUDA body of the output layer: per chunk of rows a product into scratch, a row kernel that turns
// logits into gradients, and products for dx and dW.
#include <algorithm>

#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/linear_softmax_xent.h"
#include "kernels/heads/row_softmax.cuh"

namespace unroll::cuda {
namespace {

int64_t padded(int64_t V) { return (V + 7) / 8 * 8; }

View2 matrix(void* data, DType dtype, int64_t rows, int64_t columns, int64_t ld) {
  View2 m = view_of(data, dtype, rows, columns);
  m.ld = ld;
  return m;
}

template <class T>
void xent(const Exec& exec, const LinearSoftmaxXent& args) {
  constexpr bool kInPlace = std::is_same_v<T, float>;  // else dz follows the logits
  const int64_t N = args.x.n[0], V = args.W.n[0], ld = padded(V);
  const int64_t row_bytes = ld * int64_t(sizeof(float) + (kInPlace ? 0 : sizeof(T)));
  // Chunks of equal height.
  const int64_t most = std::min(N, int64_t(args.scratch.bytes) / row_bytes);
  const int64_t chunks = (N + most - 1) / most, height = (N + chunks - 1) / chunks;
  const View2 z = matrix(args.scratch.data, DType::f32, height, V, ld);
  void* dz_data =
      kInPlace ? args.scratch.data : static_cast<float*>(args.scratch.data) + height * ld;
  const View2 dz = matrix(dz_data, DTypeOf<T>::value, height, V, ld);

  for (int64_t first = 0; first < N; first += height) {
    const int64_t count = std::min(height, N - first);
    const View2 z_c = z.slice(0, count), dz_c = dz.slice(0, count),
                x_c = args.x.slice(first, count);
    cuda::gemm(exec, {.C = z_c, .A = x_c, .B = args.W, .transpose_B = Transpose::yes});

    Rows<T> rows{.z = z_c.as<const float>()};
    rows.out = dz_c.as<T>();
    rows.b = static_cast<const float*>(args.b.data);
    rows.loss = static_cast<float*>(args.loss.data) + first;
    rows.target = static_cast<const int32_t*>(args.target.data) + first;
    const bool wide = rows_aligned(z_c) && rows_aligned(dz_c) && rows_aligned(args.b);
    if (!args.dx) {
      row_softmax<RowTask::loss>(exec, rows, wide);
      continue;
    }
    rows.dloss = static_cast<const float*>(args.dloss.data) + first;
    row_softmax<RowTask::gradient>(exec, rows, wide);

    const auto written = [&](Accumulate a) { return first == 0 ? a : Accumulate::add; };
    cuda::gemm(exec, {.C = args.dx.slice(first, count), .A = dz_c, .B = args.W});
    cuda::gemm(exec, {.C = args.dW,
                      .A = dz_c,
                      .B = x_c,
                      .transpose_A = Transpose::yes,
                      .beta = beta_of(written(args.to_dW))});
    if (args.db) cuda::column_sum(exec, {.sum = args.db, .x = dz_c, .to_sum = written(args.to_db)});
  }
}

// What is left of an op without rows: gradients that nothing adds to.
void clear_gradients(const Exec& exec, const LinearSoftmaxXent& args) {
  const View2 none = args.x;
  if (args.dW)
    cuda::gemm(exec, {.C = args.dW,
                      .A = matrix(nullptr, none.dtype, 0, args.dW.n[0], args.dW.n[0]),
                      .B = none,
                      .transpose_A = Transpose::yes,
                      .beta = beta_of(args.to_dW)});
  if (args.db)
    cuda::column_sum(exec, {.sum = args.db,
                            .x = matrix(nullptr, none.dtype, 0, args.db.n[0], args.db.n[0]),
                            .to_sum = args.to_db});
}

}  // namespace

void linear_softmax_xent(const Exec& exec, const LinearSoftmaxXent& args) {
  if (args.x.n[0] == 0) return clear_gradients(exec, args);
  with_act("linear_softmax_xent", args.x.dtype,
           [&](auto zero) { xent<decltype(zero)>(exec, args); });
}

void linear_log_softmax(const Exec& exec, const LinearLogSoftmax& args) {
  if (args.log_p.size() == 0) return;
  cuda::gemm(exec, {.C = args.log_p, .A = args.x, .B = args.W, .transpose_B = Transpose::yes});
  Rows<float> rows{.z = args.log_p.as<const float>()};
  rows.out = args.log_p.as<float>();
  rows.b = static_cast<const float*>(args.b.data);
  row_softmax<RowTask::log_p>(exec, rows, rows_aligned(args.log_p) && rows_aligned(args.b));
}

}  // namespace unroll::cuda
