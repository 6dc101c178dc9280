// Inputs of the output layer as double, the same on a device with poisoned outputs, and a run of
// the op in scratch of any size.
#pragma once

#include <cstdint>

#include "kernels/heads/linear_softmax_xent.h"
#include "tests/harness/tolerances.h"
#include "tests/oracle/heads.h"

namespace unroll::test {

struct Dims {
  int64_t N, D, V;
};

struct Problem {
  Dims dims;
  std::vector<double> x, W, b, target, dloss;
  XentOptions options{};
  HeadOracle oracle() const {
    return head_oracle(dims.N, dims.D, dims.V, x, W, b, target, dloss,
                       {options.label_smoothing, options.z_loss, options.soft_cap});
  }
};

// Every fifth target is ignored; the inputs are rounded to the types they are stored in.
inline Problem make_problem(const Dims& dims, DType act, bool with_bias, unsigned seed = 1,
                            double scale = 1) {
  Problem p{dims,
            random_values(dims.N * dims.D, act, seed, scale),
            random_values(dims.V * dims.D, act, seed + 1, scale),
            {},
            {},
            {}};
  if (with_bias) p.b = random_values(dims.V, accumulate_type(act), seed + 2);
  p.target = random_ids(dims.N, int(dims.V), seed + 3);
  if (dims.N > 0) p.target.back() = double(dims.V - 1);
  for (size_t n = 2; n < p.target.size(); n += 5) p.target[n] = -1;
  p.dloss = random_values(dims.N, accumulate_type(act), seed + 4);
  return p;
}

struct XentArrays {
  Array<2> x, W, dx, dW;
  Array<1> b, target, dloss, loss, db;
  bool with_bias;
  XentOptions options;

  XentArrays(const Backend& backend, DType act, const Problem& p)
      : x(backend, act, {p.dims.N, p.dims.D}, 3),
        W(backend, act, {p.dims.V, p.dims.D}, 1),
        dx(backend, act, {p.dims.N, p.dims.D}, 5),
        dW(backend, accumulate_type(act), {p.dims.V, p.dims.D}, 2),
        b(backend, accumulate_type(act), {p.dims.V}),
        target(backend, DType::i32, {p.dims.N}),
        dloss(backend, accumulate_type(act), {p.dims.N}),
        loss(backend, accumulate_type(act), {p.dims.N}, 4),
        db(backend, accumulate_type(act), {p.dims.V}, 4),
        with_bias(!p.b.empty()),
        options(p.options) {
    x.fill(p.x);
    W.fill(p.W);
    if (with_bias) b.fill(p.b);
    target.fill(p.target);
    dloss.fill(p.dloss);
  }
  LinearSoftmaxXent training(Accumulate to = Accumulate::overwrite) {
    LinearSoftmaxXent args = evaluation();
    args.dx = dx;
    args.dW = dW;
    if (with_bias) args.db = db;
    args.to_dW = args.to_db = to;
    args.dloss = dloss;
    return args;
  }
  LinearSoftmaxXent evaluation() {
    LinearSoftmaxXent args;
    args.loss = loss;
    args.x = x;
    args.W = W;
    if (with_bias) args.b = b;
    args.target = target;
    args.options = options;
    return args;
  }
};

// CUDA kernels executed thread by thread: large shapes cost seconds.
#if defined(UNROLL_GPU_ON_CPU)
constexpr bool kKernelsOnCpu = true;
#else
constexpr bool kKernelsOnCpu = false;
#endif

class XentTest : public OnTargets {
 protected:
  // Budgets of scratch: all logits at once, and the least that will do, which is the low-memory
  // mode with its smallest pieces.
  static constexpr size_t kWhole = SIZE_MAX, kLeast = 0;

  size_t scratch_bytes(const LinearSoftmaxXent& args, size_t budget) const {
    return linear_softmax_xent_scratch_bytes(exec(), act(), args.x.n[0], args.x.n[1], args.W.n[0],
                                             bool(args.dx), budget);
  }
  void run(LinearSoftmaxXent args, size_t budget = kWhole) {
    const size_t bytes = scratch_bytes(args, budget);
    EXPECT_LE(bytes, std::max(budget, scratch_bytes(args, kLeast)));
    EXPECT_EQ(scratch_bytes(args, bytes), bytes) << "the same plan from what it asked for";
    Array<1> scratch(backend(), DType::u8, {int64_t(bytes)}, 256);
    args.scratch = {scratch.view.data, bytes};
    linear_softmax_xent(exec(), args);
    synchronize();
    EXPECT_TRUE(scratch.padding_untouched()) << "wrote beyond the scratch";
  }
  void expect_equals(XentArrays& r, const HeadOracle& expected) {
    const double t = tolerance(GetParam());
    expect_close(r.loss.read(), expected.loss, t, "loss");
    expect_close(r.dx.read(), expected.dx, t, "dx");
    expect_close(r.dW.read(), expected.dW, t, "dW");
    if (r.with_bias) expect_close(r.db.read(), expected.db, t, "db");
    EXPECT_TRUE(r.loss.padding_untouched() && r.dx.padding_untouched() &&
                r.dW.padding_untouched() && r.db.padding_untouched());
  }
};

}  // namespace unroll::test
