// weight_mask.h: a pass that masks R as it loads it gives, bit for bit, what it gives with a masked
// copy of R; and every bit counts.
#include "kernels/recurrent/weight_mask.h"

#include "kernels/base/error.h"
#include "kernels/regularize/weight_drop.h"
#include "tests/kernels/recurrent/recurrent_case.h"
#if defined(UNROLL_WITH_CUDA)
#include "tests/kernels/recurrent/persistent_case.h"
#endif

namespace unroll::test {
namespace {

// The bits of R, and its masked copy.
struct Dropped {
  Array<2> bits, copy;
  double p;

  Dropped(const Backend& backend, const oracle::Layer<double>& layer, const Target& t, double p)
      : bits(backend, DType::u32, {layer.G() * layer.H, weight_drop_words(layer.H)}, 1),
        copy(backend, t.act, {layer.G() * layer.H, layer.H}),
        p(p) {
    Array<2> x(backend, t.acc(), {layer.G() * layer.H, layer.H});
    Array<1> counter(backend, DType::u64, {2});
    x.fill(layer.R);
    counter.fill({7, 3});
    weight_drop_forward(
        backend.exec(),
        {.y = copy, .bits = bits, .x = x, .p = p, .key = {.counter = counter, .op = 1}});
    backend.stream().synchronize();
  }
  WeightMask mask() const { return {bits.view, p}; }
};

class WeightMaskTest : public OnTargets {
 protected:
  const RecurrentCase case_ = {2, 3, 33, false, false, true, true, 1};

  template <class Args>
  std::string error_of(void (*op)(const Exec&, const Args&), const Args& args, ErrorKind kind) {
    try {
      op(exec(), args);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind);
      return e.what();
    }
    return "no error";
  }
};

TEST_P(WeightMaskTest, IsRefusedWhereRIsReadAsItLies) {
  const oracle::Layer<double> layer = random_layer(Cell::lstm, case_, GetParam());
  const bool on_cuda = GetParam().device == DeviceKind::cuda;
  RecurrentArrays arrays(backend(), layer, GetParam(), 1,
                         on_cuda ? Schedule::alternating : Schedule::automatic);
  const Dropped dropped(backend(), layer, GetParam(), 0.5);
  RecurrentForward f = arrays.forward_args();
  RecurrentBackward b = arrays.backward_args();
  f.mask = b.mask = dropped.mask();
  const std::string expected =
      std::string("recurrent: mask is given, and ") +
      (on_cuda ? "the alternating schedule" : "the CPU") +
      " multiplies by R where it lies; leave the mask out and give a masked copy as R "
      "(WeightDrop::y)";
  EXPECT_EQ(error_of(&recurrent_forward, f, ErrorKind::usage), expected);
  EXPECT_EQ(error_of(&recurrent_backward, b, ErrorKind::usage), expected);
}

TEST_P(WeightMaskTest, MustFitR) {
  const oracle::Layer<double> layer = random_layer(Cell::lstm, case_, GetParam());
  RecurrentArrays arrays(backend(), layer, GetParam(), 1);
  const Dropped dropped(backend(), layer, GetParam(), 0.5);
  RecurrentForward f = arrays.forward_args();
  f.mask = dropped.mask();
  f.mask.bits.n[1] = 1;
  EXPECT_EQ(error_of(&recurrent_forward, f, ErrorKind::internal),
            "recurrent_forward: mask.bits is [132,1] u32, expected [GH,ceil(H/32)] = [132,2] u32");
  RecurrentBackward b = arrays.backward_args();
  b.mask = dropped.mask();
  b.mask.p = 1;
  EXPECT_EQ(error_of(&recurrent_backward, b, ErrorKind::internal),
            "recurrent_backward: mask.p is 1.000000, expected 0 <= p < 1");
}

UNROLL_ON_TARGETS(WeightMaskTest);

#if defined(UNROLL_WITH_CUDA)
using Bytes = std::vector<std::vector<unsigned char>>;

Bytes bytes_of(PersistentArrays& a) {
  a.backend.stream().synchronize();
  Bytes all;
  for (Array<3>* x : {&a.h, &a.c, &a.saved, &a.dWx, &a.dRh}) all.push_back(x->bytes());
  return all;
}

// As in persistent_test.cc. With a partner, both directions run in one launch.
struct Division {
  Cell cell;
  RecurrentCase layer;
  int64_t groups, unit_groups;
  int held, cluster;
  bool pair = false;
};
// Every cell; rows on 16 bytes and not; R in registers, in shared memory and in both; blocks beyond
// H; clusters; lengths and both directions.
constexpr Division kDivisions[] = {
    {Cell::lstm, {2, 9, 33, false, true, true, true, 3}, 2, 1, 99, 1},
    {Cell::lstm, {2, 1, 129, true, false, true, true, 7}, 1, 2, 1, 2},
    {Cell::gru, {2, 9, 33, false, true, true, true, 0}, 2, 2, 0, 1, true},
    {Cell::gru, {2, 1, 33, true, false, true, true, 7}, 1, 1, 1, 4},
    {Cell::tanh, {2, 9, 7, true, false, true, true, 1}, 1, 1, 99, 1},
    {Cell::relu, {2, 1, 129, false, false, true, true, 0}, 1, 3, 2, 1},
    {Cell::lstm, {2, 1, 1, false, false, true, true, 0}, 1, 1, 99, 1},
};

class WeightMaskPassesTest : public OnTargets {
 protected:
  // Both passes, with the mask or with its copy of R.
  static void set(const Dropped& dropped, bool masked, RecurrentForward& f, RecurrentBackward& b) {
    f.mask = b.mask = masked ? dropped.mask() : WeightMask{};
    if (!masked) f.R = b.R = dropped.copy.view;
  }
  Bytes persistent(PersistentArrays& a, PersistentArrays& other, const Dropped& dropped,
                   const Division& d, bool masked) {
    const auto plan = [&](bool backward) {
      return persistent_plan_of({d.cell, backward, d.layer.B, d.layer.H, act(), exec().matmul},
                                d.groups, d.unit_groups, 1, d.held, 99, d.cluster);
    };
    RecurrentForward f = a.persistent_forward_args(), g = other.persistent_forward_args();
    RecurrentBackward b = a.persistent_backward_args(), c = other.persistent_backward_args();
    set(dropped, masked, f, b);
    set(dropped, masked, g, c);
    cuda::persistent_forward(exec(), f, d.pair ? &g : nullptr, plan(false));
    cuda::persistent_backward(exec(), b, d.pair ? &c : nullptr, plan(true));
    Bytes all = bytes_of(a);
    if (d.pair)
      for (auto& bytes : bytes_of(other)) all.push_back(std::move(bytes));
    return all;
  }
  Bytes step(PersistentArrays& a, const Dropped& dropped, bool masked) {
    RecurrentForward f = a.forward_args();
    RecurrentBackward b = a.backward_args();
    f.schedule = b.schedule = Schedule::step;
    set(dropped, masked, f, b);
    recurrent_forward(exec(), f);
    recurrent_backward(exec(), b);
    return bytes_of(a);
  }
};

TEST_P(WeightMaskPassesTest, GiveTheBitsOfAMaskedCopy) {
  for (const Division& d : kDivisions) {
    SCOPED_TRACE(testing::Message() << info_of(d.cell).name << " " << d.layer);
    oracle::Layer<double> layer = random_layer(d.cell, d.layer, GetParam());
    PersistentArrays a(backend(), layer, GetParam(), d.layer.pad);
    oracle::Layer<double> mirrored = layer;
    mirrored.reverse = !layer.reverse;
    PersistentArrays other(backend(), mirrored, GetParam(), d.layer.pad);
    const auto dh = random_values(int64_t(d.layer.T) * d.layer.B * d.layer.H, act(), 9);
    for (PersistentArrays* x : {&a, &other}) x->dh.fill(dh);
    // The copy is made of what passes read, so that both are rounded alike whatever p is.
    const Dropped dropped(backend(), layer, GetParam(), d.cell == Cell::gru ? 0.3 : 0.5);
    EXPECT_TRUE(persistent(a, other, dropped, d, true) == persistent(a, other, dropped, d, false));
    EXPECT_TRUE(step(a, dropped, true) == step(a, dropped, false)) << "step";
  }
}

// Of a layer whose weights are all alike: each bit changes what forward, and what backward gives.
TEST_P(WeightMaskPassesTest, EveryBitCounts) {
  const RecurrentCase c = {2, 2, 5, false, false, true, true, 0};
  oracle::Layer<double> layer = random_layer(Cell::tanh, c, GetParam());
  std::fill(layer.R.begin(), layer.R.end(), 0.25);
  std::fill(layer.h.begin(), layer.h.end(), 0.5);
  PersistentArrays a(backend(), layer, GetParam(), 0);
  a.dh.fill(0.5);
  Dropped dropped(backend(), layer, GetParam(), 0.5);
  const std::vector<double> bits = dropped.bits.read();
  for (const Schedule schedule : {Schedule::persistent, Schedule::step}) {
    const auto run = [&](const std::vector<double>& forward, const std::vector<double>& backward) {
      RecurrentForward f = a.forward_args();
      RecurrentBackward b = a.backward_args();
      f.schedule = b.schedule = schedule;
      f.mask = b.mask = dropped.mask();
      Array<2> own(backend(), DType::u32, {c.H, 1});
      own.fill(forward);
      f.mask.bits = own;
      recurrent_forward(exec(), f);
      synchronize();
      const std::vector<unsigned char> h = a.h.bytes();
      own.fill(backward);
      b.mask.bits = own;
      recurrent_backward(exec(), b);
      synchronize();
      return std::pair{h, a.dWx.bytes()};
    };
    const auto [h, dWx] = run(bits, bits);
    for (int row = 0; row < c.H; ++row)
      for (int column = 0; column < c.H; ++column) {
        SCOPED_TRACE(testing::Message() << name_of(schedule) << " " << row << " " << column);
        std::vector<double> flipped = bits;
        flipped[size_t(row)] = double(uint32_t(bits[size_t(row)]) ^ 1u << column);
        EXPECT_TRUE(run(flipped, bits).first != h);
        EXPECT_TRUE(run(bits, flipped).second != dWx);
      }
  }
}

UNROLL_ON_GPU_PRECISIONS(WeightMaskPassesTest);
#endif

}  // namespace
}  // namespace unroll::test
