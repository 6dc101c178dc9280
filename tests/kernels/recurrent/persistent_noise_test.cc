// Inside the persistent schedule: noise in both directions at once, in a plan of several groups of
// lanes and pieces of K; and groups whose lanes all end early. The kinds of noise one by one are in
// loop_noise_test.cc.
#if defined(UNROLL_WITH_CUDA)
#include <bit>

#include "kernels/recurrent/backward_part.h"
#include "tests/kernels/recurrent/noise_case.h"
#include "tests/kernels/recurrent/persistent_case.h"

namespace unroll::test {
namespace {

// Eight lanes of which one has all steps, and three that end earlier or have none.
constexpr RecurrentCase kLayer = {4, 11, 40, false, true, true, true, 1};
const std::vector<int> kLengths = {4, 1, 3, 4, 2, 0, 4, 3, 2, 0, 1};
constexpr NoiseCase kOfLstm = {kLayer, 0.3, 0.5, 0.4, false, false, true},
                    kOfGru = {kLayer, 0.3, 0, 0.4, true, false, true};

class PersistentNoiseTest : public PersistentSuite {
 protected:
  // Two groups of lanes, 16 units to a block, K in registers and in shared memory, in pieces;
  // backward GRU in clusters.
  PersistentPlan plan(Cell cell, bool backward, const RecurrentCase& c) const {
    return persistent_plan_of({cell, backward, c.B, c.H, act(), exec().matmul}, 2, 1, 1, 1, 1,
                              cell == Cell::gru ? 2 : 1);
  }
  // One direction of a layer with noise.
  struct Direction {
    NoiseCase noise;
    oracle::Layer<double> layer;
    NoisyArrays arrays;
    Direction(const Backend& backend, Cell cell, NoiseCase n, bool reverse, const Target& target)
        : noise([&] {
            n.layer.reverse = reverse;
            return n;
          }()),
          layer(noisy_layer(cell, noise, target)),
          arrays(backend, layer, noise, target) {
      layer.lengths = kLengths;
      arrays.lengths.fill(std::vector<double>(kLengths.begin(), kLengths.end()));
    }
  };
  void run(Direction& a, Direction& b, Cell cell) {
    const RecurrentForward second = b.arrays.forward_args();
    cuda::persistent_forward(exec(), a.arrays.forward_args(), &second, plan(cell, false, kLayer));
    const RecurrentBackward back = b.arrays.backward_args();
    cuda::persistent_backward(exec(), a.arrays.backward_args(), &back, plan(cell, true, kLayer));
    for (Direction* side : {&a, &b})
      recurrent_weight_gradients(exec(), side->arrays.weight_args(Accumulate::overwrite));
    synchronize();
  }
};

TEST_P(PersistentNoiseTest, BothDirectionsEqualTheOracle) {
  for (const auto& [cell, n] : {std::pair{Cell::lstm, kOfLstm}, {Cell::gru, kOfGru}}) {
    SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << n);
    Direction a(backend(), cell, n, false, GetParam()), b(backend(), cell, n, true, GetParam());
    const auto dh = random_values(int64_t(kLayer.T) * kLayer.B * kLayer.H, act(), 9);
    for (Direction* side : {&a, &b}) side->arrays.dh.fill(dh);
    run(a, b, cell);
    for (Direction* side : {&a, &b}) {
      SCOPED_TRACE(side == &a ? "forward" : "reverse");
      side->layer.forward();
      const oracle::LayerGradient expected = oracle::gradient(side->layer, dh);
      const double limit = tolerance(GetParam());
      NoisyArrays& got = side->arrays;
      expect_close(got.h.read(), side->layer.h, limit, "h");
      if (got.two_states) expect_close(got.c.read(), side->layer.c, limit, "c");
      expect_close(got.dWx.read(), expected.dWx, limit, "dWx");
      if (got.split) expect_close(got.dRh.read(), expected.dRh, limit, "dRh");
      const double magnitude =
          act() == DType::bf16 ? terms_magnitude(expected.dWx, size_t(got.GH), side->layer.h) : 0;
      expect_close(got.dR.read(), expected.dR, limit, "dR", magnitude);
      for (Array<3>* x : {&got.h, &got.c, &got.saved, &got.h_in, &got.fresh, &got.dWx})
        EXPECT_TRUE(x->padding_untouched());
    }
  }
}

TEST_P(PersistentNoiseTest, RunsAgainBitForBit) {
  const Cell cell = Cell::lstm;
  Direction a(backend(), cell, kOfLstm, false, GetParam());
  Direction b(backend(), cell, kOfLstm, true, GetParam());
  const auto bytes_of_run = [&] {
    for (Direction* side : {&a, &b}) side->arrays.dh.fill(0.5);
    run(a, b, cell);
    std::vector<std::vector<unsigned char>> all;
    for (Direction* side : {&a, &b}) {
      NoisyArrays& x = side->arrays;
      for (Array<3>* array : {&x.h, &x.c, &x.saved, &x.h_in, &x.fresh, &x.dWx})
        all.push_back(array->bytes());
      all.push_back(x.dR.bytes());
    }
    return all;
  };
  const auto first = bytes_of_run();
  EXPECT_EQ(first, bytes_of_run());
}

// Two parts; before the cut one group of lanes has ended.
TEST_P(PersistentNoiseTest, PartsOfGroupsGiveTheWhole) {
  for (const auto& [cell, n] : {std::pair{Cell::lstm, kOfLstm}, {Cell::gru, kOfGru}}) {
    SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << n);
    Direction whole(backend(), cell, n, false, GetParam()),
        parts(backend(), cell, n, false, GetParam());
    NoisyArrays& a = parts.arrays;
    for (Direction* side : {&whole, &parts}) side->arrays.dh.fill(0.5);
    cuda::persistent_forward(exec(), whole.arrays.forward_args(), nullptr,
                             plan(cell, false, kLayer));
    cuda::persistent_backward(exec(), whole.arrays.backward_args(), nullptr,
                              plan(cell, true, kLayer));
    constexpr int64_t kCut = 2;
    for (const int64_t first : {int64_t(0), kCut}) {
      RecurrentForward part = a.forward_args();
      for (View3* x : {&part.saved, &part.h_in, &part.fresh, &part.Wx}) *x = x->slice(first, kCut);
      for (View3* x : {&part.h, &part.c}) *x = x->slice(first, kCut + 1);
      part.first_step = first;
      cuda::persistent_forward(exec(), part, nullptr, plan(cell, false, kLayer));
    }
    Array<3> past_R(backend(), DType::f32, {2, a.B, a.H});
    for (const int64_t first : {kCut, int64_t(0)}) {
      RecurrentBackward part = a.backward_args();
      const View3 dRh = a.split ? a.dRh.view : a.dWx.view;
      const BackwardCarry carry = {.dRh_next = first ? View2{} : dRh.at(kCut),
                                   .past_R = past_R.view};
      for (View3* x : {&part.dWx, &part.dRh, &part.dh, &part.saved, &part.fresh})
        *x = x->slice(first, kCut);
      for (View3* x : {&part.h, &part.c}) *x = x->slice(first, kCut + 1);
      part.first_step = first;
      cuda::persistent_backward(exec(), part, nullptr, plan(cell, true, kLayer), &carry);
    }
    synchronize();
    NoisyArrays& b = whole.arrays;
    for (const auto& [got, expected] : {std::pair{&a.h, &b.h},
                                        {&a.c, &b.c},
                                        {&a.h_in, &b.h_in},
                                        {&a.fresh, &b.fresh},
                                        {&a.dWx, &b.dWx},
                                        {&a.dRh, &b.dRh}})
      EXPECT_EQ(got->bytes(), expected->bytes());
  }
}

// What is dropped may be NaN, and what is handed on may look as if it had not been sent.
TEST_P(PersistentNoiseTest, NanNeitherHangsNorVanishes) {
  const RecurrentCase c = {4, 3, 24, false, true, false, true, 0};
  const NoiseCase n = {c, 0.3, 0, 0.4, false, false, false};
  oracle::Layer<double> layer = noisy_layer(Cell::lstm, n, GetParam());
  layer.lengths = {4, 0, 4};
  const double all_ones = std::bit_cast<double>(~uint64_t(0));
  for (int lane : {1, 2})
    for (int u = 4; u < 12; ++u) layer.h[size_t(lane * c.H + u)] = all_ones;
  NoisyArrays got(backend(), layer, n, GetParam()), other(backend(), layer, n, GetParam());
  cuda::persistent_forward(exec(), got.forward_args(), nullptr, plan(Cell::lstm, false, c));
  cuda::alternating_forward(exec(), other.forward_args());
  synchronize();
  for (const auto& [mine, theirs] : {std::pair{&got.h, &other.h}, {&got.h_in, &other.h_in}}) {
    const std::vector<double> a = mine->read(), b = theirs->read();
    int nan = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(std::isnan(a[i]), std::isnan(b[i])) << "number " << i;
      nan += std::isnan(a[i]);
    }
    EXPECT_GT(nan, 0);
  }
}

// A group of lanes exchanges only between steps that its longest lane has.
TEST_P(PersistentNoiseTest, GroupsEndWithTheirLongestLane) {
  RecurrentCase c = {5, 20, 24, false, true, true, true, 1};
  const int longest[] = {5, 2, 0};  // of lanes 0 to 7, 8 to 15 and 16 to 19
  for (const bool reverse : {false, true}) {
    SCOPED_TRACE(reverse ? "reverse" : "forward");
    c.reverse = reverse;
    oracle::Layer<double> layer = random_layer(Cell::gru, c, GetParam());
    layer.lengths = {5, 1, 0, 3, 5, 2, 4, 1, 2, 1, 0, 2, 1, 1, 2, 0, 0, 0, 0, 0};
    PersistentArrays arrays(backend(), layer, GetParam(), c.pad);
    const auto dh = random_values(int64_t(c.T) * c.B * c.H, act(), 9);
    arrays.dh.fill(dh);
    const auto run_and_check = [&](bool backward) {
      const PersistentPlan plan = persistent_plan_of(
          {Cell::gru, backward, c.B, c.H, act(), exec().matmul}, 3, 1, 1, 99, 99, reverse ? 2 : 1);
      if (backward)
        cuda::persistent_backward(exec(), arrays.persistent_backward_args(), nullptr, plan);
      else
        cuda::persistent_forward(exec(), arrays.persistent_forward_args(), nullptr, plan);
      synchronize();
      const std::vector<unsigned char> bytes = arrays.own_scratch.bytes();
      for (int i = 0; i + 1 < c.T; ++i)
        for (int b = 0; b < c.B; ++b) {
          const bool descending = reverse != backward;
          const int t = descending ? c.T - 1 - i : i, t_next = descending ? t - 1 : t + 1;
          const int end = longest[b / 8];
          uint32_t word;
          std::memcpy(&word,
                      bytes.data() + persistent::kReportBytes +
                          (int64_t(i) * plan.k_blocks * c.B + b) * persistent::kBlockBytes,
                      sizeof word);
          EXPECT_EQ(word != 0xffffffffu, t_next < end && (!backward || t < end))
              << (backward ? "backward" : "forward") << " step " << t << " lane " << b;
        }
    };
    run_and_check(false);
    run_and_check(true);
    layer.forward();
    const oracle::LayerGradient expected = oracle::gradient(layer, dh);
    expect_close(arrays.h.read(), layer.h, tolerance(GetParam()), "h");
    expect_close(arrays.dWx.read(), expected.dWx, tolerance(GetParam()), "dWx");
    expect_close(arrays.dRh.read(), expected.dRh, tolerance(GetParam()), "dRh");
  }
}

UNROLL_ON_GPU_PRECISIONS(PersistentNoiseTest);

}  // namespace
}  // namespace unroll::test
#endif
