// Every cell of cells.def against its oracle: values, and derivatives by complex step.
#include "kernels/cells/cells.h"

#include <gtest/gtest.h>

#include <random>

#include "kernels/base/error.h"
#include "kernels/cells/cell_types.h"
#include "tests/harness/devices.h"
#include "tests/oracle/cells.h"

namespace unroll {
namespace {

// The numbers of one unit.
struct Point {
  double wx[8], rh[8], before[2], dafter[2];
};

std::vector<Point> points() {
  std::mt19937_64 engine(1);
  std::vector<Point> all(200);
  for (size_t i = 0; i < all.size(); ++i) {
    // Some in the linear range, some far into saturation.
    std::uniform_real_distribution<double> uniform(i % 4 ? -1.5 : -8, i % 4 ? 1.5 : 8);
    for (double& x : all[i].wx) x = uniform(engine);
    for (double& x : all[i].rh) x = uniform(engine);
    for (double& x : all[i].before) x = uniform(engine);
    for (double& x : all[i].dafter) x = uniform(engine);
  }
  return all;
}

using CellTest = testing::TestWithParam<Cell>;

TEST_P(CellTest, ForwardEqualsOracle) {
  with_cell(GetParam(), [](auto type) {
    using C = decltype(type);
    const Cell cell = cell_of(C::name);
    for (const Point& p : points()) {
      const oracle::State<double> expected =
          oracle::unit<double>(cell, p.wx, p.rh, {p.before[0], p.before[1]});
      double after[2] = {}, saved[C::saved + 1];
      C::template forward<double>(p.wx, p.rh, p.before, after, saved);
      EXPECT_NEAR(after[0], expected.h, 1e-14);
      if (C::states == 2) {
        EXPECT_NEAR(after[1], expected.c, 1e-14 * 8);
      }
    }
  });
}

TEST_P(CellTest, SinglePrecisionFollows) {
  with_cell(GetParam(), [](auto type) {
    using C = decltype(type);
    for (const Point& p : points()) {
      float wx[8], rh[8], before[2] = {float(p.before[0]), float(p.before[1])}, after[2] = {},
                          saved[C::saved + 1];
      double wide_wx[8], wide_rh[8], wide_before[2] = {before[0], before[1]}, wide_after[2] = {},
                                     wide_saved[C::saved + 1];
      for (int g = 0; g < C::gates; ++g) {
        wide_wx[g] = wx[g] = float(p.wx[g]);
        wide_rh[g] = rh[g] = float(p.rh[g]);
      }
      C::template forward<float>(wx, rh, before, after, saved);
      C::template forward<double>(wide_wx, wide_rh, wide_before, wide_after, wide_saved);
      for (int s = 0; s < C::states; ++s) EXPECT_NEAR(after[s], wide_after[s], 5e-6);
    }
  });
}

TEST_P(CellTest, BackwardEqualsComplexStepOfTheOracle) {
  with_cell(GetParam(), [](auto type) {
    using C = decltype(type);
    const Cell cell = cell_of(C::name);
    for (Point p : points()) {
      if (C::states == 1) p.dafter[1] = 0;
      const oracle::UnitGradient expected = oracle::unit_gradient(
          cell, p.wx, p.rh, {p.before[0], p.before[1]}, {p.dafter[0], p.dafter[1]});
      double after[2] = {}, saved[C::saved + 1], dwx[8], drh[8], dbefore[2] = {};
      C::template forward<double>(p.wx, p.rh, p.before, after, saved);
      C::template backward<double>(saved, p.before, after, p.dafter, dwx, drh, dbefore);
      for (size_t g = 0; g < size_t(C::gates); ++g) {
        EXPECT_NEAR(dwx[g], expected.dwx[g], 1e-12);
        EXPECT_NEAR(drh[g], expected.drh[g], 1e-12);
        if (!C::split) {
          EXPECT_EQ(dwx[g], drh[g]) << "one array serves both only if they are equal";
        }
      }
      EXPECT_NEAR(dbefore[0], expected.dbefore.h, 1e-12);
      if (C::states == 2) {
        EXPECT_NEAR(dbefore[1], expected.dbefore.c, 1e-12);
      }
    }
  });
}

// The cell's own templates on complex numbers: forward's derivative is what backward returns.
TEST_P(CellTest, BackwardEqualsComplexStepOfItsForward) {
  with_cell(GetParam(), [](auto type) {
    using C = decltype(type);
    using Z = std::complex<double>;
    constexpr double kStep = 1e-100;
    for (const Point& p : points()) {
      double after[2] = {}, saved[C::saved + 1], dwx[8], drh[8], dbefore[2] = {};
      C::template forward<double>(p.wx, p.rh, p.before, after, saved);
      C::template backward<double>(saved, p.before, after, p.dafter, dwx, drh, dbefore);
      for (int g = 0; g < C::gates; ++g) {
        Z wx[8], rh[8], before[2] = {p.before[0], p.before[1]}, z_after[2] = {},
                        z_saved[C::saved + 1];
        for (int k = 0; k < C::gates; ++k) wx[k] = p.wx[k], rh[k] = p.rh[k];
        wx[g] += Z(0, kStep);
        C::template forward<Z>(wx, rh, before, z_after, z_saved);
        double derivative = 0;
        for (int s = 0; s < C::states; ++s) derivative += p.dafter[s] * z_after[s].imag() / kStep;
        EXPECT_NEAR(dwx[g], derivative, 1e-12);
      }
    }
  });
}

// bf16 has 8 significant bits: of a gate near 1 that would leave a tenth of 1 - gate, of its
// pre-activation it leaves a hundredth. Behind GRU's r stands n: two slopes.
TEST_P(CellTest, SavedNumbersSurviveBf16) {
  with_cell(GetParam(), [](auto type) {
    using C = decltype(type);
    double error[C::gates] = {}, norm[C::gates] = {};
    for (Point p : points()) {
      for (int g = 0; g < C::gates; ++g) {
        const double saturated = 4 + std::sin(10 * p.wx[g]);  // of the sum, 3 to 5
        p.rh[g] = std::sin(p.rh[g]);
        p.wx[g] = std::copysign(saturated, p.wx[g]) - p.rh[g];
      }
      double after[2] = {}, saved[C::saved + 1], stored[C::saved + 1], ds[2] = {};
      double dwx[2][C::gates], drh[2][C::gates];
      C::template forward<double>(p.wx, p.rh, p.before, after, saved);
      for (int s = 0; s < C::saved; ++s) stored[s] = test::rounded(saved[s], DType::bf16);
      C::template backward<double>(saved, p.before, after, p.dafter, dwx[0], drh[0], ds);
      C::template backward<double>(stored, p.before, after, p.dafter, dwx[1], drh[1], ds);
      for (int g = 0; g < C::gates; ++g) {
        error[g] += std::pow(drh[1][g] - drh[0][g], 2);
        norm[g] += std::pow(drh[0][g], 2);
      }
    }
    for (int g = 0; g < C::gates; ++g)
      EXPECT_LE(std::sqrt(error[g]), 0.015 * std::sqrt(norm[g])) << "gate " << g;
  });
}

INSTANTIATE_TEST_SUITE_P(Cells, CellTest, testing::ValuesIn(oracle::kAllCells),
                         [](const auto& info) { return info_of(info.param).name; });

TEST(Cells, ConstantsAsListed) {
  EXPECT_EQ(info_of(Cell::lstm).gates, 4);
  EXPECT_EQ(info_of(Cell::lstm).states, 2);
  EXPECT_EQ(info_of(Cell::gru).gates, 3);
  EXPECT_TRUE(info_of(Cell::gru).split);
  EXPECT_EQ(info_of(Cell::tanh).saved, 0);
}

TEST(Cells, FoundByName) {
  for (Cell cell : oracle::kAllCells) EXPECT_EQ(cell_of(info_of(cell).name), cell);
  try {
    cell_of("lstn");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_STREQ(e.what(), "unknown cell \"lstn\"; known: tanh, relu, lstm, gru");
  }
}

}  // namespace
}  // namespace unroll
