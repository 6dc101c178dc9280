// What layers are used for, forward and backward with all gradients: three stacked layers
// 1150-1150-400 of AWD-LSTM; the same with dropped recurrent weights; both directions of a layer
// whose lanes have lengths from 5 to 60.
//
//   recurrent_stack_forward/KIND/CELL/SHAPE, SHAPE that of the widest layer
//   recurrent_stack_backward/KIND/CELL/SHAPE            gradients of weights on the side branch
//   recurrent_stack_backward/KIND_in_order/CELL/SHAPE   on a GPU, the same in one stream
#include "bench/harness/roofline.h"
#include "kernels/gemm/gemm.h"
#include "kernels/recurrent/recurrent.h"
#include "kernels/regularize/weight_drop.h"

namespace unroll::bench {
namespace {

// A layer in one direction: input width, width.
struct LayerSize {
  int64_t input, width;
  bool reverse = false;
};

struct Stack {
  const char* name;
  int64_t T, B;
  std::vector<LayerSize> layers;
  bool below_feeds;  // each layer reads the one before it; otherwise all read the same input
  bool dropped = false;
  bool lengths = false;
};

std::vector<Stack> stacks(bool quick) {
  if (quick)
    return {{"layers", 4, 3, {{33, 33}, {33, 33}, {33, 17}}, true},
            {"dropped", 4, 3, {{33, 33}}, true, true},
            {"bidirectional", 9, 3, {{16, 16}, {16, 16, true}}, false, false, true}};
  return {{"layers", 70, 20, {{1150, 1150}, {1150, 1150}, {1150, 400}}, true},
          {"dropped", 70, 20, {{1150, 1150}}, true, true},
          {"bidirectional", 60, 32, {{512, 512}, {512, 512, true}}, false, false, true}};
}

// One layer's arrays and the work of both its passes.
struct Layer {
  RecurrentForward forward{};
  RecurrentBackward backward{};
  RecurrentWeightGradients gradients{};
  WeightDrop drop{};
  WeightDropBackward undrop{};
  View3 x, dx;
  View2 W, dW;

  Layer(const Bench& bench, Bench::Case& c, const Stack& stack, const LayerSize& size, Cell cell,
        const View3& x_, const View3& dx_, const View1& lengths)
      : x(x_), dx(dx_) {
    const int64_t T = stack.T, B = stack.B, H = size.width, GH = info_of(cell).gates * H;
    const DType act = bench.act();
    W = c.array(bench, act, GH, size.input);
    dW = c.array(bench, DType::f32, GH, size.input);
    RecurrentForward& f = forward;
    f.cell = cell;
    f.reverse = size.reverse;
    f.h = c.array(bench, act, T + 1, B, H);
    if (info_of(cell).states == 2) f.c = c.array(bench, DType::f32, T + 1, B, H);
    if (info_of(cell).saved > 0) f.saved = c.array(bench, act, T, B, info_of(cell).saved * H);
    f.Wx = c.array(bench, DType::f32, T, B, GH);
    f.R = c.array(bench, act, GH, H);
    f.b_W = c.array(bench, DType::f32, GH);
    f.b_R = c.array(bench, DType::f32, GH);
    f.lengths = lengths;
    f.scratch = c.scratch(bench, recurrent_scratch_bytes(bench.exec(), cell, act, T, B, H));
    RecurrentBackward& b = backward;
    b.cell = cell;
    b.reverse = size.reverse;
    b.dWx = c.array(bench, act, T, B, GH);
    if (info_of(cell).split) b.dRh = c.array(bench, act, T, B, GH);
    b.dh = c.array(bench, act, T, B, H);
    b.h = f.h;
    b.c = f.c;
    b.saved = f.saved;
    b.R = f.R;
    b.lengths = lengths;
    b.scratch = f.scratch;
    RecurrentWeightGradients& w = gradients;
    w.cell = cell;
    w.reverse = size.reverse;
    w.dR = c.array(bench, DType::f32, GH, H);
    w.db_W = c.array(bench, DType::f32, GH);
    w.db_R = c.array(bench, DType::f32, GH);
    w.dWx = b.dWx;
    w.dRh = info_of(cell).split ? b.dRh : b.dWx;
    w.h = f.h;
    if (!stack.dropped) return;
    drop.bits = c.array(bench, DType::u32, GH, weight_drop_words(H));
    // As a layer does: the passes mask R, or read a masked copy of it.
    f.schedule = b.schedule =
        choose_schedule(bench.exec(), Schedule::automatic, cell, act, T, B, H).schedule;
    if (takes_mask(f.schedule))
      f.mask = b.mask = {drop.bits, 0.5};
    else
      drop.y = f.R;
    drop.x = c.array(bench, DType::f32, GH, H);
    drop.p = 0.5;
    drop.key.counter = c.array(bench, DType::u64, 2);
    undrop = {.dx = w.dR, .dy = w.dR, .bits = drop.bits, .p = 0.5};
  }

  void run_forward(const Exec& exec) const {
    if (drop.bits) weight_drop_forward(exec, drop);
    gemm(exec, {.C = forward.Wx.matrix(), .A = x.matrix(), .B = W, .transpose_B = Transpose::yes});
    recurrent_forward(exec, forward);
  }
  // dx is added to where another direction has written it.
  void run_backward(const Exec& exec, Accumulate to_dx) const {
    recurrent_backward(exec, backward);
    gemm(exec, {.C = dx.matrix(), .A = backward.dWx.matrix(), .B = W, .beta = beta_of(to_dx)});
  }
  void run_weight_gradients(const Exec& exec) const {
    recurrent_weight_gradients(exec, gradients);
    if (drop.bits) weight_drop_backward(exec, undrop);
    gemm(exec,
         {.C = dW, .A = backward.dWx.matrix(), .B = x.matrix(), .transpose_A = Transpose::yes});
  }
};

// Steps 1..T of the states: what the next layer reads.
View3 outputs_of(const RecurrentForward& f, int64_t T) {
  View3 y = f.h;
  y.n[0] = T;
  if (!f.reverse) y.data = static_cast<char*>(y.data) + size_t(y.n[1] * y.ld) * size_of(y.dtype);
  return y;
}

void add_stack(const Bench& bench, const Stack& stack, Cell cell, bool backward, SideBranch* side) {
  const int64_t T = stack.T, B = stack.B;
  int64_t widest = 0;
  for (const LayerSize& l : stack.layers) widest = std::max(widest, l.width);
  const Shape shape{int(T), int(B), int(widest)};
  bench.add(std::string("recurrent_stack_") + (backward ? "backward/" : "forward/") + stack.name +
                (backward && bench.on_cuda() && !side ? "_in_order" : "") + "/" +
                info_of(cell).name + "/" + text_of(shape),
            [=, &bench](Bench::Case& c) {
              View1 lengths{};
              double valid = double(T * B);
              if (stack.lengths) {
                // From 5 to T, spread evenly.
                std::vector<int32_t> steps(static_cast<size_t>(B));
                valid = 0;
                for (int64_t b = 0; b < B; ++b) {
                  steps[size_t(b)] = int32_t(T - (T - 5) * b / std::max<int64_t>(B - 1, 1));
                  valid += steps[size_t(b)];
                }
                lengths = c.ids(bench, B, 1);
                bench.backend().stream().copy(lengths.data, steps.data(), size_t(B) * 4);
                bench.backend().stream().synchronize();
              }
              auto layers = std::make_shared<std::vector<Layer>>();
              const int64_t input = stack.layers[0].input;
              View3 x = c.array(bench, bench.act(), T, B, input);
              View3 dx = c.array(bench, bench.act(), T, B, input);
              const double es = double(size_of(bench.act()));
              c.work.bytes = (backward ? 2 : 1) * valid * double(input) * es;
              for (const LayerSize& size : stack.layers) {
                layers->emplace_back(bench, c, stack, size, cell, x, dx, lengths);
                const double H = double(size.width),
                             weights = info_of(cell).gates * H * (H + double(size.input));
                c.work.flops += (backward ? 4 : 2) * valid * weights;
                // Weights and what forward leaves once; backward also what comes from above, and
                // gradients of weights in f32.
                c.work.bytes += weights * (es + (backward ? 4 : 0)) +
                                valid * H * (1 + info_of(cell).saved + backward) * es +
                                (info_of(cell).states == 2 ? 4 * valid * H : 0);
                if (!stack.below_feeds) continue;
                x = outputs_of(layers->back().forward, T);
                dx = layers->back().backward.dh;
              }
              c.body = [=, exec = bench.exec()] {
                if (!backward) {
                  for (const Layer& l : *layers) l.run_forward(exec);
                  return;
                }
                for (auto l = layers->rbegin(); l != layers->rend(); ++l) {
                  l->run_backward(exec, stack.below_feeds || l == layers->rbegin()
                                            ? Accumulate::overwrite
                                            : Accumulate::add);
                  if (side) side->fork();
                  l->run_weight_gradients(side ? side->beside(exec) : exec);
                }
                if (side) side->join();
              };
            });
}

}  // namespace

void add_recurrent_stacks(const Bench& bench) {
  for (const Stack& stack : stacks(bench.quick()))
    for (const Cell cell : {Cell::lstm, Cell::gru, Cell::tanh}) {
      add_stack(bench, stack, cell, false, nullptr);
      add_stack(bench, stack, cell, true, nullptr);
      if (SideBranch* side = bench.backend().side()) add_stack(bench, stack, cell, true, side);
    }
}

}  // namespace unroll::bench
