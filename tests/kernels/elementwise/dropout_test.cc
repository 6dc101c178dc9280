// dropout.h: the bits of the mask, scaling, locked and standard masks, accumulation.
#include "kernels/elementwise/dropout.h"

#include <set>

#include "kernels/base/error.h"
#include "kernels/base/philox.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

struct Mask {
  uint64_t seed, step;
  uint32_t op;
  double p;
  bool locked;
};

struct Dims {
  int64_t T, B, D;
  int64_t size() const { return T * B * D; }
};
constexpr Dims kDims[] = {{1, 1, 1}, {3, 2, 13}, {5, 7, 33}, {2, 3, 1001}, {35, 3, 36}};

// What the header promises, element by element.
std::vector<double> expected_of(const Dims& dims, const Mask& m, const std::vector<double>& x) {
  std::vector<double> y;
  for (int64_t t = 0; t < dims.T; ++t)
    for (int64_t b = 0; b < dims.B; ++b)
      for (int64_t d = 0; d < dims.D; ++d) {
        const uint64_t e = uint64_t((m.locked ? b : t * dims.B + b) * dims.D + d);
        const uint32_t word = philox_block(m.seed, m.step, m.op, e / 4).v[e % 4];
        const bool kept = word >= uint32_t(std::llround(m.p * 4294967296.0));
        y.push_back(kept ? x[y.size()] / (1 - m.p) : 0);
      }
  return y;
}

class DropoutTest : public OnTargets {
 protected:
  void run(const Exec& exec, const View3& y, const View3& x, const Mask& m,
           Accumulate to_y = Accumulate::overwrite) {
    Array<1> counter(backend(), DType::u64, {2});
    counter.fill({double(m.seed), double(m.step)});
    dropout(exec, {.y = y,
                   .x = x,
                   .p = m.p,
                   .locked = m.locked,
                   .key = {.counter = counter, .op = m.op},
                   .to_y = to_y});
    synchronize();
  }
  // The mask as scaled values: x all ones.
  std::vector<double> mask(const Dims& dims, const Mask& m) {
    Array<3> x(backend(), act(), {dims.T, dims.B, dims.D}),
        y(backend(), act(), {dims.T, dims.B, dims.D});
    x.fill(1.0);
    run(exec(), y, x, m);
    return y.read();
  }
};

TEST_P(DropoutTest, BitsAreThoseOfTheHeader) {
  for (const Dims& dims : kDims)
    for (bool locked : {false, true})
      for (double p : {0.0, 0.25, 0.65}) {
        const Mask m = {77, 1000003, 5, p, locked};
        const auto x_values = random_values(dims.size(), act(), 1);
        Array<3> x(backend(), act(), {dims.T, dims.B, dims.D}, row_pad(dims.D, 3));
        Array<3> y(backend(), act(), {dims.T, dims.B, dims.D}, row_pad(dims.D, 5));
        x.fill(x_values);
        run(exec(), y, x, m);
        const auto got = y.read(), expected = expected_of(dims, m, x_values);
        expect_close(got, expected, tolerance(GetParam()), "y");
        for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i] == 0, expected[i] == 0) << i;
        EXPECT_TRUE(y.padding_untouched());
      }
}

TEST_P(DropoutTest, InPlaceEqualsOutOfPlace) {
  for (const Dims& dims : kDims)
    for (bool locked : {false, true}) {
      const Mask m = {1, 2, 3, 0.5, locked};
      const auto values = random_values(dims.size(), act(), 2);
      Array<3> x(backend(), act(), {dims.T, dims.B, dims.D}, row_pad(dims.D, 1)),
          y(backend(), act(), {dims.T, dims.B, dims.D}, row_pad(dims.D, 1));
      x.fill(values);
      run(exec(), y, x, m);
      run(exec(), x, x, m);
      EXPECT_EQ(x.bytes(), y.bytes());
    }
}

TEST_P(DropoutTest, AddsToWhatIsThere) {
  const Dims dims = {5, 7, 33};
  for (bool locked : {false, true}) {
    const Mask m = {9, 8, 7, 0.3, locked};
    const auto x_values = random_values(dims.size(), act(), 3);
    Array<3> x(backend(), act(), {dims.T, dims.B, dims.D}),
        y(backend(), act(), {dims.T, dims.B, dims.D}, row_pad(dims.D, 2));
    x.fill(x_values);
    y.fill(1.0);
    run(exec(), y, x, m, Accumulate::add);
    auto expected = expected_of(dims, m, x_values);
    for (double& e : expected) e += 1;
    expect_close(y.read(), expected, tolerance(GetParam()), "y added to ones");
    EXPECT_TRUE(y.padding_untouched());
  }
}

// Parts that begin in the middle of a Philox block, and where the kernel takes four at a time.
TEST_P(DropoutTest, PartsOfASequenceDrawWhatTheWholeDraws) {
  for (const Dims& dims : {Dims{7, 3, 13}, Dims{6, 2, 36}, Dims{3, 7, 333}})
    for (bool locked : {false, true}) {
      Array<1> counter(backend(), DType::u64, {2});
      counter.fill({3, 4});
      Array<3> x(backend(), act(), {dims.T, dims.B, dims.D}),
          whole(backend(), act(), {dims.T, dims.B, dims.D}),
          parts(backend(), act(), {dims.T, dims.B, dims.D});
      x.fill(random_values(dims.size(), act(), 6));
      run(exec(), whole, x, {3, 4, 5, 0.4, locked});
      for (int64_t first = 0, count = 1; first < dims.T; first += count, ++count) {
        count = std::min(count, dims.T - first);
        dropout(exec(), {.y = parts.view.slice(first, count),
                         .x = x.view.slice(first, count),
                         .p = 0.4,
                         .locked = locked,
                         .key = {.counter = counter, .op = 5},
                         .first_step = first});
      }
      synchronize();
      EXPECT_EQ(parts.bytes(), whole.bytes());
    }
}

TEST_P(DropoutTest, KeepsTheRightFraction) {
  const Dims dims = {35, 3, 1001};
  for (double p : {0.1, 0.5, 0.65}) {
    const auto y = mask(dims, {4, 5, 6, p, false});
    const double kept = double(std::count_if(y.begin(), y.end(), [](double v) { return v != 0; }));
    // Five standard deviations of the binomial.
    EXPECT_NEAR(kept / double(y.size()), 1 - p, 5 * std::sqrt(p * (1 - p) / double(y.size())));
  }
}

TEST_P(DropoutTest, LockedMaskIsTheSameAtEveryStepAndDiffersByLane) {
  const Dims dims = {5, 4, 66};
  const auto y = mask(dims, {4, 5, 6, 0.5, true});
  const auto row = [&](int64_t t, int64_t b) {
    const auto begin = y.begin() + (t * dims.B + b) * dims.D;
    return std::vector<double>(begin, begin + dims.D);
  };
  std::set<std::vector<double>> lanes;
  for (int64_t b = 0; b < dims.B; ++b) {
    lanes.insert(row(0, b));
    for (int64_t t = 1; t < dims.T; ++t) EXPECT_EQ(row(t, b), row(0, b));
  }
  EXPECT_EQ(lanes.size(), size_t(dims.B));
}

TEST_P(DropoutTest, SeedStepAndOpEachChangeTheMask) {
  const Dims dims = {3, 2, 33};
  for (bool locked : {false, true}) {
    const std::set<std::vector<double>> masks = {
        mask(dims, {1, 1, 1, 0.5, locked}), mask(dims, {2, 1, 1, 0.5, locked}),
        mask(dims, {1, 2, 1, 0.5, locked}), mask(dims, {1, 1, 2, 0.5, locked})};
    EXPECT_EQ(masks.size(), 4u);
  }
  EXPECT_EQ(mask(dims, {1, 1, 1, 0.5, false}), mask(dims, {1, 1, 1, 0.5, false}));
}

TEST_P(DropoutTest, AnyThreadCountIsBitEqual) {
  const Dims dims = {5, 7, 333};
  Array<3> x(backend(), act(), {dims.T, dims.B, dims.D});
  x.fill(random_values(dims.size(), act(), 4));
  std::vector<unsigned char> first;
  for (int threads : {1, 2, 3}) {
    Exec e = exec();
    e.threads = threads;
    Array<3> y(backend(), act(), {dims.T, dims.B, dims.D});
    run(e, y, x, {1, 2, 3, 0.4, false});
    if (first.empty()) first = y.bytes();
    EXPECT_EQ(y.bytes(), first);
  }
}

TEST_P(DropoutTest, RefusesBadArguments) {
  Array<3> x(backend(), act(), {3, 2, 13}), y(backend(), act(), {3, 2, 12});
  EXPECT_THROW(run(exec(), y, x, {1, 2, 3, 0.5, false}), Error);
  EXPECT_THROW(run(exec(), x, x, {1, 2, 3, 1.0, false}), Error);
  EXPECT_THROW(run(exec(), x, x, {1, 2, 3, -0.1, false}), Error);
  dropout(backend().measuring(), {});
}

UNROLL_ON_TARGETS(DropoutTest);

}  // namespace
}  // namespace unroll::test
