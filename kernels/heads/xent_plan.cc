#include "kernels/heads/xent_plan.h"

#include <algorithm>

#include "kernels/heads/xent_row.h"

namespace unroll {
namespace {

// A chunk of R tokens reads and writes dW once, 8 V D bytes beside a product of 2 R V D operations:
// with F operations and B bytes a second that is 4 F / (B R) of a product. The low-memory mode
// computes the logits twice: one product more. The two are equal at R = 4 F / B.
constexpr int64_t kMinRowsCuda = 640;  // 790 TFLOP/s of bf16 over 4.8 TB/s, an H200
constexpr int64_t kMinRowsCpu =
    64;  // measured, two cores, AVX-512: for D of 200 and 256 equal at 35 to 70

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t to) { return divide_up(a, to) * to; }

// The largest n up to N whose bytes(n) fit; 0 if not even those of 1 do.
template <class Bytes>
int64_t most_of(int64_t N, size_t budget, Bytes bytes) {
  int64_t fits = 0, beyond = N + 1;
  while (fits + 1 < beyond) {
    const int64_t middle = fits + (beyond - fits) / 2;
    (bytes(middle) <= budget ? fits : beyond) = middle;
  }
  return fits;
}

// Height of equal chunks of at most `most` rows; 0 if they would be lower than `least`.
int64_t chunk_height(int64_t N, int64_t most, int64_t least) {
  if (most == 0) return 0;
  const int64_t chunks = divide_up(N, most), height = divide_up(N, chunks);
  return chunks > 1 && height < least ? 0 : height;
}

// A piece of 512 words, its rows of W and dW and a block of tokens stay in a core's cache.
XentPlan cpu_plan(const Exec& exec, DType act, int64_t N, int64_t D, int64_t V, bool gradients,
                  size_t budget) {
  const size_t es = size_of(act);
  const auto divided = [&](int64_t rows, int64_t columns, int64_t threads, bool keep) {
    XentPlan p;
    p.rows = rows;
    p.keep = keep;
    p.slices = int(std::min(threads, divide_up(V, 64)));
    // As many pieces for every slice.
    p.columns = round_up(divide_up(V, round_up(divide_up(V, columns), p.slices)), 16);
    const size_t S = size_t(p.slices), R = size_t(rows), ld = size_t(p.columns + kXentPad);
    p.bytes = xent_part(S * R * sizeof(RowSum<double>)) +
              S * xent_part(size_t(std::min(rows, kXentBlock)) * ld * es);
    if (gradients) p.bytes += xent_part(R * sizeof(RowGradient<double>));
    if (gradients && S > 1) p.bytes += xent_part(S * R * size_t(D) * es);
    if (keep) p.bytes += size_t(p.pieces(V)) * R * ld * es;
    return p;
  };
  int64_t columns = 512, threads = std::max(exec.threads, 1);
  if (gradients) {
    const int64_t most = most_of(
        N, budget, [&](int64_t rows) { return divided(rows, columns, threads, true).bytes; });
    if (const int64_t height = chunk_height(N, most, kMinRowsCpu))
      return divided(height, columns, threads, true);
  }
  while (true) {
    const XentPlan p = divided(N, columns, threads, false);
    if (p.bytes <= budget || (columns == 16 && threads == 1)) return p;
    if (columns > 128 || threads == 1)
      columns /= 2;
    else
      threads /= 2;
  }
}

XentPlan cuda_plan(DType act, int64_t N, int64_t D, int64_t V, bool gradients, size_t budget) {
  XentPlan p;
  const auto kept_bytes = [&](int64_t rows) {
    return size_t(rows) * size_t(xent_stride(V)) * size_of(act);
  };
  if (gradients)
    if (const int64_t height = chunk_height(N, most_of(N, budget, kept_bytes), kMinRowsCuda)) {
      p.rows = height;
      p.columns = V;
      p.keep = true;
      p.bytes = kept_bytes(height);
      return p;
    }
  // Logits of a piece in f32, and where operands are bf16 their gradients and the sum of dx.
  const bool narrow = gradients && act == DType::bf16;
  const size_t logit = sizeof(float) + (narrow ? sizeof(bf16) : 0);
  const size_t fixed = xent_part(size_t(N) * sizeof(RowSum<float>)) +
                       (gradients ? xent_part(size_t(N) * sizeof(RowGradient<float>)) : 0) +
                       (narrow ? xent_part(size_t(N) * size_t(D) * sizeof(float)) : 0);
  const auto bytes = [&](int64_t columns) {
    return fixed + xent_part(size_t(N * columns) * sizeof(float)) +
           (narrow ? size_t(N * columns) * sizeof(bf16) : 0);
  };
  // Half of the L2 cache of an H200; in training wide enough that reading and writing dx per piece
  // is a small part of its products.
  constexpr int64_t kCacheBytes = int64_t(28) << 20;
  const int64_t useful =
      std::max<int64_t>(kCacheBytes / (N * int64_t(logit)), gradients ? 8192 : 2048);
  const int64_t room = most_of(divide_up(std::min(useful, V), 8), budget,
                               [&](int64_t eighths) { return bytes(8 * eighths); });
  const int64_t most = 8 * std::max<int64_t>(room, 1);
  p.rows = N;
  p.columns = round_up(divide_up(V, divide_up(V, most)), 8);
  p.bytes = bytes(p.columns);
  return p;
}

}  // namespace

XentPlan plan_xent(const Exec& exec, DType act, int64_t N, int64_t D, int64_t V, bool gradients,
                   size_t budget) {
  N = std::max<int64_t>(N, 1);
  V = std::max<int64_t>(V, 1);
  // A measuring Exec stands for the device whose BLAS handle it holds.
  const bool cuda = exec.kind == DeviceKind::cuda || exec.blas != nullptr;
  const auto plan = [&](size_t bytes) {
    return cuda ? cuda_plan(act, N, D, V, gradients, bytes)
                : cpu_plan(exec, act, N, D, V, gradients, bytes);
  };
  const XentPlan p = plan(budget);
  // Where the least is more than the budget, a better plan may fit that much.
  return p.bytes > budget ? plan(p.bytes) : p;
}

size_t linear_softmax_xent_scratch_bytes(const Exec& exec, DType act, int64_t N, int64_t D,
                                         int64_t V, bool gradients, size_t budget) {
  return plan_xent(exec, act, N, D, V, gradients, budget).bytes;
}

}  // namespace unroll
