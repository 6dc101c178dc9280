// Where the persistent schedule could wait for ever: NaN in the state, a block that does not come,
// a layer that does not fit.
#if defined(UNROLL_WITH_CUDA)
#include <bit>
#include <cstdlib>
#include <optional>
#include <string>

#include "kernels/base/error.h"
#include "tests/kernels/recurrent/persistent_case.h"

namespace unroll::test {
namespace {

class PersistentWaitsTest : public PersistentSuite {
 protected:
  // As it was: a whole program can run under a time-out.
  ~PersistentWaitsTest() override {
    if (was_)
      setenv("UNROLL_PERSISTENT_TIMEOUT", was_->c_str(), 1);
    else
      unsetenv("UNROLL_PERSISTENT_TIMEOUT");
  }
  // One group of lanes, 16 units to a block.
  PersistentPlan plan(Cell cell, bool backward, int64_t B, int64_t H, int cluster = 1) const {
    return persistent_plan_of({cell, backward, B, H, act(), exec().matmul}, 1, 1, 1, 99, 99,
                              cluster);
  }
  static cuda::PersistentReport report_of(PersistentArrays& arrays) {
    cuda::PersistentReport report;
    std::memcpy(&report, arrays.own_scratch.bytes().data(), sizeof report);
    return report;
  }

 private:
  static std::optional<std::string> timeout() {
    const char* value = std::getenv("UNROLL_PERSISTENT_TIMEOUT");
    return value ? std::optional<std::string>(value) : std::nullopt;
  }
  std::optional<std::string> was_ = timeout();
};

// Two bf16 NaN of all ones, or one of f32, make a word that looks as if it had not been sent; a word
// of which only half looks so has been sent. A lane without steps hands its carried-in state on and
// on.
TEST_P(PersistentWaitsTest, NanInTheCarriedInStateNeitherHangsNorVanishes) {
  const RecurrentCase c = {4, 3, 24, false, true, false, true, 0};
  for (Cell cell : oracle::kAllCells) {
    SCOPED_TRACE(info_of(cell).name);
    oracle::Layer<double> layer = random_layer(cell, c, GetParam());
    layer.lengths = {4, 0, 4};
    const double all_ones = std::bit_cast<double>(~uint64_t(0));
    for (int lane : {1, 2})
      for (int u : {6, 7}) layer.h[size_t(lane * c.H + u)] = all_ones;
    // Halves of a word: of two numbers, and of the bits of one.
    layer.h[size_t(c.H + 8)] = layer.h[size_t(c.H + 11)] = all_ones;
    layer.h[size_t(c.H + 12)] = std::bit_cast<float>(0x3f00ffffu);
    layer.h[size_t(c.H + 14)] = std::bit_cast<double>(uint64_t(0xffffe) << 44);
    PersistentArrays arrays(backend(), layer, GetParam(), 0);
    RecurrentArrays other(backend(), layer, GetParam(), 0);
    const std::vector<unsigned char> bytes = arrays.h.bytes();
    for (size_t i = 0; i < 2 * size_of(act()); ++i)
      ASSERT_EQ(bytes[size_t(c.H + 6) * size_of(act()) + i], 0xff);
    cuda::persistent_forward(exec(), arrays.persistent_forward_args(), nullptr,
                             plan(cell, false, c.B, c.H));
    cuda::alternating_forward(exec(), other.forward_args());
    synchronize();
    const std::vector<double> got = arrays.h.read(), expected = other.h.read();
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(std::isnan(got[i]), std::isnan(expected[i])) << "number " << i;
    const size_t last = size_t(c.T) * size_t(c.B * c.H);
    EXPECT_FALSE(std::isnan(got[last])) << "a lane without NaN";
    EXPECT_TRUE(std::isnan(got[last + size_t(c.H) + 6])) << "copied through";
    if (cell != Cell::relu) {
      EXPECT_TRUE(std::isnan(got[last + size_t(2 * c.H)])) << "spread by R";
    }
  }
}

TEST_P(PersistentWaitsTest, NanInTheGradientsReachesEarlierSteps) {
  const RecurrentCase c = {3, 2, 24, false, false, false, false, 0};
  oracle::Layer<double> layer = random_layer(Cell::lstm, c, GetParam());
  PersistentArrays arrays(backend(), layer, GetParam(), 0);
  std::vector<double> dh(size_t(c.T * c.B * c.H), 0.25);
  dh[size_t(((c.T - 1) * c.B + 1) * c.H + 8)] = std::bit_cast<double>(~uint64_t(0));
  arrays.dh.fill(dh);
  cuda::persistent_forward(exec(), arrays.persistent_forward_args());
  for (const int cluster : {1, 2}) {
    cuda::persistent_backward(exec(), arrays.persistent_backward_args(), nullptr,
                              plan(Cell::lstm, true, c.B, c.H, cluster));
    synchronize();
    const std::vector<double> dWx = arrays.dWx.read();
    for (int i = 0; i < 4 * c.H; ++i) {
      EXPECT_FALSE(std::isnan(dWx[size_t(i)])) << "lane 0, cluster " << cluster;
      EXPECT_TRUE(std::isnan(dWx[size_t(4 * c.H + i)])) << "lane 1, cluster " << cluster;
    }
  }
}

TEST_P(PersistentWaitsTest, TimesOutAndSaysWhoWaitsForWhat) {
  const RecurrentCase c = {3, 2, 40, false, false, false, false, 0};
  const oracle::Layer<double> layer = random_layer(Cell::tanh, c, GetParam());
  PersistentArrays arrays(backend(), layer, GetParam(), 0);
  setenv("UNROLL_PERSISTENT_TIMEOUT", "50", 1);
  PersistentPlan short_of_one = plan(Cell::tanh, false, c.B, c.H);
  ASSERT_EQ(short_of_one.blocks, 3);
  short_of_one.blocks = 2;  // units 32 to 39 are nobody's
  cuda::persistent_forward(exec(), arrays.persistent_forward_args(), nullptr, short_of_one);
  synchronize();
  cuda::PersistentReport report = report_of(arrays);
  ASSERT_EQ(report.timed_out, 1u);
  EXPECT_LT(report.block, 2u);
  EXPECT_EQ(report.warp, uint32_t(32 / persistent::block_columns(act())));
  EXPECT_EQ(report.owner, 2u);
  EXPECT_GE(report.k, 32u);
  EXPECT_LT(report.lane, 2u);
  const std::string text = cuda::text_of(report);
  EXPECT_NE(text.find("which block 2 sends"), std::string::npos) << text;

  short_of_one.blocks = 3;
  cuda::persistent_forward(exec(), arrays.persistent_forward_args(), nullptr, short_of_one);
  synchronize();
  EXPECT_EQ(cuda::text_of(report_of(arrays)), "");
}

// The block that gives up still meets the others of its cluster.
TEST_P(PersistentWaitsTest, AClusterTimesOutTogether) {
  const RecurrentCase c = {3, 2, 40, false, false, false, false, 0};
  const oracle::Layer<double> layer = random_layer(Cell::tanh, c, GetParam());
  PersistentArrays arrays(backend(), layer, GetParam(), 0);
  arrays.dh.fill(0.5);
  cuda::persistent_forward(exec(), arrays.persistent_forward_args());
  setenv("UNROLL_PERSISTENT_TIMEOUT", "50", 1);
  PersistentPlan short_of_one = plan(Cell::tanh, true, c.B, c.H, 2);
  ASSERT_EQ(short_of_one.blocks, 4);
  short_of_one.blocks = 2;  // units 32 to 39 are nobody's
  cuda::persistent_backward(exec(), arrays.persistent_backward_args(), nullptr, short_of_one);
  synchronize();
  const cuda::PersistentReport report = report_of(arrays);
  ASSERT_EQ(report.timed_out, 1u);
  EXPECT_EQ(report.block, 1u) << "which takes in the second half of K";
  EXPECT_EQ(report.owner, 2u);
  EXPECT_GE(report.k, 32u);
}

TEST_P(PersistentWaitsTest, WhatDoesNotFitIsSaidWithNumbers) {
  const std::string wide = cuda::persistent_obstacle(exec(), Cell::lstm, act(), 20, 100000);
  EXPECT_NE(wide.find("with H = 100000 spread over"), std::string::npos) << wide;
  EXPECT_NE(wide.find("KB of shared memory; the device gives it"), std::string::npos) << wide;
  const std::string f64 = cuda::persistent_obstacle(exec(), Cell::lstm, DType::f64, 20, 650);
  EXPECT_NE(f64.find("not in f64"), std::string::npos) << f64;
  EXPECT_EQ(persistent_scratch_bytes(Cell::lstm, DType::f64, 35, 20, 650), 0u);

  Exec small = exec();
  small.sm_count = 1;
  const RecurrentCase c = {2, 2, 208, false, false, false, false, 0};
  EXPECT_NE(cuda::persistent_obstacle(small, Cell::lstm, act(), c.B, c.H), "");
  oracle::Layer<double> layer = random_layer(Cell::lstm, c, GetParam());
  PersistentArrays arrays(backend(), layer, GetParam(), 0);
  try {
    cuda::persistent_forward(small, arrays.persistent_forward_args());
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(e.what()).find("the persistent schedule cannot run: "),
              std::string::npos);
  }
  RecurrentForward f = arrays.persistent_forward_args();
  f.scratch.bytes = 1;
  EXPECT_THROW(cuda::persistent_forward(exec(), f), Error);
}

UNROLL_ON_GPU_PRECISIONS(PersistentWaitsTest);

}  // namespace
}  // namespace unroll::test
#endif
