// The persistent schedule against the layer oracle and against the alternating schedule, in plans
// that exercise each way of dividing the work.
#if defined(UNROLL_WITH_CUDA)
#include "kernels/recurrent/backward_part.h"
#include "tests/kernels/recurrent/persistent_case.h"

namespace unroll::test {
namespace {

struct Division {
  RecurrentCase layer;
  int64_t groups, unit_groups;
  int n_tiles, held;
  int64_t piece = 99;  // blocks of K per warp that are staged together
  int cluster = 1;     // backward
};

// T B H reverse lengths b_W b_R pad | batch groups, unit groups per block, tiles, held blocks,
// piece, cluster
constexpr Division kDivisions[] = {
    {{5, 9, 40, false, true, true, true, 3}, 2, 1, 1, 99},  // several blocks in each of two groups
    {{3, 20, 33, true, true, true, false, 0}, 1, 2, 3, 0},  // a block partly beyond H; no registers
    {{2, 20, 8, false, false, false, true, 8},
     1,
     1,
     2,
     99},                                                    // chunks of lanes, the last one narrow
    {{2, 3, 80, true, false, false, false, 1}, 1, 2, 1, 1},  // K in registers and in shared memory
    {{4, 3, 7, false, true, true, true, 0}, 1, 1, 1, 99},
    {{1, 1, 1, false, false, true, true, 0}, 1, 1, 1, 99},
};
// The same of clusters that share K.
constexpr Division kClusters[] = {
    {{4, 9, 40, false, true, true, true, 3}, 2, 1, 1, 99, 99, 2},  // a block beyond H in each group
    {{4, 20, 33, true, false, true, false, 0}, 2, 2, 1, 0, 99, 2},  // two chunks of lanes, one
    {{2, 3, 129, true, false, false, false, 1}, 1, 1, 1, 1, 1, 4},  // in pieces
    {{3, 3, 7, false, false, true, true, 0}, 1, 1, 1, 99, 99, 4},   // blocks without a part of K
    {{1, 1, 1, false, false, true, true, 0}, 1, 1, 1, 99, 99, 2},
};

class PersistentTest : public PersistentSuite {
 protected:
  // Close to the oracle, and no further from it than the alternating schedule: 1.5 times, or one
  // rounding of an operand.
  void expect_as_good(Array<3>& got, Array<3>& alternating, const std::vector<double>& expected,
                      const char* what) {
    expect_close(got.read(), expected, tolerance(GetParam()), what);
    const NormLimits limit = norm_limits(GetParam());
    const double error = norm_error(got.read(), expected);
    EXPECT_LE(error, limit.norm) << what;
    EXPECT_LE(error, std::max(1.5 * norm_error(alternating.read(), expected), limit.rounding))
        << what;
    EXPECT_TRUE(got.padding_untouched()) << what;
  }
  void run(PersistentArrays& arrays, Cell cell, const Division& d) {
    const auto plan = [&](bool backward) {
      const PersistentTask task = {cell, backward, d.layer.B, d.layer.H, act(), exec().matmul};
      return persistent_plan_of(task, d.groups, d.unit_groups, d.n_tiles, d.held, d.piece,
                                d.cluster);
    };
    cuda::persistent_forward(exec(), arrays.persistent_forward_args(), nullptr, plan(false));
    cuda::persistent_backward(exec(), arrays.persistent_backward_args(), nullptr, plan(true));
    synchronize();
  }
  void expect_equals(const Division& d, const std::vector<Cell>& cells);
  std::vector<std::vector<unsigned char>> bytes_of_run(PersistentArrays& arrays, Cell cell,
                                                       const Division& d) {
    run(arrays, cell, d);
    recurrent_weight_gradients(exec(), arrays.weight_args(Accumulate::overwrite));
    synchronize();
    std::vector<std::vector<unsigned char>> all;
    for (Array<3>* a : {&arrays.h, &arrays.c, &arrays.saved, &arrays.dWx, &arrays.dRh})
      all.push_back(a->bytes());
    all.push_back(arrays.dR.bytes());
    for (Array<1>* a : {&arrays.db_W, &arrays.db_R}) all.push_back(a->bytes());
    return all;
  }
};

void PersistentTest::expect_equals(const Division& d, const std::vector<Cell>& cells) {
  for (const Cell cell : cells) {
    SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << d.layer);
    oracle::Layer<double> layer = random_layer(cell, d.layer, GetParam());
    PersistentArrays arrays(backend(), layer, GetParam(), d.layer.pad);
    RecurrentArrays other(backend(), layer, GetParam(), d.layer.pad);
    const auto dh = random_values(int64_t(d.layer.T) * d.layer.B * d.layer.H, act(), 9);
    arrays.dh.fill(dh);
    other.dh.fill(dh);
    run(arrays, cell, d);
    cuda::alternating_forward(exec(), other.forward_args());
    cuda::alternating_backward(exec(), other.backward_args());
    synchronize();
    layer.forward();
    const oracle::LayerGradient expected = oracle::gradient(layer, dh);
    expect_as_good(arrays.h, other.h, layer.h, "h");
    if (arrays.two_states) expect_as_good(arrays.c, other.c, layer.c, "c");
    if (arrays.SH > 0) {
      expect_close(arrays.saved.read(), other.saved.read(), tolerance(GetParam()), "saved");
      EXPECT_TRUE(arrays.saved.padding_untouched());
    }
    expect_as_good(arrays.dWx, other.dWx, expected.dWx, "dWx");
    if (arrays.split) expect_as_good(arrays.dRh, other.dRh, expected.dRh, "dRh");
  }
}

TEST_P(PersistentTest, EqualsOracleAndAlternating) {
  for (const Division& d : kDivisions)
    expect_equals(d, {std::begin(oracle::kAllCells), std::end(oracle::kAllCells)});
}

TEST_P(PersistentTest, AClusterSharesK) {
  for (const Division& d : kClusters) expect_equals(d, {Cell::lstm, Cell::gru});
  expect_equals(kClusters[3], {Cell::tanh, Cell::relu});
}

// Pieces that end within the blocks in registers, after them, and short of a whole piece. Sums are
// added in another order, so the results are the same to a rounding.
TEST_P(PersistentTest, KInPiecesGivesTheSame) {
  struct Case {
    Cell cell;
    Division division;
  };
  for (auto [cell, d] :
       {Case{Cell::tanh, {{2, 3, 270, false, true, true, true, 1}, 1, 3, 1, 1}},
        Case{Cell::lstm, {{3, 9, 72, true, true, true, false, 0}, 2, 2, 1, 2}},
        Case{Cell::lstm, {{2, 3, 130, true, true, true, false, 0}, 1, 2, 1, 2, 99, 2}}}) {
    const oracle::Layer<double> layer = random_layer(cell, d.layer, GetParam());
    PersistentArrays whole(backend(), layer, GetParam(), d.layer.pad);
    const auto dh = random_values(int64_t(d.layer.T) * d.layer.B * d.layer.H, act(), 9);
    whole.dh.fill(dh);
    run(whole, cell, d);
    for (d.piece = 1; d.piece < 3; ++d.piece) {
      SCOPED_TRACE(testing::Message() << info_of(cell).name << " piece " << d.piece);
      PersistentArrays arrays(backend(), layer, GetParam(), d.layer.pad);
      arrays.dh.fill(dh);
      run(arrays, cell, d);
      for (const auto& [got, expected] :
           {std::pair{&arrays.h, &whole.h}, {&arrays.dWx, &whole.dWx}}) {
        EXPECT_LE(norm_error(got->read(), expected->read()), norm_limits(GetParam()).rounding);
        EXPECT_TRUE(got->padding_untouched());
      }
    }
  }
}

// Two parts, the later one first, which hands its first step's gradients on through the arrays.
TEST_P(PersistentTest, PartsOfAClusterGiveTheWhole) {
  RecurrentCase c = kClusters[0].layer;
  c.with_lengths = false;
  for (const Cell cell : {Cell::lstm, Cell::gru}) {
    SCOPED_TRACE(info_of(cell).name);
    const oracle::Layer<double> layer = random_layer(cell, c, GetParam());
    PersistentArrays arrays(backend(), layer, GetParam(), c.pad);
    Array<3> past_R(backend(), DType::f32, {2, c.B, c.H});
    arrays.dh.fill(random_values(int64_t(c.T) * c.B * c.H, act(), 9));
    const auto whole = bytes_of_run(arrays, cell, kClusters[0]);
    arrays.dWx.fill(0.25);
    arrays.dRh.fill(0.25);
    const PersistentPlan plan =
        persistent_plan_of({cell, true, c.B, c.H, act(), exec().matmul}, 2, 1, 1, 99, 99, 2);
    int64_t end = c.T;
    for (const int64_t first : {1, 0}) {
      RecurrentBackward part = arrays.persistent_backward_args();
      const View3 dRh = arrays.split ? arrays.dRh.view : arrays.dWx.view;
      const BackwardCarry carry = {.dRh_next = end < c.T ? dRh.at(end) : View2{},
                                   .past_R = past_R.view};
      for (View3* a : {&part.dWx, &part.dRh, &part.dh, &part.saved})
        *a = a->slice(first, end - first);
      for (View3* a : {&part.h, &part.c}) *a = a->slice(first, end - first + 1);
      cuda::persistent_backward(exec(), part, nullptr, plan, &carry);
      end = first;
    }
    synchronize();
    EXPECT_EQ(arrays.dWx.bytes(), whole[3]);
    if (arrays.split) {
      EXPECT_EQ(arrays.dRh.bytes(), whole[4]);
    }
  }
}

TEST_P(PersistentTest, RunsAgainBitForBit) {
  for (const auto& [cell, d] : {std::pair{Cell::lstm, kDivisions[0]},
                                {Cell::gru, kDivisions[0]},
                                {Cell::lstm, kClusters[0]}}) {
    SCOPED_TRACE(testing::Message() << info_of(cell).name << " cluster " << d.cluster);
    const oracle::Layer<double> layer = random_layer(cell, d.layer, GetParam());
    PersistentArrays arrays(backend(), layer, GetParam(), d.layer.pad);
    arrays.dh.fill(random_values(int64_t(d.layer.T) * d.layer.B * d.layer.H, act(), 9));
    const auto first = bytes_of_run(arrays, cell, d);
    EXPECT_EQ(first, bytes_of_run(arrays, cell, d));
  }
}

#if !defined(UNROLL_GPU_ON_CPU)
// As the device's own timing has it, which the engine's orders only stand in for.
TEST_P(PersistentTest, AHundredRunsAreBitEqual) {
  Division d = {{70, 20, 650, false, true, true, true, 0}, 3, 1, 1, 99};
  for (const auto& [cell, cluster] : {std::pair{Cell::lstm, 1},
                                      {Cell::lstm, 2},
                                      {Cell::gru, 2},
                                      {Cell::tanh, 1},
                                      {Cell::relu, 1}}) {
    d.cluster = cluster;
    SCOPED_TRACE(testing::Message() << info_of(cell).name << " cluster " << cluster);
    const oracle::Layer<double> layer = random_layer(cell, d.layer, GetParam());
    PersistentArrays arrays(backend(), layer, GetParam(), d.layer.pad);
    arrays.dh.fill(random_values(int64_t(d.layer.T) * d.layer.B * d.layer.H, act(), 9));
    const auto first = bytes_of_run(arrays, cell, d);
    for (int i = 1; i < 100; ++i) ASSERT_EQ(first, bytes_of_run(arrays, cell, d)) << "run " << i;
  }
}
#endif

// The plan that it makes itself, without saving.
TEST_P(PersistentTest, PlansForItself) {
  const RecurrentCase c = {3, 11, 21, false, false, true, true, 0};
  oracle::Layer<double> layer = random_layer(Cell::lstm, c, GetParam());
  PersistentArrays arrays(backend(), layer, GetParam(), 0);
  EXPECT_EQ(cuda::persistent_obstacle(exec(), Cell::lstm, act(), c.B, c.H), "");
  RecurrentForward forward = arrays.persistent_forward_args();
  forward.saved = {};
  cuda::persistent_forward(exec(), forward);
  synchronize();
  layer.forward();
  expect_close(arrays.h.read(), layer.h, tolerance(GetParam()), "h");
  for (unsigned char byte : arrays.saved.bytes()) ASSERT_EQ(byte, 0xff) << "saved was written";
}

UNROLL_ON_GPU_PRECISIONS(PersistentTest);

}  // namespace
}  // namespace unroll::test
#endif
