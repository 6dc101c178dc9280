// persistent_plan.h: every plan covers its layer and fits its device.
#include "kernels/recurrent/persistent_plan.h"

#include <gtest/gtest.h>

#include "tests/oracle/recurrent.h"

namespace unroll::test {
namespace {

constexpr size_t kHopperShared = 227 * 1024;
constexpr PersistentRoom kHopper = {132, kHopperShared, 66, 32}, kPairs = {132, kHopperShared, 66},
                         kAlone = {132, kHopperShared}, kAmpere = {108, 163 * 1024};

void expect_covers(const PersistentPlan& p, const PersistentTask& task,
                   const PersistentRoom& room) {
  ASSERT_GT(p.blocks, 0);
  EXPECT_GE(p.shares * p.unit_groups * persistent::kUnitGroup, task.H);
  EXPECT_LT((p.shares - p.cluster) * p.unit_groups * persistent::kUnitGroup, task.H);
  EXPECT_EQ(p.shares % p.cluster, 0) << "no cluster in two batch groups";
  EXPECT_GE(p.cluster * p.slice, p.k_blocks);
  EXPECT_LT(p.cluster * (p.slice - 1), p.k_blocks);
  EXPECT_GE(p.groups * p.lanes, task.B);
  EXPECT_LT((p.groups - 1) * p.lanes, task.B);
  EXPECT_EQ(p.lanes % persistent::kTileLanes, 0);
  EXPECT_EQ(p.blocks, p.shares * p.groups);
  EXPECT_LE(p.blocks, room.most(p.cluster) * p.cluster);
  EXPECT_LE(p.shared_bytes, room.shared_bytes);
  EXPECT_GE(p.k_blocks * persistent::block_columns(task.act), p.K);
  EXPECT_TRUE(persistent::has_kernel(task.act, p.n_tiles));
  EXPECT_EQ(p.K, (task.backward ? info_of(task.cell).gates : 1) * p.Hp);
}

TEST(PersistentPlan, CoversEveryLayerThatItPlans) {
  for (const Cell cell : oracle::kAllCells)
    for (const bool backward : {false, true})
      for (const int64_t H : {1, 7, 8, 33, 127, 128, 129, 650, 1024, 1150, 1500})
        for (const int64_t B : {1, 3, 8, 9, 20, 64, 65}) {
          SCOPED_TRACE(testing::Message() << info_of(cell).name << " H " << H << " B " << B
                                          << (backward ? " backward" : " forward"));
          const PersistentTask task = {cell, backward, B, H};
          expect_covers(plan_persistent(task, kHopper), task, kHopper);
          const PersistentTask wide = {cell, backward, B, H, DType::f32};
          if (H > 1150) continue;
          const PersistentPlan ampere = plan_persistent(task, kAmpere);
          expect_covers(ampere, task, kAmpere);
          EXPECT_EQ(ampere.cluster, 1);
          expect_covers(plan_persistent(wide, kHopper), wide, kHopper);
        }
}

TEST(PersistentPlan, NumbersOfFourBytesTakeTwiceTheRoomAndTheTime) {
  const PersistentTask narrow = {Cell::lstm, false, 20, 650};
  PersistentTask tf32 = {Cell::lstm, false, 20, 650, DType::f32, MatmulMode::tf32}, f32 = tf32;
  f32.matmul = MatmulMode::f32;
  const auto plan = [](const PersistentTask& task) { return persistent_plan_of(task, 1, 1, 3, 0); };
  const int64_t partial = 4 * 3 * 8 * 32 * 16;  // f32 in any case
  EXPECT_EQ(int64_t(plan(tf32).shared_bytes) - partial,
            2 * (int64_t(plan(narrow).shared_bytes) - partial) -
                (4 * 16 + 3 * 8) * 64);  // K ends within a block of bf16
  EXPECT_EQ(plan(f32).shared_bytes, plan(tf32).shared_bytes);
  EXPECT_GT(plan(tf32).step_ns, plan(narrow).step_ns);
  EXPECT_GT(plan(f32).step_ns, plan(tf32).step_ns);
  EXPECT_EQ(persistent_plan_of(f32, 1, 1, 2).n_tiles, 3);
}

// The numbers that are multiplied need no room beside the matrix: they come in pieces.
TEST(PersistentPlan, OnlyTheMatrixLimitsWhatFits) {
  for (const bool backward : {false, true})
    for (const MatmulMode matmul : {MatmulMode::f32, MatmulMode::tf32}) {
      const PersistentTask task = {Cell::lstm, backward, 20, 1150, DType::f32, matmul};
      std::string why;
      const PersistentPlan p = plan_persistent(task, kAlone, &why);
      ASSERT_GT(p.blocks, 0) << why;
      expect_covers(p, task, kAlone);
      if (!backward && matmul == MatmulMode::tf32) continue;  // fits in one piece
      EXPECT_GT(persistent_plan_of(task, p.groups, p.unit_groups, p.n_tiles).shared_bytes,
                kHopperShared);
    }
}

TEST(PersistentPlan, APieceIsAsLargeAsFits) {
  const PersistentTask task = {Cell::lstm, true, 20, 1150};
  const auto plan = [&](int64_t piece) { return persistent_plan_of(task, 3, 1, 1, 99, piece); };
  const PersistentPlan whole = plan(99), one = plan(1);
  EXPECT_EQ(whole.piece, 18);  // 144 blocks of K, dealt out to 8 warps
  EXPECT_EQ(one.piece, 1);
  // The numbers of a block of K for 8 lanes.
  EXPECT_EQ(whole.shared_bytes - one.shared_bytes, size_t(17 * 8 * 8 * 64));
  EXPECT_GT(one.step_ns, plan(2).step_ns);
  EXPECT_GT(plan(9).step_ns, whole.step_ns);
  // One byte too few for everything: two turns of six loads a thread. Too few for the first turn.
  const auto fitted = [&](size_t shared) { return fitted_plan(whole, task, shared); };
  EXPECT_EQ(fitted(whole.shared_bytes).piece, 18);
  EXPECT_EQ(fitted(whole.shared_bytes - 1).piece, 12);
  EXPECT_EQ(fitted(one.shared_bytes + 3 * 8 * 8 * 64).piece, 4);
  EXPECT_EQ(fitted(one.shared_bytes + 3 * 8 * 8 * 64 - 1).piece, 3);
  EXPECT_EQ(fitted(one.shared_bytes - 1).piece, 1);
  EXPECT_GT(fitted(one.shared_bytes - 1).shared_bytes, one.shared_bytes - 1) << "does not fit";
}

TEST(PersistentPlan, AFasterDivisionIsChosen) {
  // One group of lanes takes in thrice what each of three takes.
  const PersistentTask task = {Cell::lstm, true, 20, 1150};
  const PersistentPlan chosen = plan_persistent(task, kAlone);
  EXPECT_GT(chosen.groups, 1);
  EXPECT_LT(chosen.step_ns, persistent_plan_of(task, 1, 1, 1).step_ns);
}

TEST(PersistentPlan, AClusterSharesWhatABlockTakesIn) {
  const PersistentTask task = {Cell::lstm, true, 20, 1150};
  const auto plan = [&](int cluster) { return persistent_plan_of(task, 1, 1, 1, 99, 99, cluster); };
  // 144 blocks of K, 17 per warp in registers whoever has them; staged numbers of 8 lanes, the
  // warps' partial sums, what is handed over in two sets, and the carried states.
  const size_t sums = 16 * 8 * 4, rest = 8 * 1024 + 3 * 16 * 8 * 8;
  EXPECT_EQ(plan(1).shared_bytes, 144 * 512 + 8 * sums + rest);
  EXPECT_EQ(plan(2).shared_bytes, 72 * 512 + 8 * sums + 4 * sums + rest);
  EXPECT_EQ(plan(4).shared_bytes, 36 * 512 + 8 * sums + 8 * sums + rest);
  EXPECT_EQ(plan(4).warp_blocks(), 5);
  EXPECT_EQ(plan(4).warps_of_K(), 2);
  EXPECT_EQ(persistent_plan_of({Cell::lstm, false, 20, 1150}, 1, 1, 1, 99, 99, 4).cluster, 1);
  // Fewer bytes from L2, one exchange more for each of three chunks of lanes, and one round of loads
  // where there were three.
  const auto ingest = [](const PersistentPlan& p) {
    return 3 * double(p.slice * 512 * p.blocks) / persistent::kL2BytesPerClock /
           persistent::kClocksPerNs;
  };
  const double handed_over =
      3 * sums / persistent::kClusterBytesPerClock / persistent::kClocksPerNs;
  EXPECT_NEAR(plan(4).step_ns - plan(1).step_ns,
              ingest(plan(4)) - ingest(plan(1)) +
                  3 * (persistent::kClusterNs - 2 * persistent::kLoadNs + handed_over -
                       108 * 512 / persistent::kSharedBytesPerClock / persistent::kClocksPerNs),
              1e-6);
}

TEST(PersistentPlan, ClustersAreChosenWhereTheyPay) {
  const auto chosen = [](int64_t B, int64_t H, const PersistentRoom& room) {
    return plan_persistent({Cell::lstm, true, B, H}, room);
  };
  EXPECT_EQ(chosen(20, 1150, kHopper).cluster, 4);
  EXPECT_EQ(chosen(20, 1150, kPairs).cluster, 2);
  EXPECT_LT(chosen(20, 1150, kHopper).step_ns, 0.85 * chosen(20, 1150, kAlone).step_ns);
  EXPECT_LT(chosen(20, 1500, kHopper).step_ns, 0.6 * chosen(20, 1500, kAlone).step_ns);
  EXPECT_EQ(chosen(1, 16, kHopper).cluster, 1) << "nothing to share";
}

TEST(PersistentPlan, AClusterFewerIsAnotherDivisionNotNone) {
  // 64 groups of units for two groups of lanes: one for each block of 32 clusters.
  const PersistentTask task = {Cell::lstm, true, 16, 1024};
  const PersistentPlan all = plan_persistent(task, kHopper);
  ASSERT_EQ(all.cluster, 4);
  ASSERT_EQ(all.blocks, 128);
  PersistentRoom room = kHopper;
  room.clusters(4) = 31;
  const PersistentPlan fewer = plan_persistent(task, room);
  expect_covers(fewer, task, room);
  EXPECT_EQ(fewer.cluster, 4);
  EXPECT_LT(fewer.step_ns, plan_persistent(task, kPairs).step_ns);
  EXPECT_EQ(kHopper.share(2).most(4), 16);
  EXPECT_EQ(room.share(2).most(4), 15);
  EXPECT_EQ(room.share(2).most(2), 33);
  EXPECT_EQ((PersistentRoom{64, kHopperShared, 66, 32}).most(4), 16) << "of a part of the device";
}

TEST(PersistentPlan, SaysWhatItWouldNeed) {
  std::string why;
  const PersistentPlan none = plan_persistent({Cell::lstm, false, 128, 4096}, kHopper, &why);
  EXPECT_EQ(none.blocks, 0);
  EXPECT_NE(why.find("forward pass keeps the recurrent matrix on chip, and with H = 4096 spread "
                     "over 132 multiprocessors a block needs "),
            std::string::npos)
      << why;
}

TEST(PersistentPlan, ScratchHoldsBothPasses) {
  for (const Cell cell : oracle::kAllCells)
    for (const bool backward : {false, true}) {
      const PersistentTask task = {cell, backward, 9, 33};
      const PersistentPlan p = persistent_plan_of(task, 2, 1, 1);
      EXPECT_GE(persistent_scratch_bytes(cell, DType::bf16, 5, 9, 33),
                size_t(persistent::kReportBytes + 4 * persistent_step_words(p, 9) * 4));
      const PersistentTask wide = {cell, backward, 9, 33, DType::f32};
      EXPECT_GE(persistent_scratch_bytes(cell, DType::f32, 5, 9, 33),
                size_t(persistent::kReportBytes +
                       4 * persistent_step_words(persistent_plan_of(wide, 2, 1, 1), 9) * 4));
    }
}

}  // namespace
}  // namespace unroll::test
