// StepTimes: which pass of which op a time is counted for.
#include "host/tape/step_times.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace unroll::test {
namespace {

void work(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

const StepTimes::Row& row(const StepTimes::Report& r, const std::string& op,
                          const std::string& part = "") {
  static const StepTimes::Row none;
  for (const StepTimes::Row& row : r.rows)
    if (row.op == op && row.part == part) return row;
  ADD_FAILURE() << "no row " << op << ": " << part;
  return none;
}

// Every piece of work takes a time of its own; a sleep is never shorter than asked for.
TEST(StepTimes, CountsEveryPassForItsOp) {
  const Backend backend{Device::cpu(1)};
  StepTimes times(backend);
  for (int chunk = 0; chunk < StepTimes::kWarmUp + 2; ++chunk) {
    times.begin();
    if (chunk == 0) times.end_forward("once");
    work(1);
    const int embedding = times.end_forward("embedding");
    int layers[2];
    for (int l = 0; l < 2; ++l) {
      work(2 + 10 * l);
      times.part("products");
      work(3 + 10 * l);
      times.part("loop");
      work(4 + 10 * l);
      layers[l] = times.end_forward("layer");
    }
    for (int l = 1; l >= 0; --l) {
      times.begin_backward(layers[l]);
      work(5 + 10 * l);
      times.part("loop");
      work(6 + 10 * l);
      times.part("products");
      times.end_backward();
    }
    times.begin_backward(embedding);
    work(7);
    times.end_backward();
    work(8);
    times.end_forward("update");
    times.end();
  }
  const StepTimes::Report r = times.report();
  EXPECT_EQ(r.chunks, 2);
  const auto expect = [&](const char* op, const char* part, int forward, int backward) {
    EXPECT_GE(row(r, op, part).forward, forward / 1000.0) << op << " " << part;
    EXPECT_GE(row(r, op, part).backward, backward / 1000.0) << op << " " << part;
    if (forward == 0) {
      EXPECT_EQ(row(r, op, part).forward, 0) << op << " " << part;
    }
    if (backward == 0) {
      EXPECT_EQ(row(r, op, part).backward, 0) << op << " " << part;
    }
  };
  expect("embedding", "", 1, 7);
  expect("layer 1", "products", 2, 6);
  expect("layer 1", "loop", 3, 5);
  expect("layer 2", "products", 12, 16);
  expect("layer 2", "loop", 13, 15);
  EXPECT_GE(row(r, "layer 1").forward, 0.004);
  EXPECT_GE(row(r, "layer 2").forward, 0.014);
  expect("update", "", 8, 0);
  ASSERT_EQ(r.rows.size(), 8u) << "an op of the first chunks alone has a row";
  const char* order[] = {"embedding", "layer 1", "layer 1", "layer 1",
                         "layer 2",   "layer 2", "layer 2", "update"};
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(r.rows[i].op, order[i]);
}

TEST(StepTimes, SaysNothingOfTheFirstChunks) {
  const Backend backend{Device::cpu(1)};
  StepTimes times(backend);
  for (int chunk = 0; chunk < StepTimes::kWarmUp; ++chunk) {
    times.begin();
    times.end_forward("op");
    times.end();
  }
  EXPECT_EQ(times.report().chunks, 0);
  EXPECT_TRUE(times.report().rows.empty());
}

}  // namespace
}  // namespace unroll::test
