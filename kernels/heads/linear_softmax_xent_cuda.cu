// CUDA body of the output layer. Training: per chunk of tokens a product into scratch, a row kernel
// that turns logits into gradients, and products for dx and dW. Evaluation and the low-memory mode
// walk the vocabulary instead.
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/linear_softmax_xent.h"
#include "kernels/heads/row_softmax.cuh"
#include "kernels/heads/xent_pieces.cuh"
#include "kernels/heads/xent_plan.h"

namespace unroll::cuda {
namespace {

View2 matrix(void* data, DType dtype, int64_t rows, int64_t columns, int64_t ld) {
  View2 m = view_of(data, dtype, rows, columns);
  m.ld = ld;
  return m;
}

// dx, dW and db, as far as they are wanted, of a chunk of tokens and a piece of the vocabulary.
struct Products {
  View2 dz, x, W, dx, dW;
  View1 db;
  Accumulate to_dx, to_dW, to_db;
};
void products(const Exec& exec, const Products& p) {
  cuda::gemm(exec, {.C = p.dx, .A = p.dz, .B = p.W, .beta = beta_of(p.to_dx)});
  if (p.dW)
    cuda::gemm(
        exec,
        {.C = p.dW, .A = p.dz, .B = p.x, .transpose_A = Transpose::yes, .beta = beta_of(p.to_dW)});
  if (p.db) cuda::column_sum(exec, {.sum = p.db, .x = p.dz, .to_sum = p.to_db});
}

// Chunks of tokens; the logits become their gradients in place.
template <class T>
void train_chunks(const Exec& exec, const LinearSoftmaxXent& args, const XentPlan& plan) {
  const int64_t N = args.x.n[0], V = args.W.n[0];
  for (int64_t first = 0; first < N; first += plan.rows) {
    const int64_t count = std::min(plan.rows, N - first);
    const View2 z = matrix(args.scratch.data, args.x.dtype, count, V, xent_stride(V));
    const View2 x = args.x.slice(first, count);
    cuda::gemm(exec, {.C = z, .A = x, .B = args.W, .transpose_B = Transpose::yes});

    const Rows<T> rows = {
        .z = z.as<const T>(),
        .out = z.as<T>(),
        .terms = XentTerms<float>(args.options, V),
        .b = static_cast<const float*>(args.b.data),
        .x = x.as<const T>(),
        .W = args.W.as<const T>(),
        .loss = static_cast<float*>(args.loss.data) + first,
        .target = static_cast<const int32_t*>(args.target.data) + first,
        .dloss = static_cast<const float*>(args.dloss.data) + first,
        .shift = args.shift ? static_cast<const float*>(args.shift.data) + first : nullptr};
    row_softmax<RowTask::gradient>(exec, rows, rows_aligned(z) && rows_aligned(args.b));

    const auto written = [&](Accumulate a) { return first == 0 ? a : Accumulate::add; };
    products(exec, {.dz = z,
                    .x = x,
                    .W = args.W,
                    .dx = args.dx.slice(first, count),
                    .dW = args.dW,
                    .db = args.db,
                    .to_dx = Accumulate::overwrite,
                    .to_dW = written(args.to_dW),
                    .to_db = written(args.to_db)});
  }
}

// Pieces of the vocabulary, all tokens at once.
template <class T>
void walk(const Exec& exec, const LinearSoftmaxXent& args, const XentPlan& plan) {
  constexpr bool kInPlace = std::is_same_v<T, float>;
  const int64_t N = args.x.n[0], D = args.x.n[1], V = args.W.n[0];
  const bool training = bool(args.dx);
  char* at = static_cast<char*>(args.scratch.data);
  const auto take = [&](int64_t elements, size_t size) {
    char* part = at;
    at += xent_part(size_t(elements) * size);
    return part;
  };
  Piece piece = {.z = {},
                 .terms = XentTerms<float>(args.options, V),
                 .target = static_cast<const int32_t*>(args.target.data),
                 .sums = reinterpret_cast<RowSum<float>*>(take(N, sizeof(RowSum<float>))),
                 .loss = static_cast<float*>(args.loss.data),
                 .dloss = static_cast<const float*>(args.dloss.data),
                 .shift = static_cast<const float*>(args.shift.data)};
  if (training)
    piece.gradients = reinterpret_cast<RowGradient<float>*>(take(N, sizeof(RowGradient<float>)));
  // Between pieces dx is not rounded.
  const View2 dx =
      training && !kInPlace ? matrix(take(N * D, sizeof(float)), DType::f32, N, D, D) : args.dx;
  void* z_data = take(N * plan.columns, sizeof(float));
  void* dz_data = kInPlace ? z_data : at;

  const auto for_each_piece = [&](auto body) {
    for (int64_t first = 0; first < V; first += plan.columns) {
      const int64_t count = std::min(plan.columns, V - first);
      const View2 W = args.W.slice(first, count);
      const View2 z = matrix(z_data, DType::f32, N, count, plan.columns);
      cuda::gemm(exec, {.C = z, .A = args.x, .B = W, .transpose_B = Transpose::yes});
      const View1 b = args.b.slice(first, count);
      piece.z = z.as<const float>();
      piece.b = static_cast<const float*>(b.data);
      piece.first = first;
      piece.begins = first == 0;
      piece.ends = first + count == V;
      body(first, count, W, rows_aligned(z) && rows_aligned(b));
    }
  };
  for_each_piece([&](int64_t, int64_t, const View2&, bool wide) { piece_sums(exec, piece, wide); });
  if (!training) return;
  for_each_piece([&](int64_t first, int64_t count, const View2& W, bool wide) {
    const View2 dz = matrix(dz_data, DTypeOf<T>::value, N, count, plan.columns);
    gpu::launch(wide ? piece_gradient_kernel<4, T> : piece_gradient_kernel<1, T>,
                row_tiles(N, count, wide ? 4 : 1), exec.stream, dz.as<T>(), piece);
    products(exec, {.dz = dz,
                    .x = args.x,
                    .W = W,
                    .dx = dx,
                    .dW = args.dW.slice(first, count),
                    .db = args.db.slice(first, count),
                    .to_dx = piece.begins ? Accumulate::overwrite : Accumulate::add,
                    .to_dW = args.to_dW,
                    .to_db = args.to_db});
  });
  if (!kInPlace) cuda::add_scaled(exec, {.y = args.dx, .x = dx});
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
  const XentPlan plan = plan_xent(exec, args.x.dtype, args.x.n[0], args.x.n[1], args.W.n[0],
                                  bool(args.dx), args.scratch.bytes);
  with_act("linear_softmax_xent", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    plan.keep ? train_chunks<T>(exec, args, plan) : walk<T>(exec, args, plan);
  });
}

void linear_log_softmax(const Exec& exec, const LinearLogSoftmax& args) {
  if (args.log_p.size() == 0) return;
  cuda::gemm(exec, {.C = args.log_p, .A = args.x, .B = args.W, .transpose_B = Transpose::yes});
  const Rows<float> rows = {.z = args.log_p.as<const float>(),
                            .out = args.log_p.as<float>(),
                            .terms = XentTerms<float>({.soft_cap = args.soft_cap}, args.W.n[0]),
                            .b = static_cast<const float*>(args.b.data)};
  row_softmax<RowTask::log_p>(exec, rows, rows_aligned(args.log_p) && rows_aligned(args.b));
}

}  // namespace unroll::cuda
